"""Statements of `crdbvec_row_errors`, a metadata table (one per schema) of the failed rows. `RowErrors` sends them.

All of them have the parameters `table_name` and `output`, which identify the vector column.
"""

from collections.abc import Sequence

from psycopg import sql

from crdbvec_pipelines.database.aliases import aliased, reference
from crdbvec_pipelines.database.column import ColumnDefinition
from crdbvec_pipelines.database.expressions import InputExpressions, placeholder
from crdbvec_pipelines.database.statement import statement
from crdbvec_pipelines.database.table import Table

ERRORS_TABLE = "crdbvec_row_errors"

_OF_COLUMN = sql.SQL("crdbvec_error.table_name = %(table_name)s::text AND crdbvec_error.output = %(output)s::text")

# The types whose element of a JSON array is, as text, a value of the type again. Other values (arrays, composite types)
# are compared as JSON, which reads the whole table.
_READ_BACK_FROM_JSON = frozenset(
    [
        "bool",
        "bpchar",
        "bytea",
        "cidr",
        "date",
        "float4",
        "float8",
        "inet",
        "int2",
        "int4",
        "int8",
        "macaddr",
        "macaddr8",
        "name",
        "numeric",
        "oid",
        "text",
        "time",
        "timestamp",
        "timestamptz",
        "timetz",
        "uuid",
        "varbit",
        "varchar",
        "bit",
        "citext",
    ]
)


def errors_table(schema: str) -> sql.Identifier:
    """Return the name of the table of failed rows in a schema."""
    return sql.Identifier(schema, ERRORS_TABLE)


def key_json(values: Sequence[sql.Composable]) -> sql.Composable:
    """Return a key as text: a JSON array that the database makes, so that its text is always the same."""
    return sql.SQL("jsonb_build_array({})::text").format(sql.SQL(", ").join(values))


def row_key_json(table: Table) -> sql.Composable:
    """Return the key of a row of the table as text."""
    return key_json([reference(part.name) for part in table.key])


def is_not_deferred(column: ColumnDefinition) -> sql.Composable:
    """Return the predicate of rows that are not deferred: not failed, edited since, or their retry time has come."""
    return sql.SQL("NOT {}").format(_has_failure(column, sql.SQL(" AND crdbvec_error.next_try > now()")))


def has_failed(column: ColumnDefinition) -> sql.Composable:
    """Return the predicate of failed rows: a failure is recorded for their present input, deferred or not."""
    return _has_failure(column, sql.SQL(""))


def _has_failure(column: ColumnDefinition, condition: sql.Composable) -> sql.Composable:
    return sql.SQL(
        "EXISTS (SELECT 1 FROM {errors} AS crdbvec_error WHERE {of_column}{condition} "
        "AND crdbvec_error.key = {key} AND crdbvec_error.fingerprint = {fingerprint})"
    ).format(
        errors=errors_table(column.table.name.schema),
        of_column=_OF_COLUMN,
        condition=condition,
        key=row_key_json(column.table),
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
        "INSERT INTO {errors} AS crdbvec_error "
        "(table_name, output, key, fingerprint, class, attempts, next_try, message, first_seen, last_seen) "
        "VALUES (%(table_name)s::text, %(output)s::text, {key}, %(fingerprint)s::text, %(class)s::text, 1, "
        "now() + %(wait)s::interval, %(message)s::text, now(), now()) "
        "ON CONFLICT (table_name, output, key) DO UPDATE SET fingerprint = excluded.fingerprint, "
        "class = excluded.class, message = excluded.message, last_seen = excluded.last_seen, "
        "attempts = CASE WHEN crdbvec_error.fingerprint = excluded.fingerprint "
        "THEN crdbvec_error.attempts + 1 ELSE 1 END, "
        "next_try = CASE WHEN crdbvec_error.fingerprint = excluded.fingerprint "
        "THEN now() + least(%(wait)s::interval * power(2, least(crdbvec_error.attempts, 11)), %(longest)s::interval) "
        "ELSE excluded.next_try END"
    ).format(
        errors=errors_table(table.name.schema),
        key=_key_parameter(table),
    )


@statement
def count_errors(schema: str) -> sql.Composable:
    """Count the failed rows by status, and the deferred ones among them."""
    return sql.SQL(
        "SELECT crdbvec_error.class, count(*), count(*) FILTER (WHERE crdbvec_error.next_try > now()) "
        "FROM {} AS crdbvec_error WHERE {} GROUP BY crdbvec_error.class"
    ).format(errors_table(schema), _OF_COLUMN)


@statement
def list_errors(schema: str) -> sql.Composable:
    """List the failed rows, the latest failure first."""
    return sql.SQL(
        "SELECT {} FROM {} AS crdbvec_error WHERE {} "
        "ORDER BY crdbvec_error.last_seen DESC, crdbvec_error.key LIMIT %(limit)s"
    ).format(
        sql.SQL(", ").join(
            reference(name, "crdbvec_error")
            for name in ("key", "class", "attempts", "next_try", "message", "first_seen", "last_seen")
        ),
        errors_table(schema),
        _OF_COLUMN,
    )


@statement
def retry_errors(table: Table, *, has_key: bool) -> sql.Composable:
    """Set the retry time of failed rows to now: of all rows of a column, or of the one with a key."""
    all_rows = sql.SQL("UPDATE {} AS crdbvec_error SET next_try = now() WHERE {}").format(
        errors_table(table.name.schema), _OF_COLUMN
    )
    return sql.SQL("{} AND crdbvec_error.key = {}").format(all_rows, _key_parameter(table)) if has_key else all_rows


@statement
def delete_resolved_errors(column: ColumnDefinition) -> sql.Composable:
    """Delete the failures of rows that were deleted, edited or embedded after the failure."""
    expressions = InputExpressions(column)
    unresolved = [sql.SQL("{} IS NULL").format(reference(column.spec.output))]
    if column.spec.fingerprint_column is not None:
        unresolved.append(
            sql.SQL("{} IS DISTINCT FROM crdbvec_error.fingerprint").format(reference(column.spec.fingerprint_column))
        )
    return sql.SQL(
        "DELETE FROM {errors} AS crdbvec_error WHERE {of_column} AND NOT EXISTS (SELECT 1 FROM {table} "
        "WHERE {key} AND {fingerprint} = crdbvec_error.fingerprint AND ({unresolved}))"
    ).format(
        errors=errors_table(column.table.name.schema),
        of_column=_OF_COLUMN,
        table=aliased(column.table),
        key=_is_key_of_error(column.table),
        fingerprint=expressions.fingerprint,
        unresolved=sql.SQL(" OR ").join(unresolved),
    )


def _is_key_of_error(table: Table) -> sql.Composable:
    """Return the predicate of the row that an error belongs to, which uses the primary key where the types allow it."""
    if any(part.type_name not in _READ_BACK_FROM_JSON for part in table.key):
        return sql.SQL("{} = crdbvec_error.key").format(row_key_json(table))
    return sql.SQL(" AND ").join(
        sql.SQL("{} {} (crdbvec_error.key::jsonb ->> {})::{}").format(
            reference(part.name),
            table.dialect.operator("=", part.operator_schema),
            sql.Literal(position),
            sql.SQL(part.cast),
        )
        for position, part in enumerate(table.key)
    )


def _key_parameter(table: Table) -> sql.Composable:
    return key_json([placeholder(column, f"key_{position}") for position, column in enumerate(table.key)])
