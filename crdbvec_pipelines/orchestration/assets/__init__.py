"""The assets of a vector column: the column, its index, their checks and metadata."""
