"""Statements of `crdbvec_row_errors`, a metadata table (one per schema) of the failed rows. `RowErrors` sends them.

All of them have the parameters `table_name` and `output`, which identify the vector column.
"""

from collections.abc import Sequence

from psycopg import sql

from crdbvec_pipelines.database.column import ColumnDefinition
from crdbvec_pipelines.database.expressions import InputExpressions, placeholder
from crdbvec_pipelines.database.statement import statement
from crdbvec_pipelines.database.table import Table

ERRORS_TABLE = "crdbvec_row_errors"

_OF_COLUMN = sql.SQL("e.table_name = %(table_name)s::text AND e.output = %(output)s::text")


def errors_table(schema: str) -> sql.Identifier:
    """Return the name of the table of failed rows in a schema."""
    return sql.Identifier(schema, ERRORS_TABLE)


def key_json(values: Sequence[sql.Composable]) -> sql.Composable:
    """Return a key as text: a JSON array that the database makes, so that its text is always the same."""
    return sql.SQL("jsonb_build_array({})::text").format(sql.SQL(", ").join(values))


def is_not_deferred(column: ColumnDefinition) -> sql.Composable:
    """Return the predicate of rows that are not deferred: not failed, edited since, or their retry time has come."""
    return sql.SQL("NOT {}").format(_has_failure(column, sql.SQL(" AND e.next_try > now()")))


def has_failed(column: ColumnDefinition) -> sql.Composable:
    """Return the predicate of failed rows: a failure is recorded for their present input, deferred or not."""
    return _has_failure(column, sql.SQL(""))


def _has_failure(column: ColumnDefinition, condition: sql.Composable) -> sql.Composable:
    # The prefix of the inner names ensures that they do not hide the table's own columns, such as one named key.
    return sql.SQL(
        "EXISTS (SELECT 1 FROM (SELECT e.key AS crdbvec_key, e.fingerprint AS crdbvec_fingerprint "
        "FROM {errors} AS e WHERE {of_column}{condition}) AS crdbvec_waiting "
        "WHERE crdbvec_key = {key} AND crdbvec_fingerprint = {fingerprint})"
    ).format(
        errors=errors_table(column.table.name.schema),
        of_column=_OF_COLUMN,
        condition=condition,
        key=key_json([sql.Identifier(part.name) for part in column.table.key]),
        fingerprint=InputExpressions(column).fingerprint,
    )


@statement
def create_errors_table(schema: str) -> sql.Composable:
    """Create the table of failed rows. It contains keys and reasons, never the inputs."""
    return sql.SQL(
        "CREATE TABLE IF NOT EXISTS {} (table_name TEXT NOT NULL, output TEXT NOT NULL, key TEXT NOT NULL, "
        "fingerprint TEXT NOT NULL, class TEXT NOT NULL, attempts INT8 NOT NULL, next_try TIMESTAMPTZ NOT NULL, "
        "message TEXT NOT NULL, first_seen TIMESTAMPTZ NOT NULL, last_seen TIMESTAMPTZ NOT NULL, "
        "PRIMARY KEY (table_name, output, key))"
    ).format(errors_table(schema))


@statement
def record_error(table: Table) -> sql.Composable:
    """Record a failed row. Each further failure of the same input doubles the retry delay, up to `longest`.

    The delay is doubled at most eleven times (a minute becomes more than a day), because an interval that overflows 292
    years is in the past on CockroachDB.
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
    """Count the failed rows by status, and the deferred ones among them."""
    return sql.SQL(
        "SELECT e.class, count(*), count(*) FILTER (WHERE e.next_try > now()) FROM {} AS e WHERE {} GROUP BY e.class"
    ).format(errors_table(schema), _OF_COLUMN)


@statement
def list_errors(schema: str) -> sql.Composable:
    """List the failed rows, the latest failure first."""
    return sql.SQL(
        "SELECT e.key, e.class, e.attempts, e.next_try, e.message, e.first_seen, e.last_seen FROM {} AS e WHERE {} "
        "ORDER BY e.last_seen DESC, e.key LIMIT %(limit)s"
    ).format(errors_table(schema), _OF_COLUMN)


@statement
def retry_errors(table: Table, *, has_key: bool) -> sql.Composable:
    """Set the retry time of failed rows to now: of all rows of a column, or of the one with a key."""
    all_rows = sql.SQL("UPDATE {} AS e SET next_try = now() WHERE {}").format(
        errors_table(table.name.schema), _OF_COLUMN
    )
    return sql.SQL("{} AND e.key = {}").format(all_rows, _key_parameter(table)) if has_key else all_rows


@statement
def delete_resolved_errors(column: ColumnDefinition) -> sql.Composable:
    """Delete the failures of rows that were deleted, edited or embedded after the failure."""
    expressions = InputExpressions(column)
    unresolved = [sql.SQL("{} IS NULL").format(sql.Identifier(column.spec.output))]
    if column.spec.fingerprint_column is not None:
        unresolved.append(
            sql.SQL("{} IS DISTINCT FROM e.fingerprint").format(sql.Identifier(column.spec.fingerprint_column))
        )
    return sql.SQL(
        "DELETE FROM {errors} AS e WHERE {of_column} AND NOT EXISTS (SELECT 1 FROM {table} "
        "WHERE {key} AND {fingerprint} = e.fingerprint AND ({unresolved}))"
    ).format(
        errors=errors_table(column.table.name.schema),
        of_column=_OF_COLUMN,
        table=column.table.identifier,
        key=sql.SQL(" AND ").join(
            sql.SQL("{} = (e.key::jsonb ->> {})::{}").format(
                sql.Identifier(part.name), sql.Literal(position), sql.SQL(part.cast)
            )
            for position, part in enumerate(column.table.key)
        ),
        fingerprint=expressions.fingerprint,
        unresolved=sql.SQL(" OR ").join(unresolved),
    )


def _key_parameter(table: Table) -> sql.Composable:
    return key_json([placeholder(column, f"key_{position}") for position, column in enumerate(table.key)])
