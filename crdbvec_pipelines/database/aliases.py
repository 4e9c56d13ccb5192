"""The aliases that statements use, and names qualified by them.

A table's owner may have chosen any name for the table and its columns, also those of this project. So every alias,
derived table and derived column of a statement has one reserved prefix, and every column is qualified by such an alias:
no name of a user can then have another meaning in a statement. `tests/database/test_ledger_names.py` parses every
statement and rejects others.
"""

from collections.abc import Iterable

from psycopg import sql

from crdbvec_pipelines.database.table import Table

PREFIX = "crdbvec_"
"""The prefix of every alias."""

ROW = f"{PREFIX}row"
"""The alias of the user's table; that of a sub-query hides that of the statement around it."""


def reference(name: str, alias: str | None = ROW) -> sql.Identifier:
    """Return a column's name, qualified by an alias; None for DDL, whose columns belong to one table."""
    return sql.Identifier(name) if alias is None else sql.Identifier(alias, name)


def references(names: Iterable[str], alias: str) -> sql.Composable:
    """Return a list of columns' names, qualified by an alias."""
    return sql.SQL(", ").join(reference(name, alias) for name in names)


def aliased(table: Table, alias: str = ROW) -> sql.Composable:
    """Return a table with its alias, as FROM and UPDATE need it."""
    return sql.SQL("{} AS {}").format(table.identifier, sql.Identifier(alias))


def unused_name(table: Table, name: str) -> str:
    """Return a name for a derived column next to those of a table: the given one, or with a number if it is taken."""
    candidate, number = name, 2
    while candidate in table.columns:
        candidate, number = f"{name}_{number}", number + 1
    return candidate
