"""The statements of `crdbvec_row_errors`, one table a schema: the rows that could not be embedded. See `row_errors`.

Parameters that all of them take: `table_name` and `output`, which say whose errors are meant.
"""

from collections.abc import Sequence

from psycopg import sql

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.expressions import InputExpressions, placeholder
from crdbvec_pipelines.database.introspect import Table
from crdbvec_pipelines.database.statement import statement

ERRORS_TABLE = "crdbvec_row_errors"

_OF_COLUMN = sql.SQL("e.table_name = %(table_name)s::text AND e.output = %(output)s::text")


def errors_table(schema: str) -> sql.Identifier:
    """The table of a schema's errors."""
    return sql.Identifier(schema, ERRORS_TABLE)


def key_json(values: Sequence[sql.Composable]) -> sql.Composable:
    """A key as text: a JSON array, made by the database, so that it is the same wherever it is made."""
    return sql.SQL("jsonb_build_array({})::text").format(sql.SQL(", ").join(values))


def not_waiting(table: Table, spec: VectorColumn) -> sql.Composable:
    """Whether a row has not failed, or has been edited since, or is due for its next try."""
    # The inner names are ours alone, so that a table's own column called key or message means what it says.
    return sql.SQL(
        "NOT EXISTS (SELECT 1 FROM (SELECT e.key AS crdbvec_key, e.fingerprint AS crdbvec_fingerprint "
        "FROM {errors} AS e WHERE {of_column} AND e.next_try > now()) AS crdbvec_waiting "
        "WHERE crdbvec_key = {key} AND crdbvec_fingerprint = {fingerprint})"
    ).format(
        errors=errors_table(table.name.schema),
        of_column=_OF_COLUMN,
        key=key_json([sql.Identifier(column.name) for column in table.key]),
        fingerprint=InputExpressions(table, spec).fingerprint,
    )


@statement
def create_errors_table(schema: str) -> sql.Composable:
    """The table of rows that could not be embedded. It holds keys and reasons, never the rows' text."""
    return sql.SQL(
        "CREATE TABLE IF NOT EXISTS {} (table_name TEXT NOT NULL, output TEXT NOT NULL, key TEXT NOT NULL, "
        "fingerprint TEXT NOT NULL, class TEXT NOT NULL, attempts INT8 NOT NULL, next_try TIMESTAMPTZ NOT NULL, "
        "message TEXT NOT NULL, first_seen TIMESTAMPTZ NOT NULL, last_seen TIMESTAMPTZ NOT NULL, "
        "PRIMARY KEY (table_name, output, key))"
    ).format(errors_table(schema))


@statement
def record_error(table: Table) -> sql.Composable:
    """Notes that a row failed. Each further failure of the same input doubles the wait, up to `longest`.

    It is doubled no more than eleven times, which makes a day of a minute: an interval that has grown beyond 292 years
    is in the past on CockroachDB.
    """
    return sql.SQL(
        "INSERT INTO {errors} AS e "
        "(table_name, output, key, fingerprint, class, attempts, next_try, message, first_seen, last_seen) "
        "VALUES (%(table_name)s::text, %(output)s::text, {key}, %(fingerprint)s::text, %(class)s::text, 1, "
        "now() + %(wait)s::interval, %(message)s::text, now(), now()) "
        "ON CONFLICT (table_name, output, key) DO UPDATE SET fingerprint = excluded.fingerprint, "
        "class = excluded.class, message = excluded.message, last_seen = excluded.last_seen, "
        "attempts = CASE WHEN e.fingerprint = excluded.fingerprint THEN e.attempts + 1 ELSE 1 END, "
        "next_try = CASE WHEN e.fingerprint = excluded.fingerprint "
        "THEN now() + least(%(wait)s::interval * power(2, least(e.attempts, 11)), %(longest)s::interval) "
        "ELSE excluded.next_try END"
    ).format(
        errors=errors_table(table.name.schema),
        key=_key_parameter(table),
    )


@statement
def count_errors(schema: str) -> sql.Composable:
    """Rows that failed, by class, and how many of them wait for their next try."""
    return sql.SQL(
        "SELECT e.class, count(*), count(*) FILTER (WHERE e.next_try > now()) FROM {} AS e WHERE {} GROUP BY e.class"
    ).format(errors_table(schema), _OF_COLUMN)


@statement
def list_errors(schema: str) -> sql.Composable:
    """Rows that failed, the latest first."""
    return sql.SQL(
        "SELECT e.key, e.class, e.attempts, e.next_try, e.message, e.first_seen, e.last_seen FROM {} AS e WHERE {} "
        "ORDER BY e.last_seen DESC, e.key LIMIT %(limit)s"
    ).format(errors_table(schema), _OF_COLUMN)


@statement
def retry_errors(table: Table, *, one_key: bool) -> sql.Composable:
    """Makes rows that failed due at once: all of a column, or the one with a key."""
    every = sql.SQL("UPDATE {} AS e SET next_try = now() WHERE {}").format(errors_table(table.name.schema), _OF_COLUMN)
    return sql.SQL("{} AND e.key = {}").format(every, _key_parameter(table)) if one_key else every


@statement
def forget_settled_errors(table: Table, spec: VectorColumn) -> sql.Composable:
    """Forgets the errors of rows that are gone, were edited since, or have their vector by now."""
    expressions = InputExpressions(table, spec)
    unsettled = [sql.SQL("{} IS NULL").format(sql.Identifier(spec.output))]
    if spec.fingerprint_column is not None:
        unsettled.append(sql.SQL("{} IS DISTINCT FROM e.fingerprint").format(sql.Identifier(spec.fingerprint_column)))
    return sql.SQL(
        "DELETE FROM {errors} AS e WHERE {of_column} AND NOT EXISTS (SELECT 1 FROM {table} "
        "WHERE {key} AND {fingerprint} = e.fingerprint AND ({unsettled}))"
    ).format(
        errors=errors_table(table.name.schema),
        of_column=_OF_COLUMN,
        table=table.identifier,
        key=sql.SQL(" AND ").join(
            sql.SQL("{} = (e.key::jsonb ->> {})::{}").format(
                sql.Identifier(column.name), sql.Literal(position), sql.SQL(column.cast)
            )
            for position, column in enumerate(table.key)
        ),
        fingerprint=expressions.fingerprint,
        unsettled=sql.SQL(" OR ").join(unsettled),
    )


def _key_parameter(table: Table) -> sql.Composable:
    return key_json([placeholder(column, f"key_{position}") for position, column in enumerate(table.key)])
