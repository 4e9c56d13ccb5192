"""The work itself: read pending rows -> encode -> guarded write, at once and in bounded memory.

Used by the Dagster ops, the command line and the benchmarks alike. No SQL text (`database.rows` has it), no Dagster.
A row is pending until its vector is written, so stopping at any moment loses at most the work in hand.
"""

import functools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Protocol

from crdbvec_pipelines.channel import Channel
from crdbvec_pipelines.database.row_statements import Pass
from crdbvec_pipelines.database.rows import PendingRow, VectorRows
from crdbvec_pipelines.encoding.encoder import EncodedBatch
from crdbvec_pipelines.encoding.errors import EncodingError
from crdbvec_pipelines.isolation import Encoded, encode_apart, write_apart
from crdbvec_pipelines.keyspace import Bound, KeyRange
from crdbvec_pipelines.reuse import VectorCache


class BatchEncoder(Protocol):
    """What the loop needs of an `encoding.Encoder`."""

    def encode(self, batch: Sequence[tuple[object, object]], batch_index: int = 0) -> EncodedBatch:
        """The vectors of (key, input) pairs, in their order."""
        ...


@dataclass(frozen=True)
class RefreshReport:
    """What one refresh did. Adding two reports of work done side by side sums the counts and keeps the longer time."""

    batches: int = 0
    rows_read: int = 0
    rows_embedded: int = 0
    rows_changed: int = 0
    """Read, but edited or deleted before the write: left pending with their new text."""
    rows_truncated: int = 0
    """Embedded, though longer than the model's window: their end is not in the vector."""
    rows_reused: int = 0
    """Given the vector of an equal input instead of being encoded."""
    rows_failed: int = 0
    """Refused by the model or the database, each alone: recorded, and left alone until their next try."""
    rows_cleared: int = 0
    """Vectors taken from rows whose input is gone."""
    retries: int = 0
    seconds: float = 0.0

    def __add__(self, other: "RefreshReport") -> "RefreshReport":
        sums = {field.name: getattr(self, field.name) + getattr(other, field.name) for field in fields(self)}
        return RefreshReport(**{**sums, "seconds": max(self.seconds, other.seconds)})

    @property
    def rows_per_second(self) -> float:
        """Rows embedded a second."""
        return self.rows_embedded / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True)
class BatchDone:
    """One batch that has been written, for progress displays."""

    index: int
    rows: Sequence[PendingRow]
    embedded: int
    failed: frozenset[Bound] = frozenset()
    """The keys of the rows that were refused."""


@dataclass(frozen=True)
class _Batch:
    index: int
    rows: list[PendingRow]


def refresh(
    rows: VectorRows,
    encoder: BatchEncoder,
    key_range: KeyRange,
    *,
    batch_size: int,
    workers: int = 1,
    max_batches: int | None = None,
    passes: Sequence[Pass] | None = None,
    cache: VectorCache | None = None,
    on_batch: Callable[[BatchDone], None] | None = None,
    stop: threading.Event | None = None,
) -> RefreshReport:
    """Embeds the pending rows of a key range.

    One thread reads ahead, `workers` threads encode, and the calling thread writes. A batch that the model or the
    database refuses is halved until the bad rows are alone: they are recorded, the others written.

    Args:
        rows: the vector column's rows.
        encoder: makes vectors of inputs; called from several threads if `workers` is more than one.
        key_range: where to work.
        batch_size: rows read, encoded and written together.
        workers: how many batches are encoded at once.
        max_batches: end after this many batches; None works through all that is pending.
        passes: which pending rows, in this order; None for all of them.
        cache: the vectors of inputs encoded lately; a cache of this call's own if None.
        on_batch: called in the calling thread after each written batch.
        stop: when set, ends after the batches in hand.

    Raises:
        EncoderUnavailable, DatabaseUnavailable: model or database do not answer; no row is blamed.
        CrdbvecError: reading, encoding or writing failed otherwise, or every row so far was refused. Everything encoded
            before has been written.
    """
    work = _Refresh(
        rows,
        encoder,
        key_range,
        batch_size,
        workers,
        max_batches,
        rows.everything_pending if passes is None else passes,
        cache or VectorCache(),
        stop or threading.Event(),
    )
    return work.run(on_batch or (lambda _: None))


# So many refusals and no success: the model is broken, not the rows. They are recorded all the same, so that the next
# run does not meet just them again.
_ALL_REFUSED = 64


class _Refresh:
    def __init__(
        self,
        rows: VectorRows,
        encoder: BatchEncoder,
        key_range: KeyRange,
        batch_size: int,
        workers: int,
        max_batches: int | None,
        passes: Sequence[Pass],
        cache: VectorCache,
        stop: threading.Event,
    ) -> None:
        self._rows = rows
        self._encoder = encoder
        self._range = key_range
        self._batch_size = batch_size
        self._workers = workers
        self._max_batches = max_batches
        self._passes = passes
        self._cache = cache
        self._stop = stop
        self._to_encode: Channel[_Batch] = Channel(2 * workers)
        self._to_write: Channel[tuple[_Batch, Encoded]] = Channel(2 * workers)
        self._failures: list[BaseException] = []
        self._cleared = 0

    def run(self, on_batch: Callable[[BatchDone], None]) -> RefreshReport:
        started = time.perf_counter()
        retries = self._rows.retries
        encoders = [self._thread(self._encode, f"encode-{number}") for number in range(self._workers)]
        threads = [self._thread(self._read, "read"), *encoders, self._thread(lambda: self._join(encoders), "encoded")]
        for thread in threads:
            thread.start()
        try:
            written = self._write(on_batch)
        except BaseException:
            self._to_encode.abandon()
            self._to_write.abandon()
            raise
        finally:
            for thread in threads:
                thread.join()
        if self._failures:
            raise self._failures[0]
        return written + RefreshReport(
            rows_cleared=self._cleared,
            retries=self._rows.retries - retries,
            seconds=time.perf_counter() - started,
        )

    def _thread(self, work: Callable[[], None], name: str) -> threading.Thread:
        def guarded() -> None:
            try:
                work()
            except BaseException as error:
                self._failures.append(error)
                # What is encoded already is still written; what is not stays pending.
                self._to_encode.abandon()

        return threading.Thread(target=guarded, name=f"crdbvec-{name}", daemon=True)

    def _join(self, encoders: Sequence[threading.Thread]) -> None:
        for thread in encoders:
            thread.join()
        self._to_write.close()

    def _read(self) -> None:
        for index, rows in enumerate(self._pages(), start=1):
            if not self._to_encode.put(_Batch(index, rows)) or self._stop.is_set() or index == self._max_batches:
                break
        self._to_encode.close()

    def _pages(self) -> Iterator[list[PendingRow]]:
        waiting = self._rows.some_wait()
        for what in self._passes:
            self._cleared += self._rows.clear(self._range, what)
            after: Bound | None = None
            while rows := self._rows.read(self._range, what, after, self._batch_size, waiting=waiting):
                yield rows
                if len(rows) < self._batch_size:
                    break
                after = rows[-1].key

    def _encode(self) -> None:
        for batch in self._to_encode:
            if self._stop.is_set():
                self._to_encode.abandon()
                return
            encode = functools.partial(self._encoder.encode, batch_index=batch.index)
            if not self._to_write.put((batch, encode_apart(encode, batch.rows, self._cache))):
                return

    def _write(self, on_batch: Callable[[BatchDone], None]) -> RefreshReport:
        report = RefreshReport()
        for batch, encoded in self._to_write:
            embedded, refused = write_apart(self._rows, encoded.rows, encoded.vectors)
            failures = encoded.failures + refused
            self._rows.errors.record(failures)
            report += RefreshReport(
                batches=1,
                rows_read=len(batch.rows),
                rows_embedded=embedded,
                rows_changed=len(encoded.rows) - embedded - len(refused),
                rows_truncated=encoded.truncated,
                rows_reused=encoded.reused,
                rows_failed=len(failures),
            )
            failed = frozenset(failure.key for failure in failures)
            on_batch(BatchDone(batch.index, batch.rows, embedded, failed))
            if report.rows_embedded == 0 and report.rows_failed >= _ALL_REFUSED:
                raise EncodingError(
                    f"All of the first {report.rows_failed} rows were refused, so the fault is hardly theirs. "
                    "See crdbvec errors list for the reasons; nothing else was touched."
                )
        if self._rows.errors.count().total:
            self._rows.errors.forget_settled(self._rows.model_id)
        return report
