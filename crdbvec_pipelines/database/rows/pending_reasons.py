"""The reasons why rows are pending, and a sample of their inputs, for an estimate. Nothing is changed."""

from dataclasses import dataclass

from psycopg import sql

from crdbvec_pipelines.database.aliases import ROW, aliased, reference, unused_name
from crdbvec_pipelines.database.column import BoundColumn, ColumnDefinition, fingerprint_seed
from crdbvec_pipelines.database.errors import DatabaseError, is_unreadable_row
from crdbvec_pipelines.database.expressions import (
    InputExpressions,
    evenly_spread_keys,
    follower_read_clause,
    input_octets,
    key_list,
)
from crdbvec_pipelines.database.rows.predicates import (
    any_pending_predicate,
    pending_predicate,
    unknown_origin,
    without_deferred,
)
from crdbvec_pipelines.database.rows.row_error_statements import is_not_deferred
from crdbvec_pipelines.database.rows.row_errors import ErrorCounts, RowErrors
from crdbvec_pipelines.database.schema import prepare as schema_prepare
from crdbvec_pipelines.database.schema.column_metadata import read_column_metadata
from crdbvec_pipelines.database.statement import follower_read

# The inputs of a sample together: far more than 256 texts usually have.
_SAMPLE_BYTES = 64 * 1_048_576


@dataclass(frozen=True)
class PendingReasons:
    """Numbers of rows of a table by the reason why a refresh embeds or skips them.

    Attributes:
        rows: All rows.
        embedded: Rows with a current vector.
        never_embedded: Pending rows without a vector.
        edited: Pending rows whose input, or the template, changed after they were embedded.
        other_model: Pending rows whose vector is from another model or revision.
        blank: Rows with nothing to embed.
        distinct: Distinct inputs of the pending rows; equal inputs are encoded once.
        unknown_origin: Pending rows with a vector that was there before the column was prepared.
        failed: Failed rows of the table.
        deferred: The failed rows that are excluded until their next retry; none of them is among the pending rows.
    """

    rows: int
    embedded: int
    never_embedded: int
    edited: int
    other_model: int
    blank: int
    distinct: int
    unknown_origin: int = 0
    failed: int = 0
    deferred: int = 0

    @property
    def pending(self) -> int:
        """The number of pending rows."""
        return self.never_embedded + self.edited + self.other_model + self.unknown_origin

    @property
    def duplicates(self) -> int:
        """The number of pending rows whose input is that of another pending row."""
        return self.pending - self.distinct


@follower_read
def count_reasons(
    column: ColumnDefinition, *, is_prepared: bool, earlier: int, exclude_deferred: bool
) -> sql.Composable:
    """Count rows by the reason why they are pending; fingerprints of `earlier` models identify their vectors.

    The last number is that of the deferred rows, which the other numbers exclude with `exclude_deferred`.
    """
    expressions = InputExpressions(column)
    unembedded = pending_predicate(column, "unembedded") if is_prepared else expressions.has_content
    stale = pending_predicate(column, "stale") if is_prepared else sql.SQL("false")
    pending = any_pending_predicate(column) if is_prepared else expressions.has_content
    existing: sql.Composable = sql.SQL("false")
    if column.spec.output in column.table.columns and column.spec.fingerprint_column is not None:
        has_fingerprint = column.spec.fingerprint_column in column.table.columns
        existing = unknown_origin(column, has_fingerprint=has_fingerprint)
    deferred: sql.Composable = sql.SQL("false")
    if is_prepared and exclude_deferred:
        deferred = sql.SQL("{} AND NOT ({})").format(pending, is_not_deferred(column))
        unembedded, stale, pending = (
            without_deferred(column, predicate, exclude_deferred=True) for predicate in (unembedded, stale, pending)
        )
    other: sql.Composable = sql.SQL("false")
    if is_prepared and earlier and column.spec.fingerprint_column is not None:
        hashes = [
            sql.SQL("md5({}::text || {})").format(sql.Placeholder(f"earlier_{number}"), expressions.text)
            for number in range(earlier)
        ]
        other = sql.SQL("{} IN ({})").format(reference(column.spec.fingerprint_column), sql.SQL(", ").join(hashes))
    return sql.SQL(
        "SELECT count(*), count(*) FILTER (WHERE {unembedded}), count(*) FILTER (WHERE {stale}), "
        "count(*) FILTER (WHERE {stale} AND {other}), count(*) FILTER (WHERE NOT {content}), "
        "count(*) FILTER (WHERE {pending} AND {existing}), count(DISTINCT {fingerprint}) FILTER (WHERE {pending}), "
        "count(*) FILTER (WHERE {deferred}) FROM {table}{past}"
    ).format(
        unembedded=unembedded,
        stale=stale,
        other=other,
        existing=existing,
        content=expressions.has_content,
        fingerprint=expressions.fingerprint,
        pending=pending,
        deferred=deferred,
        table=aliased(column.table),
        past=follower_read_clause(column.table),
    )


@follower_read
def sample_pending(column: ColumnDefinition, *, is_prepared: bool, exclude_deferred: bool) -> sql.Composable:
    """Return the inputs of at most `size` pending rows, evenly spread over their keys, of `max_bytes` together."""
    table, expressions = column.table, InputExpressions(column)
    pending = expressions.has_content
    if is_prepared:
        pending = without_deferred(column, any_pending_predicate(column), exclude_deferred=exclude_deferred)
    return sql.SQL(
        "SELECT {value} FROM (SELECT {inputs}, sum({octets}) OVER (ORDER BY {key} ROWS UNBOUNDED PRECEDING) AS {bytes} "
        "FROM {table} WHERE {evenly_spread}) AS {row}{past} WHERE {total} <= %(max_bytes)s::bigint"
    ).format(
        value=expressions.encoded_value,
        inputs=sql.SQL(", ").join(map(reference, column.spec.encoded_columns)),
        octets=input_octets(column),
        key=key_list(table),
        bytes=sql.Identifier(unused_name(table, "crdbvec_bytes")),
        table=aliased(table),
        evenly_spread=evenly_spread_keys(table, pending),
        row=sql.Identifier(ROW),
        past=follower_read_clause(table),
        total=reference(unused_name(table, "crdbvec_bytes")),
    )


def pending_reasons(column: BoundColumn) -> PendingReasons:
    """Count the rows of a table by the reason why they are pending. The server reads the whole table."""
    prepared = schema_prepare.is_prepared(column)
    metadata = read_column_metadata(column.database, column.table) if prepared else []
    current = column.model.model_id
    earlier = [
        model for each in metadata if each.output == column.spec.output for model in each.models if model != current
    ]
    seeds = {f"earlier_{number}": fingerprint_seed(model) for number, model in enumerate(earlier)}
    errors = RowErrors(column)
    failures = errors.count() if prepared else ErrorCounts({}, 0)
    statement = count_reasons(
        column, is_prepared=prepared, earlier=len(earlier), exclude_deferred=failures.deferred > 0
    )
    rows, unembedded, stale, other, blank, existing, distinct, deferred = column.database.fetch_one(
        statement.as_of("follower_read"), {**column.seed, **seeds, **errors.parameters}
    )
    return PendingReasons(
        rows=rows,
        embedded=rows - blank - unembedded - stale - deferred,
        # In a table that is not prepared, all rows with an input are counted as unembedded, otherwise these as stale.
        never_embedded=unembedded if prepared else unembedded - existing,
        edited=stale - other - existing if prepared else 0,
        other_model=other,
        blank=blank,
        distinct=distinct,
        unknown_origin=existing,
        failed=failures.total,
        deferred=deferred,
    )


def sample_inputs(column: BoundColumn, size: int) -> list[object]:
    """Return the inputs of at most `size` pending rows, evenly spread over their keys.

    There are fewer if the inputs are large, or if one of them cannot be read: other rows are then chosen, half as many.
    """
    prepared, errors = schema_prepare.is_prepared(column), RowErrors(column)
    query = sample_pending(column, is_prepared=prepared, exclude_deferred=prepared and errors.count().deferred > 0)
    while size:
        parameters = {**column.seed, **errors.parameters, "size": size, "max_bytes": _SAMPLE_BYTES}
        try:
            return [value for (value,) in column.database.fetch(query.as_of("follower_read"), parameters)]
        except DatabaseError as error:
            if not is_unreadable_row(error):
                raise
        size //= 2
    return []
