"""Rounds over the rows that have become pending.

Dagster's follow job runs rounds until no row is pending, `crdbvec embed --follow` until it is stopped. The result of a
round names the key ranges with embedded rows, so that their Dagster partitions can be reported as materialized.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from crdbvec_pipelines.database.rows.predicates import Pass
from crdbvec_pipelines.database.rows.vector_rows import VectorRows
from crdbvec_pipelines.errors import CrdbvecError
from crdbvec_pipelines.keyspace import KeyRange
from crdbvec_pipelines.refresh.engine import BatchEncoder, refresh
from crdbvec_pipelines.refresh.options import RefreshOptions
from crdbvec_pipelines.refresh.report import RefreshReport, WrittenBatch
from crdbvec_pipelines.refresh.watermark import Watermark

ROUND_LOCK_WAIT_SECONDS = 1.0
"""How long a round waits for locked rows. It is short, because new rows wait for the next round."""


@dataclass(frozen=True)
class RoundResult:
    """The result of one round.

    Attributes:
        report: The counts.
        touched: For each key range with embedded rows, how many there were.
    """

    report: RefreshReport
    touched: Counter[KeyRange] = field(default_factory=Counter)

    @property
    def has_changed_rows(self) -> bool:
        """Whether the round changed rows or recorded failures; otherwise it found at most rows that are locked."""
        return self.report.rows_read > self.report.rows_locked or self.report.rows_cleared > 0


def read_watermark(rows: VectorRows) -> Watermark | None:
    """Return the watermark of a search that starts now; None without `updated_at`."""
    return None if rows.spec.updated_at is None else Watermark(*rows.latest_update())


def passes_since(edited_since: datetime | None) -> Sequence[Pass]:
    """Return the passes that need no table scan: rows without a vector and, if a time is given, rows updated since."""
    unembedded = Pass("unembedded")
    return (unembedded,) if edited_since is None else (unembedded, Pass("edited", edited_since))


def follow_round(
    rows: VectorRows,
    encoder: BatchEncoder,
    ranges: Sequence[KeyRange],
    options: RefreshOptions,
    *,
    on_interrupted: Callable[[RoundResult], None] | None = None,
) -> RoundResult:
    """Embed pending rows wherever they are.

    Args:
        rows: The rows of the vector column.
        encoder: The model.
        ranges: The table's partitions in key order, if `RoundResult.touched` is needed; otherwise empty.
        options: Batch size, workers, passes, callbacks.
        on_interrupted: Called before an error ends the round, with the result of the batches written until then.

    Raises:
        CrdbvecError: As `refresh`.
    """
    touched: Counter[KeyRange] = Counter()
    written = RefreshReport()

    def on_batch(batch: WrittenBatch) -> None:
        nonlocal written
        written += RefreshReport(
            batches=not batch.is_late,
            rows_read=0 if batch.is_late else len(batch.rows),
            rows_embedded=batch.embedded,
            rows_failed=len(batch.failed),
            failed_keys=tuple(batch.failed),
        )
        # A row edited between read and write is counted here although it was not written; the next round embeds it.
        if ranges:
            touched.update(rows.locate([row.key for row in batch.done], ranges))
        options.on_batch(batch)

    try:
        report = refresh(
            rows,
            encoder,
            KeyRange(),
            replace(options, on_batch=on_batch, lock_wait_seconds=ROUND_LOCK_WAIT_SECONDS),
        )
    except CrdbvecError:
        if on_interrupted is not None and written.rows_read:
            on_interrupted(RoundResult(written, touched))
        raise
    return RoundResult(report, touched)
