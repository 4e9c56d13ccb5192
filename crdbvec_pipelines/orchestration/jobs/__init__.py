"""The jobs of a vector column."""
