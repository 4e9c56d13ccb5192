"""Similarity search: strategy, statements and query plans."""
