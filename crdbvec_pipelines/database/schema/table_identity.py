"""What is recorded about a table, after the table was renamed or replaced.

The metadata tables name a table, as users do, and also record what identifies it in the catalog. After

    ALTER TABLE passage RENAME TO passage_old; ALTER TABLE passage_new RENAME TO passage;

the records of `passage` are those of `passage_old`, and those of `passage_new`, if there are any, are those of
`passage`. A table that was dropped and created again keeps the records of its name: the failures are those of its keys
and inputs, whatever the table.
"""

import logging
from dataclasses import dataclass

from psycopg import sql

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.rows.row_error_statements import errors_table
from crdbvec_pipelines.database.schema.column_metadata import VECTOR_COLUMNS_TABLE
from crdbvec_pipelines.database.statement import statement
from crdbvec_pipelines.database.table import Table

logger = logging.getLogger(__name__)


@statement
def list_recorded_tables(schema: str) -> sql.Composable:
    """List the recorded vector columns: table and output, what identifies the table, and its present name.

    The present name is NULL if the schema has no such table with this column: it was dropped, or the database is a
    restored copy.
    """
    return sql.SQL(
        "SELECT crdbvec_column.table_name, crdbvec_column.output, crdbvec_column.table_oid, "
        "CASE WHEN crdbvec_attribute.attname IS NOT NULL THEN crdbvec_class.relname::text END "
        "FROM {} AS crdbvec_column LEFT JOIN pg_catalog.pg_class AS crdbvec_class "
        "ON crdbvec_class.oid = crdbvec_column.table_oid::oid AND crdbvec_class.relkind IN ('r', 'p') "
        "AND crdbvec_class.relnamespace = (SELECT crdbvec_namespace.oid FROM pg_catalog.pg_namespace "
        "AS crdbvec_namespace WHERE crdbvec_namespace.nspname = %(schema)s::text) "
        "LEFT JOIN pg_catalog.pg_attribute AS crdbvec_attribute ON crdbvec_attribute.attrelid = crdbvec_class.oid "
        "AND crdbvec_attribute.attname = crdbvec_column.output AND NOT crdbvec_attribute.attisdropped "
        "WHERE crdbvec_column.table_oid IS NOT NULL ORDER BY crdbvec_column.table_name, crdbvec_column.output"
    ).format(sql.Identifier(schema, VECTOR_COLUMNS_TABLE))


@statement
def rename_column_metadata(schema: str) -> sql.Composable:
    """Record the present name of a renamed table for one of its vector columns."""
    return sql.SQL(
        "UPDATE {} AS crdbvec_column SET table_name = %(new_name)s::text "
        "WHERE crdbvec_column.table_name = %(table_name)s::text AND crdbvec_column.output = %(output)s::text "
        "AND crdbvec_column.table_oid = %(oid)s::int8"
    ).format(sql.Identifier(schema, VECTOR_COLUMNS_TABLE))


@statement
def delete_column_metadata(schema: str) -> sql.Composable:
    """Delete the record of a vector column, of whatever table had its name before."""
    return sql.SQL(
        "DELETE FROM {} AS crdbvec_column "
        "WHERE crdbvec_column.table_name = %(table_name)s::text AND crdbvec_column.output = %(output)s::text"
    ).format(sql.Identifier(schema, VECTOR_COLUMNS_TABLE))


@statement
def rename_row_errors(schema: str) -> sql.Composable:
    """Record the present name of a renamed table for the failed rows of one of its vector columns."""
    return sql.SQL(
        "UPDATE {} AS crdbvec_error SET table_name = %(new_name)s::text "
        "WHERE crdbvec_error.table_name = %(table_name)s::text AND crdbvec_error.output = %(output)s::text"
    ).format(errors_table(schema))


@statement
def delete_row_errors(schema: str) -> sql.Composable:
    """Delete the failed rows of a vector column, of whatever table had its name before."""
    return sql.SQL(
        "DELETE FROM {} AS crdbvec_error "
        "WHERE crdbvec_error.table_name = %(table_name)s::text AND crdbvec_error.output = %(output)s::text"
    ).format(errors_table(schema))


@dataclass(frozen=True)
class _Renamed:
    """A vector column whose table is recorded under a former name."""

    oid: int
    output: str
    former_name: str
    name: str

    @property
    def interim_name(self) -> str:
        """A name that no table has: two tables may have exchanged theirs."""
        return f"crdbvec_oid:{self.oid}"


def follow_renamed_tables(database: Database, table: Table) -> None:
    """Move the records of renamed tables of a schema to their present names, and log if a table was replaced.

    Args:
        database: An open database.
        table: The table that is being prepared.
    """
    schema = table.name.schema
    recorded = database.fetch(list_recorded_tables(schema), {"schema": schema})
    renamed = [
        _Renamed(oid, output, former_name, name)
        for former_name, output, oid, name in recorded
        if name is not None and name != former_name
    ]
    moved = [each for each in renamed if _rename(database, schema, each, each.former_name, each.interim_name)]
    for each in moved:
        leftover = {"table_name": each.name, "output": each.output}
        database.execute(delete_column_metadata(schema), leftover)
        database.execute(delete_row_errors(schema), leftover)
        _rename(database, schema, each, each.interim_name, each.name)
        logger.info("The records of %s.%s are now those of %s.", schema, each.former_name, each.name)
    if any((name, present) == (table.name.name, None) and oid != table.oid for name, _, oid, present in recorded):
        logger.warning("%s is another table than the one prepared before, which was dropped.", table.name)


def _rename(database: Database, schema: str, renamed: _Renamed, old: str, new: str) -> bool:
    """Move the records of one vector column, and return whether this process did; another one may do the same."""
    parameters = {"table_name": old, "new_name": new, "output": renamed.output, "oid": renamed.oid}
    if not database.execute(rename_column_metadata(schema), parameters):
        return False
    database.execute(rename_row_errors(schema), parameters)
    return True
