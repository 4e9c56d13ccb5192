"""Following a table: rounds over the rows that have become pending, found through indexes and never by a scan.

Used by Dagster's follow job, which makes rounds until nothing is left, and by `crdbvec embed --follow`, which makes
them for as long as it lives. Which key ranges were touched is told, so that Dagster's partitions can be marked.
"""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from crdbvec_pipelines.database.row_statements import Pass
from crdbvec_pipelines.database.rows import VectorRows
from crdbvec_pipelines.errors import CrdbvecError
from crdbvec_pipelines.keyspace import KeyRange
from crdbvec_pipelines.refresh import BatchDone, BatchEncoder, RefreshReport, refresh
from crdbvec_pipelines.reuse import VectorCache


@dataclass(frozen=True)
class Round:
    """What one round did, and how many rows of each touched key range it embedded."""

    report: RefreshReport
    touched: Counter[KeyRange] = field(default_factory=Counter)


def passes_since(edited_since: datetime | None) -> Sequence[Pass]:
    """The passes that need no scan: rows without a vector, and those updated since a moment, if one is given."""
    missing = Pass("missing")
    return (missing,) if edited_since is None else (missing, Pass("edited", edited_since))


def follow_round(
    rows: VectorRows,
    encoder: BatchEncoder,
    ranges: Sequence[KeyRange],
    *,
    batch_size: int,
    workers: int = 1,
    passes: Sequence[Pass] = (Pass("missing"),),
    cache: VectorCache | None = None,
    on_batch: Callable[[BatchDone], None] | None = None,
    on_interrupted: Callable[[Round], None] | None = None,
    stop: threading.Event | None = None,
) -> Round:
    """Embeds pending rows wherever they are.

    Args:
        rows: the vector column's rows.
        encoder: the model.
        ranges: the table's partitions in key order, to say which were touched; empty if nobody asks.
        batch_size: rows read, encoded and written together.
        workers: how many batches are encoded at once.
        passes: which pending rows, in this order.
        cache: the vectors of inputs encoded lately.
        on_batch: called after each written batch.
        on_interrupted: called with what was done before an error ended the round: it is done all the same.
        stop: when set, ends after the batches in hand.

    Raises:
        CrdbvecError: as `refresh`.
    """
    touched: Counter[KeyRange] = Counter()
    so_far = RefreshReport()

    def note(batch: BatchDone) -> None:
        nonlocal so_far
        so_far += RefreshReport(
            batches=1, rows_read=len(batch.rows), rows_embedded=batch.embedded, rows_failed=len(batch.failed)
        )
        # A row that was edited between read and write counts here and was not written; it will be in the next round.
        if ranges:
            touched.update(rows.locate([row.key for row in batch.rows if row.key not in batch.failed], ranges))
        if on_batch is not None:
            on_batch(batch)

    try:
        report = refresh(
            rows,
            encoder,
            KeyRange(),
            batch_size=batch_size,
            workers=workers,
            passes=passes,
            cache=cache,
            on_batch=note,
            stop=stop,
        )
    except CrdbvecError:
        if on_interrupted is not None and so_far.rows_read:
            on_interrupted(Round(so_far, touched))
        raise
    return Round(report, touched)
