"""DDL statements that prepare a table, and the catalog queries that determine which of them are needed."""

from psycopg import sql

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.column import ColumnDefinition
from crdbvec_pipelines.database.dialects import Dialect
from crdbvec_pipelines.database.expressions import key_list
from crdbvec_pipelines.database.identifiers import short_name
from crdbvec_pipelines.database.rows.predicates import unembedded_predicate
from crdbvec_pipelines.database.statement import online_ddl, statement
from crdbvec_pipelines.database.table import Table
from crdbvec_pipelines.naming import TableName


@statement
def create_extension(dialect: Dialect) -> sql.Composable:
    """Make the VECTOR type available in the database."""
    return dialect.create_extension or sql.SQL("")


@statement
def has_vector_type() -> sql.Composable:
    """Return whether the VECTOR type exists, as 0 or 1."""
    return sql.SQL("SELECT count(*) FROM pg_catalog.pg_type WHERE typname = 'vector'")


@statement
def add_vector_column(column: ColumnDefinition) -> sql.Composable:
    """Add the vector column. It is nullable and has no default, so neither server rewrites the table."""
    return sql.SQL("ALTER TABLE {} ADD COLUMN IF NOT EXISTS {} VECTOR({})").format(
        column.table.identifier, sql.Identifier(column.spec.output), sql.Literal(column.model.dim)
    )


@statement
def add_fingerprint_column(table: Table, column_name: str) -> sql.Composable:
    """Add the column that records the input and model of each vector."""
    return sql.SQL("ALTER TABLE {} ADD COLUMN IF NOT EXISTS {} TEXT").format(
        table.identifier, sql.Identifier(column_name)
    )


@statement
def find_metadata_tables() -> sql.Composable:
    """List the metadata tables of this project that exist in a schema."""
    return sql.SQL(
        "SELECT c.relname FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace "
        "WHERE n.nspname = %(schema)s::text AND c.relname IN "
        "('crdbvec_row_errors', 'crdbvec_vector_columns', 'crdbvec_metadata_version')"
    )


@statement
def index_state(dialect: Dialect) -> sql.Composable:
    """Find an index by name, and return whether it is valid or being built; another process may be building it."""
    return sql.SQL(
        "SELECT i.indisvalid OR {} FROM pg_catalog.pg_index AS i "
        "JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid "
        "JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace "
        "WHERE n.nspname = %(schema)s::text AND c.relname = %(index)s::text"
    ).format(dialect.index_is_being_built)


@statement
def find_leading_index() -> sql.Composable:
    """Find a valid index without predicate whose first column is the given one."""
    return sql.SQL(
        "SELECT 1 FROM pg_catalog.pg_index AS i JOIN pg_catalog.pg_class AS c ON c.oid = i.indrelid "
        "JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace "
        "JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid "
        # The first position has the number 0 on PostgreSQL and 1 on CockroachDB.
        "AND array_position(i.indkey::int2[], a.attnum) = array_lower(i.indkey::int2[], 1) "
        "WHERE n.nspname = %(schema)s::text AND c.relname = %(table)s::text AND a.attname = %(column)s::text "
        "AND i.indisvalid AND i.indpred IS NULL LIMIT 1"
    )


@statement
def drop_index(dialect: Dialect, table: Table, index: str) -> sql.Composable:
    """Drop an invalid index, which a failed build has left."""
    return dialect.drop_index(schema=table.name.schema, table=table.name.name, index=index)


@online_ddl
def create_pending_index(dialect: Dialect, column: ColumnDefinition) -> sql.Composable:
    """Create the partial index over pending rows without a vector; an embedded row is no longer part of it."""
    return dialect.create_index(
        index=sql.Identifier(pending_index_name(column.spec)),
        table=column.table.identifier,
        columns=key_list(column.table),
        predicate=unembedded_predicate(column),
    )


@online_ddl
def create_updated_index(dialect: Dialect, table: Table, column_name: str) -> sql.Composable:
    """Create the index that finds edited rows, if the table has no index that starts with the column."""
    return dialect.create_index(
        index=sql.Identifier(updated_index_name(table.name, column_name)),
        table=table.identifier,
        columns=sql.Identifier(column_name),
        predicate=None,
    )


@statement
def combine_pending_indexes(dialect: Dialect, column: ColumnDefinition) -> sql.Composable:
    """Create the pending index of a partitioned table from those of its partitions, which takes no scan."""
    return dialect.create_index(
        index=sql.Identifier(pending_index_name(column.spec)),
        table=column.table.identifier,
        columns=key_list(column.table),
        predicate=unembedded_predicate(column),
        online=False,
    )


@statement
def combine_updated_indexes(dialect: Dialect, table: Table, column_name: str) -> sql.Composable:
    """Create the index that finds edited rows of a partitioned table from those of its partitions."""
    return dialect.create_index(
        index=sql.Identifier(updated_index_name(table.name, column_name)),
        table=table.identifier,
        columns=sql.Identifier(column_name),
        predicate=None,
        online=False,
    )


@statement
def list_partitions(dialect: Dialect) -> sql.Composable:
    """List the partitions of a partitioned table that contain rows, those of partitions included."""
    return dialect.list_partitions or sql.SQL("")


def pending_index_name(spec: VectorColumn) -> str:
    """Return the name of the index over pending rows."""
    return short_name(f"{spec.table.name}_{spec.output}", "pending")


def updated_index_name(table: TableName, column_name: str) -> str:
    """Return the name of the index that finds edited rows."""
    return short_name(f"{table.name}_{column_name}", "crdbvec")
