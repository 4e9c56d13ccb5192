"""Dagster's dynamic partitions of a table."""
