"""The statements about vector indexes, the index that the configuration describes, and the indexes that exist."""

from psycopg import sql

from crdbvec_pipelines.config import IndexSpec, VectorColumn
from crdbvec_pipelines.database.aliases import aliased, reference
from crdbvec_pipelines.database.column import BoundColumn, ColumnDefinition
from crdbvec_pipelines.database.dialects import Dialect
from crdbvec_pipelines.database.dialects.vector_support import NOT_NULL, IndexDefinition
from crdbvec_pipelines.database.identifiers import short_name
from crdbvec_pipelines.database.metrics import operator_class
from crdbvec_pipelines.database.statement import online_ddl, statement
from crdbvec_pipelines.database.table import Table


@online_ddl
def create_vector_index(
    dialect: Dialect, column: ColumnDefinition, index: str, *, is_visible: bool = True
) -> sql.Composable:
    """Build the vector index."""
    return dialect.vectors.create(
        sql.Identifier(index),
        column.table.identifier,
        sql.Identifier(column.spec.output),
        configured_definition(dialect, column),
        dialect.vector_schema,
        is_visible=is_visible,
    )


@online_ddl
def drop_index_online(dialect: Dialect, table: Table, index: str) -> sql.Composable:
    """Drop a vector index that another one has replaced."""
    return dialect.vectors.drop_online(table.name, index)


@statement
def rename_index(dialect: Dialect, table: Table, index: str, new_name: str) -> sql.Composable:
    """Rename an index."""
    return dialect.vectors.rename(table.name, index, new_name)


@statement
def show_index(dialect: Dialect, table: Table, index: str) -> sql.Composable:
    """Make an index visible, on a server that can hide indexes."""
    return dialect.vectors.show(table.name, index) or sql.SQL("")


@statement
def describe_indexes(dialect: Dialect, table: Table) -> sql.Composable:
    """Return the indexes of a table, including its vector indexes."""
    return dialect.vectors.describe(table.identifier)


@statement
def index_progress(dialect: Dialect) -> sql.Composable:
    """Return the completed share of a running index build."""
    return dialect.vectors.progress


@statement
def table_size(dialect: Dialect, table: Table) -> sql.Composable:
    """Return the size in bytes of a table with its indexes."""
    return dialect.vectors.table_size(table.name)


@statement
def index_size(dialect: Dialect, table: Table, index: str) -> sql.Composable:
    """Return the size in bytes of an index."""
    return dialect.vectors.index_size(table.name, index)


@statement
def index_live_records(dialect: Dialect, table: Table, index: str) -> sql.Composable:
    """Return the live bytes and the number of live records of an index, on a server that has records."""
    return dialect.vectors.live_records(table.name, index) or sql.SQL("")


@statement
def indexes_named(dialect: Dialect) -> sql.Composable:
    """Return the tables of a schema that have an index with a name, and whether it is valid or being built."""
    return sql.SQL(
        "SELECT crdbvec_table.relname, crdbvec_index.indisvalid OR {} FROM pg_catalog.pg_index AS crdbvec_index "
        "JOIN pg_catalog.pg_class AS crdbvec_class ON crdbvec_class.oid = crdbvec_index.indexrelid "
        "JOIN pg_catalog.pg_class AS crdbvec_table ON crdbvec_table.oid = crdbvec_index.indrelid "
        "JOIN pg_catalog.pg_namespace AS crdbvec_namespace ON crdbvec_namespace.oid = crdbvec_class.relnamespace "
        "WHERE crdbvec_namespace.nspname = %(schema)s::text AND crdbvec_class.relname = %(index)s::text"
    ).format(dialect.index_is_being_built)


@statement
def count_vectors(column: ColumnDefinition) -> sql.Composable:
    """Return the number of rows that have a vector."""
    return sql.SQL("SELECT count({}) FROM {}").format(reference(column.spec.output), aliased(column.table))


def vector_index_name(spec: VectorColumn) -> str:
    """Return the name of the vector index of a column."""
    return short_name(f"{spec.table.name}_{spec.output}", "index")


def vector_index_names(spec: VectorColumn, oid: int) -> tuple[str, str, str]:
    """Return the names that this project gives to vector indexes of a column.

    Args:
        spec: The entry of the column.
        oid: What identifies its table in the catalog.

    Returns:
        The usual name; the name if an index of another table has that one; and the name of an index until it takes the
        place of another one.
    """
    stem = f"{spec.table.name}_{spec.output}_{oid}"
    return vector_index_name(spec), short_name(stem, "index"), short_name(stem, "index_new")


def configured_definition(dialect: Dialect, column: ColumnDefinition) -> IndexDefinition:
    """Return the index that the configuration describes, without the options that the server does not support."""
    spec = column.spec.index or IndexSpec()
    supported = dialect.vectors.parameters
    return IndexDefinition(
        operator_class(column.metric, column.vector_type),
        spec.prefix if dialect.vectors.has_prefixes else (),
        NOT_NULL if spec.partial else None,
        {name: value for name, value in spec.parameters.items() if name in supported},
    )


def unsupported_options(dialect: Dialect, spec: VectorColumn) -> str | None:
    """Return a sentence about the configured index options that the server does not support; None if there are none."""
    configured = spec.index or IndexSpec()
    unsupported = sorted(configured.parameters.keys() - dialect.vectors.parameters.keys())
    has_unsupported_prefix = bool(configured.prefix) and not dialect.vectors.has_prefixes
    if not unsupported and not has_unsupported_prefix:
        return None
    options = ", ".join([*(["prefix"] if has_unsupported_prefix else []), *unsupported])
    consequence = " Searches that filter by the prefix columns still return the correct rows."
    return (
        f"The vector index is built without {options}, which {dialect.display_name} does not support."
        f"{consequence if has_unsupported_prefix else ''}"
    )


def existing_indexes(column: BoundColumn) -> dict[str, IndexDefinition]:
    """Return the finished vector indexes over a column, by name."""
    dialect, name = column.database.dialect, column.table.name
    rows = column.database.fetch(describe_indexes(dialect, column.table), {"schema": name.schema, "table": name.name})
    return dialect.vectors.parse_description(rows, column.spec.output)
