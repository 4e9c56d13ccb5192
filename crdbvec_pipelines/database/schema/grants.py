"""The privileges of other roles on a vector column, which the column that takes its place needs as well.

A role that may read single columns, or a chunk table, has no privilege on those of the second column of a migration.
"""

from collections.abc import Iterator

from psycopg import sql

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.schema.column_objects import OwnTables
from crdbvec_pipelines.database.statement import Statement, statement
from crdbvec_pipelines.database.table import Table

# Those with which applications read and write; others, such as TRIGGER, are the owner's to grant.
_PRIVILEGES = ("SELECT", "INSERT", "UPDATE", "DELETE")
_PUBLIC = "PUBLIC"

_Grant = tuple[str, str]
"""The role and the privilege."""


@statement
def list_table_grants() -> sql.Composable:
    """List the privileges on a table that are granted for the whole table: role and privilege."""
    return sql.SQL(
        "SELECT crdbvec_grant.grantee::text, crdbvec_grant.privilege_type::text "
        "FROM information_schema.table_privileges AS crdbvec_grant "
        "WHERE crdbvec_grant.table_schema = %(schema)s::text AND crdbvec_grant.table_name = %(table)s::text"
    )


@statement
def list_column_grants() -> sql.Composable:
    """List the privileges on the columns of a table: column, role and privilege; those on the whole table, too."""
    return sql.SQL(
        "SELECT crdbvec_grant.column_name::text, crdbvec_grant.grantee::text, crdbvec_grant.privilege_type::text "
        "FROM information_schema.column_privileges AS crdbvec_grant "
        "WHERE crdbvec_grant.table_schema = %(schema)s::text AND crdbvec_grant.table_name = %(table)s::text"
    )


@statement
def grant(table: Table, grantee: str, privilege: str, granted_column: str | None) -> sql.Composable:
    """Grant a privilege on a table, or on one of its columns."""
    return sql.SQL("GRANT {privilege}{column} ON {table} TO {grantee}").format(
        privilege=sql.SQL(privilege),
        column=sql.SQL("") if granted_column is None else sql.SQL(" ({})").format(sql.Identifier(granted_column)),
        table=table.identifier,
        grantee=sql.SQL(_PUBLIC) if grantee == _PUBLIC else sql.Identifier(grantee),
    )


def missing_grants(database: Database, tables: OwnTables) -> Iterator[Statement]:
    """Yield the statements that grant the privileges on the first column and its chunk table on the second ones."""
    first, second = tables.first.table, tables.second.table
    of_first, of_second = _table_grants(database, first), _table_grants(database, second)
    if not tables.are_one:
        for grantee, privilege in sorted(of_first - of_second):
            yield grant(second, grantee, privilege, None)
    names = dict(zip(tables.first.columns, tables.second.columns, strict=False))
    if not tables.are_one:
        names = {name: names.get(name, name) for name in first.columns}
    present = _column_grants(database, second)
    for column, grantee, privilege in sorted(_column_grants(database, first)):
        if column not in names or (grantee, privilege) in of_first:
            continue
        if (names[column], grantee, privilege) not in present:
            yield grant(second, grantee, privilege, names[column])


def _table_grants(database: Database, table: Table) -> set[_Grant]:
    rows = database.fetch(list_table_grants(), {"schema": table.name.schema, "table": table.name.name})
    return {(grantee, privilege) for grantee, privilege in rows if privilege in _PRIVILEGES}


def _column_grants(database: Database, table: Table) -> set[tuple[str, str, str]]:
    rows = database.fetch(list_column_grants(), {"schema": table.name.schema, "table": table.name.name})
    return {(column, grantee, privilege) for column, grantee, privilege in rows if privilege in _PRIVILEGES}
