"""Predicates that find pending rows, and the passes in which a refresh reads them.

Parameters, where a predicate needs them: `seed` (see `expressions`), `since` (only `edited`), and `table_name` and
`output` (only `without_deferred`).
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from psycopg import sql

from crdbvec_pipelines.database.aliases import ROW, reference
from crdbvec_pipelines.database.column import ColumnDefinition
from crdbvec_pipelines.database.expressions import InputExpressions
from crdbvec_pipelines.database.rows.row_error_statements import is_not_deferred
from crdbvec_pipelines.database.updated_at import UpdatedAt

PendingKind = Literal["unembedded", "stale", "edited"]
"""unembedded: rows without a vector. stale: rows whose fingerprint differs from that of their input. edited: the stale
rows that were updated since a given time. Only `stale` reads every row of a key range; the others use an index."""


@dataclass(frozen=True)
class Pass:
    """One pass over a key range.

    Attributes:
        kind: The pending rows that the pass reads.
        since: Only for `edited`: the pass reads rows updated at or after this time.
    """

    kind: PendingKind
    since: datetime | None = None


def unembedded_predicate(column: ColumnDefinition, alias: str | None = ROW) -> sql.Composable:
    """Return the predicate of the partial index. Queries repeat it literally, otherwise they do not use the index."""
    return sql.SQL("{} IS NULL AND {}").format(
        reference(column.spec.output, alias), InputExpressions(column, alias).is_present
    )


def pending_predicate(column: ColumnDefinition, kind: PendingKind) -> sql.Composable:
    """Return the predicate of the pending rows of one kind."""
    expressions = InputExpressions(column)
    if kind == "unembedded":
        return sql.SQL("{} AND {}").format(unembedded_predicate(column), expressions.has_content)
    if column.spec.fingerprint_column is None:
        return sql.SQL("false")
    stale = sql.SQL("{} IS NOT NULL AND {} AND {} IS DISTINCT FROM {}").format(
        reference(column.spec.output),
        expressions.has_content,
        reference(column.spec.fingerprint_column),
        expressions.fingerprint,
    )
    if kind == "edited" and column.spec.updated_at is not None:
        return sql.SQL("{} AND {}").format(UpdatedAt(column).is_since, stale)
    return stale


def any_pending_predicate(column: ColumnDefinition) -> sql.Composable:
    """Return the predicate of all pending rows."""
    return sql.SQL("({} OR {})").format(pending_predicate(column, "unembedded"), pending_predicate(column, "stale"))


def unknown_origin(column: ColumnDefinition, *, has_fingerprint: bool) -> sql.Composable:
    """Return the predicate of rows whose vector is of unknown origin."""
    tests = [sql.SQL("{} IS NOT NULL").format(reference(column.spec.output))]
    if has_fingerprint and column.spec.fingerprint_column is not None:
        tests.append(sql.SQL("{} IS NULL").format(reference(column.spec.fingerprint_column)))
    return sql.SQL(" AND ").join(tests)


def edited_predicate(column: ColumnDefinition) -> sql.Composable:
    """Return the predicate of rows updated since a time whose vector is stale or whose input has become blank."""
    expressions = InputExpressions(column)
    return sql.SQL(
        "{is_since} AND {output} IS NOT NULL AND (NOT {content} OR {stored} IS DISTINCT FROM {fingerprint})"
    ).format(
        is_since=UpdatedAt(column).is_since,
        output=reference(column.spec.output),
        content=expressions.has_content,
        stored=reference(column.spec.fingerprint_column or column.spec.output),
        fingerprint=expressions.fingerprint,
    )


def without_deferred(column: ColumnDefinition, pending: sql.Composable, *, exclude_deferred: bool) -> sql.Composable:
    """Return a predicate of pending rows without the deferred ones, or unchanged if they are not to be excluded."""
    return sql.SQL("{} AND {}").format(pending, is_not_deferred(column)) if exclude_deferred else pending
