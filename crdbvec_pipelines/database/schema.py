"""The one place where the user's schema is changed: vector column, fingerprint, indexes, trigger, our own two tables.

Everything is idempotent, each statement runs alone in autocommit, and what exists is not touched.
"""

import logging
import random
import time
from collections.abc import Iterator, Sequence

import psycopg
from psycopg import sql
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.catalogue import (
    CATALOGUE_TABLE,
    KeptColumn,
    create_catalogue_table,
    kept_columns,
    remember,
)
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.dialects import Dialect
from crdbvec_pipelines.database.error_statements import ERRORS_TABLE, create_errors_table
from crdbvec_pipelines.database.errors import (
    DatabaseError,
    DatabaseUnavailable,
    TableError,
    is_already_there,
    is_changed_meanwhile,
    is_locked,
)
from crdbvec_pipelines.database.expressions import key_list
from crdbvec_pipelines.database.introspect import Table, check_column, read_table
from crdbvec_pipelines.database.names import short_name
from crdbvec_pipelines.database.row_statements import missing_predicate
from crdbvec_pipelines.database.session import NO_TIMEOUT
from crdbvec_pipelines.database.statement import Statement, statement
from crdbvec_pipelines.database.triggers import trigger_changes

logger = logging.getLogger(__name__)

# Of two processes that build one index CONCURRENTLY at the same moment, PostgreSQL ends one by deadlock, which may
# leave the index invalid. So what was changed is looked at again, after a pause that lets one of them be first.
_PAUSES = (0.0, 0.0, 1.0, 2.0, 4.0)


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
def find_tables() -> sql.Composable:
    """Which of this project's own tables a schema has."""
    return sql.SQL(
        "SELECT c.relname FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace "
        "WHERE n.nspname = %(schema)s::text AND c.relname IN ('crdbvec_row_errors', 'crdbvec_vector_columns')"
    )


@statement
def index_state(dialect: Dialect) -> sql.Composable:
    """Whether an index of this name exists, and whether it is whole or about to be: another process may build it."""
    return sql.SQL(
        "SELECT i.indisvalid OR {} FROM pg_catalog.pg_index AS i "
        "JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid "
        "JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace "
        "WHERE n.nspname = %(schema)s::text AND c.relname = %(index)s::text"
    ).format(dialect.index_is_being_built)


@statement
def find_leading_index() -> sql.Composable:
    """A whole index whose first column is the given one."""
    return sql.SQL(
        "SELECT 1 FROM pg_catalog.pg_index AS i JOIN pg_catalog.pg_class AS c ON c.oid = i.indrelid "
        "JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace "
        "JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid "
        # The first place has the number 0 on PostgreSQL and 1 on CockroachDB.
        "AND array_position(i.indkey::int2[], a.attnum) = array_lower(i.indkey::int2[], 1) "
        "WHERE n.nspname = %(schema)s::text AND c.relname = %(table)s::text AND a.attname = %(column)s::text "
        "AND i.indisvalid AND i.indpred IS NULL LIMIT 1"
    )


@statement
def drop_index(dialect: Dialect, table: Table, index: str) -> sql.Composable:
    """Removes an index that a broken build left behind."""
    return dialect.drop_index(schema=table.name.schema, table=table.name.name, index=index)


@statement
def create_pending_index(dialect: Dialect, table: Table, spec: VectorColumn) -> sql.Composable:
    """Creates the partial index that makes finding pending rows cheap; rows leave it when they are embedded."""
    return dialect.create_index(
        index=sql.Identifier(pending_index_name(spec)),
        table=table.identifier,
        columns=key_list(table),
        predicate=missing_predicate(table, spec),
    )


@statement
def create_updated_index(dialect: Dialect, table: Table, column: str) -> sql.Composable:
    """Creates the index through which edited rows are found, where the table has none that starts with the column."""
    return dialect.create_index(
        index=sql.Identifier(short_name(f"{table.name.name}_{column}", "crdbvec")),
        table=table.identifier,
        columns=sql.Identifier(column),
        predicate=None,
    )


def pending_index_name(spec: VectorColumn) -> str:
    """The name of the index over pending rows."""
    return short_name(f"{spec.table.name}_{spec.output}", "pending")


def is_prepared(database: Database, table: Table, spec: VectorColumn) -> bool:
    """Whether a table has what reading and counting its vector column's rows needs."""
    own = {name for (name,) in database.fetch(find_tables(), {"schema": table.name.schema})}
    return ERRORS_TABLE in own and {spec.output, spec.fingerprint_column or spec.output} <= table.columns.keys()


def missing_schema(database: Database, table: Table, spec: VectorColumn, dimension: int) -> Iterator[Statement]:
    """The statements that are still needed before rows can be embedded, in order."""
    if database.dialect.create_extension is not None and not database.fetch_one(has_vector_type())[0]:
        yield create_extension(database.dialect)
    schema = table.name.schema
    own = {name for (name,) in database.fetch(find_tables(), {"schema": schema})}
    if ERRORS_TABLE not in own:
        yield create_errors_table(schema)
    if CATALOGUE_TABLE not in own:
        yield create_catalogue_table(schema)
    if spec.output not in table.columns:
        yield add_vector_column(table, spec, dimension)
    if spec.fingerprint_column is not None and spec.fingerprint_column not in table.columns:
        yield add_fingerprint_column(table, spec.fingerprint_column)
    index = {"schema": schema, "index": pending_index_name(spec)}
    state = database.fetch(index_state(database.dialect), index)
    if state and not state[0][0]:
        yield drop_index(database.dialect, table, index["index"])
    if not state or not state[0][0]:
        yield create_pending_index(database.dialect, table, spec)
    if spec.updated_at is not None:
        names = {"schema": schema, "table": table.name.name, "column": spec.updated_at}
        if not database.fetch(find_leading_index(), names):
            yield create_updated_index(database.dialect, table, spec.updated_at)


def needed_statements(database: Database, table: Table, spec: VectorColumn, dimension: int) -> list[Statement]:
    """What `ensure_schema` would run, the table's trigger included, without running it."""
    needed = list(missing_schema(database, table, spec, dimension))
    kept = [] if any(ddl.name == create_catalogue_table.__name__ for ddl in needed) else kept_columns(database, table)
    wanted = KeptColumn(spec.output, spec.input_columns, spec.fingerprint_column, spec.staleness, ())
    kept = [*(column for column in kept if column.output != spec.output), wanted]
    return needed + list(trigger_changes(database, table, sorted(kept, key=lambda column: column.output)))


def ensure_schema(database: Database, spec: VectorColumn, dimension: int, model_id: str) -> Table:
    """Makes the table ready for its vector column, and returns it as it then is.

    Raises:
        TableError: the table cannot carry the column, or `manage_schema` is off and something is missing; the message
            holds the statements to run.
        DatabaseError: the server refused a statement.
    """
    table = read_table(database, spec.table)
    check_column(table, spec, dimension)
    if spec.staleness == "trigger":
        database.dialect.check_triggers()
    for longest_pause in _PAUSES:
        time.sleep(random.uniform(0, longest_pause))  # noqa: S311
        needed = list(missing_schema(database, table, spec, dimension))
        if not needed:
            break
        _change(database, spec, needed)
        table = read_table(database, spec.table)
    remember(database, table, spec, model_id)
    _ensure_trigger(database, spec, table)
    return table


def _ensure_trigger(database: Database, spec: VectorColumn, table: Table) -> None:
    """Gives the table its trigger; several processes may do so at once, each for a column of its own."""
    for longest_pause in _PAUSES:
        time.sleep(random.uniform(0, longest_pause))  # noqa: S311
        needed = list(trigger_changes(database, table, kept_columns(database, table)))
        try:
            _change(database, spec, needed)
        except DatabaseError as error:
            if longest_pause == _PAUSES[-1] or not is_changed_meanwhile(error):
                raise
        else:
            if not needed:
                return


def _change(database: Database, spec: VectorColumn, needed: Sequence[Statement]) -> None:
    if needed and not spec.manage_schema:
        statements = "\n".join(f"  {ddl.text};" for ddl in needed)
        raise TableError(
            f"{spec.origin}: {spec.table} lacks what the vector column {spec.output} needs, and manage_schema is off; "
            f"run these statements, or set manage_schema: true.\n{statements}"
        )
    for needed_statement in needed:
        change_schema(database, needed_statement)


# Built beside readers and writers; what it waits for are transactions that it holds up nobody behind.
_LOCKS_NOBODY = frozenset({create_pending_index.__name__, create_updated_index.__name__})


def _tell_of_lock(state: RetryCallState) -> None:
    logger.info("the table is locked by somebody's transaction; trying again (%d)", state.attempt_number)


_TRIES_AT_A_LOCK = 10
_when_unlocked = Retrying(
    retry=retry_if_exception(is_locked),
    stop=stop_after_attempt(_TRIES_AT_A_LOCK),
    wait=wait_random_exponential(multiplier=0.5, max=5),
    before_sleep=_tell_of_lock,
    reraise=True,
)


def change_schema(database: Database, ddl: Statement) -> None:
    """Runs a DDL statement; that another process was quicker is no error.

    Raises:
        DatabaseUnavailable: somebody's transaction holds the table and does not end.
        DatabaseError: the server refused the statement.
    """
    try:
        settings = NO_TIMEOUT if ddl.name in _LOCKS_NOBODY else database.dialect.brief_lock
        _when_unlocked(database.execute, ddl, settings=settings)
    except DatabaseError as error:
        if is_locked(error):
            raise DatabaseUnavailable(
                f"A long transaction holds a lock, and {ddl.name} was given up after {_TRIES_AT_A_LOCK} tries so that "
                "nobody waits behind it. End that transaction, or run the same command again when it has ended.",
                error.sqlstate,
            ) from error
        if not (isinstance(error.__cause__, psycopg.Error) and is_already_there(error.__cause__)):
            raise
