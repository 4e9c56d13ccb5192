"""The rows of a vector column: reading pending rows, writing vectors, counting, failed rows, keys."""
