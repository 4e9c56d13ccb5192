"""A Dagster project whose tables get vector columns."""
