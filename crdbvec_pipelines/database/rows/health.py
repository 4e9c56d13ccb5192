"""The age of the backlog: how long the oldest pending row has been pending."""

from psycopg import sql

from crdbvec_pipelines.database.aliases import aliased
from crdbvec_pipelines.database.column import BoundColumn, ColumnDefinition
from crdbvec_pipelines.database.expressions import follower_read_clause
from crdbvec_pipelines.database.rows.predicates import any_pending_predicate
from crdbvec_pipelines.database.statement import follower_read
from crdbvec_pipelines.database.updated_at import UpdatedAt


@follower_read
def oldest_pending(column: ColumnDefinition) -> sql.Composable:
    """Return the age in seconds of the earliest `updated_at` among the pending rows."""
    updated = UpdatedAt(column)
    return sql.SQL("SELECT extract(epoch FROM now() - {earliest})::float8 FROM {table}{past} WHERE {pending}").format(
        earliest=updated.time(sql.SQL("min({})").format(updated.column)),
        table=aliased(column.table),
        past=follower_read_clause(column.table),
        pending=any_pending_predicate(column),
    )


def oldest_pending_seconds(column: BoundColumn) -> float | None:
    """Return the age of the oldest pending row in seconds: 0 if none is pending, None without `updated_at`."""
    if column.spec.updated_at is None:
        return None
    (seconds,) = column.database.fetch_one(oldest_pending(column).as_of("follower_read"), column.seed)
    return float(seconds or 0.0)
