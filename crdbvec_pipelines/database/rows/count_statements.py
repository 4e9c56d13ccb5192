"""Statements that count the rows of one vector column. `VectorRows` sends them."""

from psycopg import sql

from crdbvec_pipelines.database.aliases import aliased, reference
from crdbvec_pipelines.database.column import ColumnDefinition
from crdbvec_pipelines.database.expressions import InputExpressions, follower_read_clause, in_range
from crdbvec_pipelines.database.rows.predicates import (
    any_pending_predicate,
    edited_predicate,
    pending_predicate,
    without_deferred,
)
from crdbvec_pipelines.database.statement import follower_read, statement
from crdbvec_pipelines.database.updated_at import UpdatedAt


@follower_read
def count_rows(column: ColumnDefinition, *, has_lower: bool, has_upper: bool, exclude_deferred: bool) -> sql.Composable:
    """Count the rows of a key range: all, with a vector, pending, blank."""
    return sql.SQL(
        "SELECT count(*), count({output}), count(*) FILTER (WHERE {pending}), count(*) FILTER (WHERE NOT {content}) "
        "FROM {table}{past} WHERE {range}"
    ).format(
        output=reference(column.spec.output),
        pending=without_deferred(column, any_pending_predicate(column), exclude_deferred=exclude_deferred),
        content=InputExpressions(column).has_content,
        table=aliased(column.table),
        past=follower_read_clause(column.table),
        range=in_range(column.table, has_lower=has_lower, has_upper=has_upper),
    )


@statement
def count_behind(column: ColumnDefinition, column_name: str) -> sql.Composable:
    """Count the rows that have a vector in another column of the table, and no current one in this column."""
    return sql.SQL("SELECT count(*) FROM {} WHERE {} IS NOT NULL AND {}").format(
        aliased(column.table), reference(column_name), any_pending_predicate(column)
    )


@statement
def count_unembedded(column: ColumnDefinition, *, exclude_deferred: bool) -> sql.Composable:
    """Count the pending rows without a vector through the partial index, at most `limit` of them."""
    return sql.SQL(
        "SELECT count(*) FROM (SELECT 1 FROM {table} WHERE {pending} LIMIT %(limit)s) AS crdbvec_missing"
    ).format(
        table=aliased(column.table),
        pending=without_deferred(column, pending_predicate(column, "unembedded"), exclude_deferred=exclude_deferred),
    )


@statement
def count_edited(column: ColumnDefinition, *, exclude_deferred: bool) -> sql.Composable:
    """Count the rows updated since a time whose vector is stale, at most `limit`, with their earliest `updated_at`.

    The index on `updated_at` finds them. A time in the future is returned as the present one.
    """
    updated = UpdatedAt(column)
    return sql.SQL(
        "SELECT count(*), CASE WHEN count(*) > 0 THEN least({earliest}, now()) END FROM "
        "(SELECT {updated} AS crdbvec_updated FROM {table} WHERE {pending} LIMIT %(limit)s) AS crdbvec_edited"
    ).format(
        earliest=updated.time(sql.SQL("min(crdbvec_edited.crdbvec_updated)")),
        updated=updated.column,
        table=aliased(column.table),
        pending=without_deferred(column, edited_predicate(column), exclude_deferred=exclude_deferred),
    )


@statement
def latest_update(column: ColumnDefinition) -> sql.Composable:
    """Return the latest `updated_at`, and the time of the server.

    The index on `updated_at` finds it. It is at most the time of the server, and at least the epoch.
    """
    updated = UpdatedAt(column)
    return sql.SQL(
        "SELECT greatest(CASE WHEN {latest} > now() THEN now() ELSE {latest} END, {epoch}), now() FROM {table}"
    ).format(
        latest=updated.time(sql.SQL("max({})").format(updated.column)),
        epoch=sql.SQL("'1970-01-01 00:00:00+00'::timestamptz"),
        table=aliased(column.table),
    )
