"""The schema changes that a vector column needs, and this project's metadata tables."""
