"""The one place where the user's schema is changed: the vector column, its fingerprint, the index over pending rows.

Everything is idempotent, each statement runs alone in autocommit, and what exists is not touched.
"""

import hashlib
from collections.abc import Iterator

import psycopg
from psycopg import sql

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.dialects import Dialect
from crdbvec_pipelines.database.errors import DatabaseError, TableError, is_already_there
from crdbvec_pipelines.database.expressions import key_list
from crdbvec_pipelines.database.introspect import Table, check_column, read_table
from crdbvec_pipelines.database.row_statements import missing_predicate
from crdbvec_pipelines.database.statement import Statement, statement

# PostgreSQL cuts names at 63 bytes without a word, CockroachDB takes longer ones.
_LONGEST_NAME = 63


@statement
def create_extension(dialect: Dialect) -> sql.Composable:
    """Makes the VECTOR type available in this database."""
    return dialect.create_extension or sql.SQL("")


@statement
def has_vector_type() -> sql.Composable:
    """Whether the VECTOR type is there."""
    return sql.SQL("SELECT count(*) FROM pg_catalog.pg_type WHERE typname = 'vector'")


@statement
def add_vector_column(table: Table, spec: VectorColumn, dimension: int) -> sql.Composable:
    """Adds the vector column. Nullable and without default, it costs no rewrite on either server."""
    return sql.SQL("ALTER TABLE {} ADD COLUMN IF NOT EXISTS {} VECTOR({})").format(
        table.identifier, sql.Identifier(spec.output), sql.Literal(dimension)
    )


@statement
def add_fingerprint_column(table: Table, column: str) -> sql.Composable:
    """Adds the column that says which input and model each vector was made from."""
    return sql.SQL("ALTER TABLE {} ADD COLUMN IF NOT EXISTS {} TEXT").format(table.identifier, sql.Identifier(column))


@statement
def index_state() -> sql.Composable:
    """Whether an index of this name exists, and whether it is whole."""
    return sql.SQL(
        "SELECT i.indisvalid FROM pg_catalog.pg_index AS i "
        "JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid "
        "JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace "
        "WHERE n.nspname = %(schema)s::text AND c.relname = %(index)s::text"
    )


@statement
def drop_index(table: Table, index: str) -> sql.Composable:
    """Removes an index that a broken build left behind."""
    return sql.SQL("DROP INDEX IF EXISTS {}").format(sql.Identifier(table.name.schema, index))


@statement
def create_pending_index(dialect: Dialect, table: Table, spec: VectorColumn) -> sql.Composable:
    """Creates the partial index that makes finding pending rows cheap; rows leave it when they are embedded."""
    return dialect.create_pending_index(
        index=sql.Identifier(pending_index_name(spec)),
        table=table.identifier,
        key=key_list(table),
        predicate=missing_predicate(table, spec),
    )


def pending_index_name(spec: VectorColumn) -> str:
    """The name of the index over pending rows, cut to what both servers keep."""
    name = f"{spec.table.name}_{spec.output}_pending"
    if len(name.encode()) <= _LONGEST_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    kept = name.encode()[: _LONGEST_NAME - len(digest) - 1].decode(errors="ignore")
    return f"{kept}_{digest}"


def missing_schema(database: Database, table: Table, spec: VectorColumn, dimension: int) -> Iterator[Statement]:
    """The statements that are still needed before rows can be embedded, in order."""
    if database.dialect.create_extension is not None and not database.fetch_one(has_vector_type())[0]:
        yield create_extension(database.dialect)
    if spec.output not in table.columns:
        yield add_vector_column(table, spec, dimension)
    if spec.fingerprint_column is not None and spec.fingerprint_column not in table.columns:
        yield add_fingerprint_column(table, spec.fingerprint_column)
    index = {"schema": table.name.schema, "index": pending_index_name(spec)}
    state = database.fetch(index_state(), index)
    if state and not state[0][0]:
        yield drop_index(table, index["index"])
    if not state or not state[0][0]:
        yield create_pending_index(database.dialect, table, spec)


def ensure_schema(database: Database, spec: VectorColumn, dimension: int) -> Table:
    """Makes the table ready for its vector column, and returns it as it then is.

    Raises:
        TableError: the table cannot carry the column, or `manage_schema` is off and something is missing; the message
            holds the statements to run.
        DatabaseError: the server refused a statement.
    """
    table = read_table(database, spec.table)
    check_column(table, spec, dimension)
    needed = list(missing_schema(database, table, spec, dimension))
    if not needed:
        return table
    if not spec.manage_schema:
        statements = "\n".join(f"  {needed_statement.text};" for needed_statement in needed)
        raise TableError(
            f"{spec.origin}: {spec.table} lacks what the vector column {spec.output} needs, and manage_schema is off; "
            f"run these statements, or set manage_schema: true.\n{statements}"
        )
    for needed_statement in needed:
        _run_once(database, needed_statement)
    return read_table(database, spec.table)


def _run_once(database: Database, ddl: Statement) -> None:
    """Runs a DDL statement; that another process was quicker is no error."""
    try:
        database.execute(ddl)
    except DatabaseError as error:
        if not (isinstance(error.__cause__, psycopg.Error) and is_already_there(error.__cause__)):
            raise
