"""Options of a refresh: batch size, threads, limits and callbacks."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.rows.predicates import Pass
from crdbvec_pipelines.database.statement import AsOf
from crdbvec_pipelines.refresh.cache import VectorCache
from crdbvec_pipelines.refresh.locked_rows import LOCK_WAIT_SECONDS
from crdbvec_pipelines.refresh.memory import MIB, MemoryBudget
from crdbvec_pipelines.refresh.model_check import KnownInput
from crdbvec_pipelines.refresh.report import WrittenBatch
from crdbvec_pipelines.refresh.settling import Settling

_MAX_BATCH_SECONDS = 5
"""With `max_rows_per_second`, the seconds in which a batch can be written."""


def _ignore_batch(_: WrittenBatch) -> None:
    """Do nothing."""


@dataclass(frozen=True)
class RefreshOptions:
    """The options of a refresh.

    Attributes:
        batch_size: Rows that are read, encoded and written together.
        workers: How many batches are encoded at the same time.
        max_batches: Stop after this many batches; None works through all pending rows.
        passes: Which pending rows, in this order; None for all of them.
        claim_first: Claim the range before its rows are read, for a range that is known to have pending rows. Otherwise
            the first page of pending rows is read twice: to find that there are any, and again after the claim.
        lock_wait_seconds: How long rows that another transaction has locked are tried again.
        memory: The memory for inputs; refreshes that are given the same object share it.
        cache: The vectors of recently encoded inputs; refreshes that are given the same object share it.
        known_input: An input that the model has encoded, with which it is checked when rows fail; refreshes of the same
            column that are given the same object share it.
        as_of: The time that the pages of pending rows read. A follower read loads no replica that an application writes
            to; rows that were embedded or edited since are found in vain, and new rows are not found.
        settling: Finds the rows that do not settle. Refreshes that follow one another share it; None for a refresh that
            is not one of several passes.
        on_batch: Called in the calling thread after each written batch.
        stop: When set, the refresh ends after the current batches.
    """

    batch_size: int
    workers: int = 1
    max_batches: int | None = None
    passes: Sequence[Pass] | None = None
    claim_first: bool = False
    lock_wait_seconds: float = LOCK_WAIT_SECONDS
    memory: MemoryBudget = field(default_factory=MemoryBudget)
    cache: VectorCache = field(default_factory=VectorCache)
    known_input: KnownInput = field(default_factory=KnownInput)
    as_of: AsOf = "now"
    settling: Settling | None = None
    on_batch: Callable[[WrittenBatch], None] = _ignore_batch
    stop: threading.Event = field(default_factory=threading.Event)


def options_for(spec: VectorColumn, *, batch_size: int | None = None, workers: int | None = None) -> RefreshOptions:
    """Return the options of a configuration entry, with the values given here in place of its own."""
    rows = batch_size or spec.batch_size
    if spec.max_rows_per_second is not None:
        # A refresh ends after its current batches.
        rows = min(rows, _MAX_BATCH_SECONDS * spec.max_rows_per_second)
    return RefreshOptions(
        batch_size=rows,
        workers=workers or spec.workers,
        lock_wait_seconds=LOCK_WAIT_SECONDS,
        memory=MemoryBudget(spec.memory_budget_mb * MIB),
    )
