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
def add_migration_chunks(schema: str) -> sql.Composable:
    """Add the columns about chunks: how the texts of both columns are divided, and the chunk table of the first one."""
    return sql.SQL(
        "ALTER TABLE {} ADD COLUMN IF NOT EXISTS first_chunks TEXT, ADD COLUMN IF NOT EXISTS second_chunks TEXT, "
        "ADD COLUMN IF NOT EXISTS first_chunk_table INT8"
    ).format(sql.Identifier(schema, MIGRATIONS_TABLE))


@statement
def select_migrations(schema: str, *, has_chunks: bool) -> sql.Composable:
    """List the model migrations of a schema. An earlier version of the table has no columns about chunks."""
    chunks = sql.SQL(
        "crdbvec_migration.first_chunks, crdbvec_migration.second_chunks, crdbvec_migration.first_chunk_table"
        if has_chunks
        else "NULL::text, NULL::text, NULL::int8"
    )
    return sql.SQL(
        "SELECT crdbvec_migration.table_name, crdbvec_migration.output, crdbvec_migration.second, "
        "crdbvec_migration.first_model, crdbvec_migration.second_model, crdbvec_migration.first_models, "
        "crdbvec_migration.second_models, crdbvec_migration.first_column, crdbvec_migration.phase, "
        "crdbvec_migration.started_at, {chunks} FROM {table} AS crdbvec_migration "
        "ORDER BY crdbvec_migration.table_name, crdbvec_migration.output"
    ).format(chunks=chunks, table=sql.Identifier(schema, MIGRATIONS_TABLE))


@statement
def list_migrations_columns() -> sql.Composable:
    """List the columns of the metadata table of model migrations of a schema; none without the table."""
    return sql.SQL(
        "SELECT crdbvec_attribute.attname FROM pg_catalog.pg_attribute AS crdbvec_attribute "
        "JOIN pg_catalog.pg_class AS crdbvec_class ON crdbvec_class.oid = crdbvec_attribute.attrelid "
        "JOIN pg_catalog.pg_namespace AS crdbvec_namespace ON crdbvec_namespace.oid = crdbvec_class.relnamespace "
        "WHERE crdbvec_namespace.nspname = %(schema)s::text AND crdbvec_class.relname = {}::text "
        "AND crdbvec_attribute.attnum > 0 AND NOT crdbvec_attribute.attisdropped"
    ).format(sql.Literal(MIGRATIONS_TABLE))


@statement
def insert_migration(schema: str) -> sql.Composable:
    """Record the start of a migration, in place of one that is finished."""
    return sql.SQL(
        "INSERT INTO {} AS crdbvec_migration (table_name, output, second, first_model, second_model, first_models, "
        "second_models, first_column, phase, started_at, changed_at, first_chunks, second_chunks, first_chunk_table) "
        "VALUES (%(table_name)s::text, %(output)s::text, "
        "%(second)s::text, %(first_model)s::text, %(second_model)s::text, %(first_models)s::text, "
        "%(second_models)s::text, %(first_column)s::int8, 'started', now(), now(), %(first_chunks)s::text, "
        "%(second_chunks)s::text, %(first_chunk_table)s::int8) "
        "ON CONFLICT (table_name, output) DO UPDATE SET second = excluded.second, first_model = excluded.first_model, "
        "second_model = excluded.second_model, first_models = excluded.first_models, "
        "second_models = excluded.second_models, first_column = excluded.first_column, phase = excluded.phase, "
        "started_at = excluded.started_at, changed_at = excluded.changed_at, first_chunks = excluded.first_chunks, "
        "second_chunks = excluded.second_chunks, first_chunk_table = excluded.first_chunk_table "
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
def list_key_constraints() -> sql.Composable:
    """List the primary key and the foreign key of a chunk table: `p` or `f`, and the name that the server has given.

    A foreign key to a partitioned table has one of its own for each partition, which have their parent's number.
    """
    return sql.SQL(
        "SELECT crdbvec_constraint.contype::text, crdbvec_constraint.conname FROM pg_catalog.pg_constraint "
        "AS crdbvec_constraint WHERE crdbvec_constraint.conrelid = %(oid)s "
        "AND crdbvec_constraint.contype::text IN ('p', 'f') AND crdbvec_constraint.conparentid = 0"
    )


@statement
def rename_constraint(table: Table, constraint: str, new_name: str) -> sql.Composable:
    """Rename a constraint."""
    return sql.SQL("ALTER TABLE {} RENAME CONSTRAINT {} TO {}").format(
        table.identifier, sql.Identifier(constraint), sql.Identifier(new_name)
    )


@statement
def rename_table(schema: str, name: str, new_name: str) -> sql.Composable:
    """Rename a chunk table."""
    return sql.SQL("ALTER TABLE {} RENAME TO {}").format(sql.Identifier(schema, name), sql.Identifier(new_name))


@statement
def lock_writers(table: Table) -> sql.Composable:
    """Wait for the writers of a table and let new ones wait; others may read it. Not sent to CockroachDB."""
    return table.dialect.lock(table.identifier, for_readers=False) or sql.SQL("")


@statement
def lock_table(table: Table) -> sql.Composable:
    """Wait for all sessions that use a table and let new ones wait. Not sent to CockroachDB."""
    return table.dialect.lock(table.identifier, for_readers=True) or sql.SQL("")


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
