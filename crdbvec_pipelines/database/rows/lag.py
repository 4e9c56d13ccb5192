"""The lag of a vector column: how long its oldest pending row has been pending, now and in the last day.

Each measurement is a row of `crdbvec_lags`, a metadata table (one per schema), because the command line and Dagster
both measure. Deferred rows are not pending.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from psycopg import sql

from crdbvec_pipelines.database.aliases import aliased
from crdbvec_pipelines.database.column import BoundColumn, ColumnDefinition
from crdbvec_pipelines.database.rows.health import oldest_pending_seconds
from crdbvec_pipelines.database.rows.predicates import pending_predicate, without_deferred
from crdbvec_pipelines.database.rows.row_errors import RowErrors
from crdbvec_pipelines.database.statement import statement
from crdbvec_pipelines.database.updated_at import UpdatedAt

LAGS_TABLE = "crdbvec_lags"

_HISTORY = timedelta(days=1)
# Longer than the history that is read, for those who look at the table themselves.
_KEPT = timedelta(days=7)

_OF_COLUMN = sql.SQL("crdbvec_lag.table_name = %(table_name)s::text AND crdbvec_lag.output = %(output)s::text")


def _lags(schema: str) -> sql.Identifier:
    return sql.Identifier(schema, LAGS_TABLE)


@statement
def create_lags_table(schema: str) -> sql.Composable:
    """Create the table of measured lags."""
    return sql.SQL(
        "CREATE TABLE IF NOT EXISTS {} (table_name TEXT NOT NULL, output TEXT NOT NULL, "
        "measured_at TIMESTAMPTZ NOT NULL, seconds FLOAT8 NOT NULL, PRIMARY KEY (table_name, output, measured_at))"
    ).format(_lags(schema))


@statement
def oldest_unembedded(column: ColumnDefinition, *, exclude_deferred: bool) -> sql.Composable:
    """Return the age in seconds of the earliest `updated_at` among the rows of the partial index."""
    updated = UpdatedAt(column)
    return sql.SQL("SELECT extract(epoch FROM now() - {earliest})::float8 FROM {table} WHERE {pending}").format(
        earliest=updated.time(sql.SQL("min({})").format(updated.column)),
        table=aliased(column.table),
        pending=without_deferred(column, pending_predicate(column, "unembedded"), exclude_deferred=exclude_deferred),
    )


@statement
def record_lag(schema: str) -> sql.Composable:
    """Record a measured lag."""
    return sql.SQL(
        "INSERT INTO {} (table_name, output, measured_at, seconds) "
        "VALUES (%(table_name)s::text, %(output)s::text, now(), %(seconds)s::float8) "
        "ON CONFLICT (table_name, output, measured_at) DO NOTHING"
    ).format(_lags(schema))


@statement
def list_lags(schema: str) -> sql.Composable:
    """List the lags that were measured in a period until now, the shortest first."""
    return sql.SQL(
        "SELECT crdbvec_lag.seconds FROM {} AS crdbvec_lag "
        "WHERE {} AND crdbvec_lag.measured_at > now() - %(period)s::interval ORDER BY crdbvec_lag.seconds"
    ).format(_lags(schema), _OF_COLUMN)


@statement
def delete_old_lags(schema: str) -> sql.Composable:
    """Delete the lags that were measured before a period until now."""
    return sql.SQL(
        "DELETE FROM {} AS crdbvec_lag WHERE {} AND crdbvec_lag.measured_at <= now() - %(period)s::interval"
    ).format(_lags(schema), _OF_COLUMN)


@statement
def delete_lags(schema: str) -> sql.Composable:
    """Delete the lags of a vector column."""
    return sql.SQL("DELETE FROM {} AS crdbvec_lag WHERE {}").format(_lags(schema), _OF_COLUMN)


@dataclass(frozen=True)
class Lag:
    """The lag of a vector column.

    Attributes:
        seconds: The present lag; 0 if no row is pending.
        history: The lags of the last day, the shortest first, the present one included.
    """

    seconds: float
    history: Sequence[float] = ()

    def percentile(self, share: float) -> float:
        """Return the lag that this share of the measurements of the last day did not exceed."""
        if not self.history:
            return self.seconds
        return self.history[min(len(self.history) - 1, int(share * len(self.history)))]


def unembedded_lag_seconds(column: BoundColumn) -> float:
    """Return the age of the oldest row without a vector, which the pending index finds; 0 without one."""
    errors = RowErrors(column)
    build = oldest_unembedded(column, exclude_deferred=errors.count().deferred > 0)
    (seconds,) = column.database.fetch_one(build, {**column.seed, **errors.parameters})
    return max(0.0, float(seconds or 0.0))


def record(column: BoundColumn, seconds: float) -> Lag:
    """Record the present lag and return it with the history."""
    schema = column.table.name.schema
    parameters = {"table_name": column.table.name.name, "output": column.spec.output}
    column.database.execute(record_lag(schema), {**parameters, "seconds": seconds})
    rows = column.database.fetch(list_lags(schema), {**parameters, "period": _HISTORY})
    return Lag(seconds, [float(each) for (each,) in rows])


def measure_lag(column: BoundColumn, *, with_edited: bool) -> Lag | None:
    """Measure and record the lag; None for a vector column without a target lag.

    Args:
        column: The vector column.
        with_edited: Whether edited rows count, for which the table is scanned.
    """
    if column.spec.target_lag is None:
        return None
    return record(column, (oldest_pending_seconds(column) if with_edited else None) or unembedded_lag_seconds(column))


def delete_expired_lags(column: BoundColumn) -> None:
    """Delete the measurements of more than a week ago."""
    if column.spec.target_lag is not None:
        parameters = {"table_name": column.table.name.name, "output": column.spec.output, "period": _KEPT}
        column.database.execute(delete_old_lags(column.table.name.schema), parameters)
