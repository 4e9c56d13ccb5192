"""The vector index of a column: definition, build, size."""
