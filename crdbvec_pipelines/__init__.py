"""Vector columns of CockroachDB tables, kept fresh by Dagster.

Only the version lives here: importing the package must stay light, because every
Dagster step process does it.
"""

__version__ = "0.1.0"
