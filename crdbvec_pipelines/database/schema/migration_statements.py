"""The statements of a model migration: its record, and the exchange of two vector columns by renaming."""

from collections.abc import Sequence

from psycopg import sql

from crdbvec_pipelines.database.rows.row_error_statements import errors_table
from crdbvec_pipelines.database.schema.column_metadata import VECTOR_COLUMNS_TABLE
from crdbvec_pipelines.database.statement import statement
from crdbvec_pipelines.database.table import Table

MIGRATIONS_TABLE = "crdbvec_migrations"


@statement
def create_migrations_table(schema: str) -> sql.Composable:
    """Create the metadata table of model migrations."""
    return sql.SQL(
        "CREATE TABLE IF NOT EXISTS {} (table_name TEXT NOT NULL, output TEXT NOT NULL, second TEXT NOT NULL, "
        "first_model TEXT NOT NULL, second_model TEXT NOT NULL, first_models TEXT NOT NULL, "
        "second_models TEXT NOT NULL, first_column INT8 NOT NULL, phase TEXT NOT NULL, "
        "started_at TIMESTAMPTZ NOT NULL, changed_at TIMESTAMPTZ NOT NULL, PRIMARY KEY (table_name, output))"
    ).format(sql.Identifier(schema, MIGRATIONS_TABLE))


@statement
def select_migrations(schema: str) -> sql.Composable:
    """List the model migrations of a schema."""
    return sql.SQL(
        "SELECT crdbvec_migration.table_name, crdbvec_migration.output, crdbvec_migration.second, "
        "crdbvec_migration.first_model, crdbvec_migration.second_model, crdbvec_migration.first_models, "
        "crdbvec_migration.second_models, crdbvec_migration.first_column, crdbvec_migration.phase, "
        "crdbvec_migration.started_at FROM {} AS crdbvec_migration "
        "ORDER BY crdbvec_migration.table_name, crdbvec_migration.output"
    ).format(sql.Identifier(schema, MIGRATIONS_TABLE))


@statement
def insert_migration(schema: str) -> sql.Composable:
    """Record the start of a migration, in place of one that is finished."""
    return sql.SQL(
        "INSERT INTO {} AS crdbvec_migration (table_name, output, second, first_model, second_model, first_models, "
        "second_models, first_column, phase, started_at, changed_at) VALUES (%(table_name)s::text, %(output)s::text, "
        "%(second)s::text, %(first_model)s::text, %(second_model)s::text, %(first_models)s::text, "
        "%(second_models)s::text, %(first_column)s::int8, 'started', now(), now()) "
        "ON CONFLICT (table_name, output) DO UPDATE SET second = excluded.second, first_model = excluded.first_model, "
        "second_model = excluded.second_model, first_models = excluded.first_models, "
        "second_models = excluded.second_models, first_column = excluded.first_column, phase = excluded.phase, "
        "started_at = excluded.started_at, changed_at = excluded.changed_at "
        "WHERE crdbvec_migration.phase = 'finished'"
    ).format(sql.Identifier(schema, MIGRATIONS_TABLE))


@statement
def set_migration_phase(schema: str) -> sql.Composable:
    """Record the next phase of a migration, if it is still in the phase that was read."""
    return sql.SQL(
        "UPDATE {} AS crdbvec_migration SET phase = %(next_phase)s::text, changed_at = now() "
        "WHERE crdbvec_migration.table_name = %(table_name)s::text AND crdbvec_migration.output = %(output)s::text "
        "AND crdbvec_migration.phase = %(phase)s::text"
    ).format(sql.Identifier(schema, MIGRATIONS_TABLE))


@statement
def delete_migration(schema: str) -> sql.Composable:
    """Delete the record of a migration that was abandoned."""
    return sql.SQL(
        "DELETE FROM {} AS crdbvec_migration "
        "WHERE crdbvec_migration.table_name = %(table_name)s::text AND crdbvec_migration.output = %(output)s::text"
    ).format(sql.Identifier(schema, MIGRATIONS_TABLE))


@statement
def column_number() -> sql.Composable:
    """Return the number of a column in the catalog, which a rename does not change."""
    return sql.SQL(
        "SELECT crdbvec_attribute.attnum FROM pg_catalog.pg_attribute AS crdbvec_attribute "
        "WHERE crdbvec_attribute.attrelid = %(oid)s AND crdbvec_attribute.attname = %(column)s::text "
        "AND NOT crdbvec_attribute.attisdropped"
    )


@statement
def set_models(schema: str) -> sql.Composable:
    """Record the models of a vector column, the present one first."""
    return sql.SQL(
        "UPDATE {} AS crdbvec_column SET models = %(models)s::text, changed_at = now() "
        "WHERE crdbvec_column.table_name = %(table_name)s::text AND crdbvec_column.output = %(output)s::text"
    ).format(sql.Identifier(schema, VECTOR_COLUMNS_TABLE))


@statement
def move_row_errors(schema: str) -> sql.Composable:
    """Move the failed rows of one vector column of a table to another one."""
    return sql.SQL(
        "UPDATE {} AS crdbvec_error SET output = %(new_output)s::text "
        "WHERE crdbvec_error.table_name = %(table_name)s::text AND crdbvec_error.output = %(output)s::text"
    ).format(errors_table(schema))


@statement
def rename_columns(table: Table, renames: Sequence[tuple[str, str]]) -> sql.Composable:
    """Rename columns of a table, in this order.

    CockroachDB's documentation guarantees that the parts of one ALTER TABLE take effect together. PostgreSQL renames
    one column in a statement, so there it is called for each of them, in a transaction.
    """
    parts = sql.SQL(", ").join(
        sql.SQL("RENAME COLUMN {} TO {}").format(sql.Identifier(old), sql.Identifier(new)) for old, new in renames
    )
    return sql.SQL("ALTER TABLE {} {}").format(table.identifier, parts)
