"""The age of the backlog: how long the oldest pending row has been pending."""

from psycopg import sql

from crdbvec_pipelines.database.aliases import aliased
from crdbvec_pipelines.database.column import BoundColumn, ColumnDefinition
from crdbvec_pipelines.database.expressions import follower_read_clause
from crdbvec_pipelines.database.rows.predicates import any_pending_predicate, without_deferred
from crdbvec_pipelines.database.rows.row_errors import RowErrors
from crdbvec_pipelines.database.statement import follower_read
from crdbvec_pipelines.database.updated_at import UpdatedAt


@follower_read
def oldest_pending(column: ColumnDefinition, *, exclude_deferred: bool) -> sql.Composable:
    """Return the age in seconds of the earliest `updated_at` among the pending rows."""
    updated = UpdatedAt(column)
    return sql.SQL("SELECT extract(epoch FROM now() - {earliest})::float8 FROM {table}{past} WHERE {pending}").format(
        earliest=updated.time(sql.SQL("min({})").format(updated.column)),
        table=aliased(column.table),
        past=follower_read_clause(column.table),
        pending=without_deferred(column, any_pending_predicate(column), exclude_deferred=exclude_deferred),
    )


def oldest_pending_seconds(column: BoundColumn) -> float | None:
    """Return the age of the oldest pending row, without deferred ones: 0 if none is, None without `updated_at`."""
    if column.spec.updated_at is None:
        return None
    errors = RowErrors(column)
    build = oldest_pending(column, exclude_deferred=errors.count().deferred > 0).as_of("follower_read")
    (seconds,) = column.database.fetch_one(build, {**column.seed, **errors.parameters})
    return float(seconds or 0.0)
