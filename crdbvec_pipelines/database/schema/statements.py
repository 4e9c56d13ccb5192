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


@statement
def create_extension(dialect: Dialect) -> sql.Composable:
    """Make the VECTOR type available in the database."""
    return dialect.create_extension or sql.SQL("")


@statement
def add_vector_column(column: ColumnDefinition) -> sql.Composable:
    """Add the vector column. It is nullable and has no default, so neither server rewrites the table."""
    return sql.SQL("ALTER TABLE {} ADD COLUMN IF NOT EXISTS {} {}").format(
        column.table.identifier,
        sql.Identifier(column.spec.output),
        column.table.dialect.vector_object(f"VECTOR({column.model.dim})"),
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
        "SELECT crdbvec_class.relname FROM pg_catalog.pg_class AS crdbvec_class "
        "JOIN pg_catalog.pg_namespace AS crdbvec_namespace ON crdbvec_namespace.oid = crdbvec_class.relnamespace "
        "WHERE crdbvec_namespace.nspname = %(schema)s::text AND crdbvec_class.relname IN "
        "('crdbvec_row_errors', 'crdbvec_vector_columns', 'crdbvec_metadata_version')"
    )


@statement
def table_indexes(dialect: Dialect) -> sql.Composable:
    """List the indexes of a table: name, whether it is valid or being built, columns, predicate.

    Another process may be building an index.
    """
    return sql.SQL(
        "SELECT crdbvec_class.relname, crdbvec_index.indisvalid OR {}, "
        "ARRAY(SELECT crdbvec_attribute.attname::text FROM pg_catalog.pg_attribute AS crdbvec_attribute "
        "WHERE crdbvec_attribute.attrelid = crdbvec_index.indrelid "
        "AND crdbvec_attribute.attnum = ANY(crdbvec_index.indkey) "
        "ORDER BY array_position(crdbvec_index.indkey::int2[], crdbvec_attribute.attnum)), "
        "pg_get_expr(crdbvec_index.indpred, crdbvec_index.indrelid) FROM pg_catalog.pg_index AS crdbvec_index "
        "JOIN pg_catalog.pg_class AS crdbvec_class ON crdbvec_class.oid = crdbvec_index.indexrelid "
        "WHERE crdbvec_index.indrelid = %(oid)s ORDER BY crdbvec_class.relname"
    ).format(dialect.index_is_being_built)


@statement
def find_leading_index() -> sql.Composable:
    """Find a valid index without predicate whose first column is the given one."""
    return sql.SQL(
        "SELECT 1 FROM pg_catalog.pg_index AS crdbvec_index "
        "JOIN pg_catalog.pg_attribute AS crdbvec_attribute ON crdbvec_attribute.attrelid = crdbvec_index.indrelid "
        # The first position has the number 0 on PostgreSQL and 1 on CockroachDB.
        "AND array_position(crdbvec_index.indkey::int2[], crdbvec_attribute.attnum) "
        "= array_lower(crdbvec_index.indkey::int2[], 1) "
        "WHERE crdbvec_index.indrelid = %(oid)s AND crdbvec_attribute.attname = %(column)s::text "
        "AND crdbvec_index.indisvalid AND crdbvec_index.indpred IS NULL LIMIT 1"
    )


@statement
def drop_index(dialect: Dialect, table: Table, index: str) -> sql.Composable:
    """Drop an invalid index, which a failed build has left."""
    return dialect.drop_index(schema=table.name.schema, table=table.name.name, index=index)


@online_ddl
def create_pending_index(dialect: Dialect, column: ColumnDefinition, index: str) -> sql.Composable:
    """Create the partial index over pending rows without a vector; an embedded row is no longer part of it."""
    return dialect.create_index(
        index=sql.Identifier(index),
        table=column.table.identifier,
        columns=key_list(column.table, None),
        predicate=unembedded_predicate(column, None),
    )


@online_ddl
def create_column_index(dialect: Dialect, table: Table, column_name: str, index: str) -> sql.Composable:
    """Create the index on one column, by which edited rows or stored vectors are found."""
    return dialect.create_index(
        index=sql.Identifier(index),
        table=table.identifier,
        columns=sql.Identifier(column_name),
        predicate=None,
    )


@statement
def combine_pending_indexes(dialect: Dialect, column: ColumnDefinition, index: str) -> sql.Composable:
    """Create the pending index of a partitioned table from those of its partitions, which takes no scan."""
    return dialect.create_index(
        index=sql.Identifier(index),
        table=column.table.identifier,
        columns=key_list(column.table, None),
        predicate=unembedded_predicate(column, None),
        online=False,
    )


@statement
def combine_column_indexes(dialect: Dialect, table: Table, column_name: str, index: str) -> sql.Composable:
    """Create the index on one column of a partitioned table from those of its partitions."""
    return dialect.create_index(
        index=sql.Identifier(index),
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
    """Return the name of the index over pending rows, unless another index has it."""
    return short_name(*pending_index_stem(spec))


def pending_index_stem(spec: VectorColumn) -> tuple[str, str]:
    """Return the first and the last part of the name of the index over pending rows."""
    return f"{spec.table.name}_{spec.output}", "pending"
