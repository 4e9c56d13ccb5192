"""Vector columns of CockroachDB tables, kept fresh by Dagster.

Contains only the version: every Dagster step process imports the package, so the import must stay fast.
"""

__version__ = "0.1.0"
