"""The refresh: read pending rows, encode them and write the vectors, concurrently and in bounded memory.

Used by the Dagster ops, the command line and the benchmarks. Contains no SQL text (see `database.rows`) and does not
import Dagster. A row is pending until its vector is written, so an abrupt end loses at most the current batches.
"""

import functools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from crdbvec_pipelines.database.rows.claims import RangeClaim
from crdbvec_pipelines.database.rows.predicates import Pass
from crdbvec_pipelines.database.rows.vector_rows import PendingRow, VectorRows
from crdbvec_pipelines.encoding.encoder import EncodedBatch
from crdbvec_pipelines.encoding.errors import EncodingError
from crdbvec_pipelines.keyspace import Bound, KeyRange
from crdbvec_pipelines.refresh.batches import EncodedRows, encode_rows, write_rows
from crdbvec_pipelines.refresh.channel import Channel
from crdbvec_pipelines.refresh.options import RefreshOptions
from crdbvec_pipelines.refresh.report import RefreshReport, WrittenBatch

# If this many rows fail and none succeeds, the model is more probably misconfigured than all of the rows invalid. They
# are recorded nevertheless, so that the next run does not start with the same rows.
_MAX_INITIAL_FAILED_ROWS = 64


class BatchEncoder(Protocol):
    """The part of an `encoding.encoder.Encoder` that a refresh uses."""

    def encode(self, batch: Sequence[tuple[object, object]], batch_index: int = 0) -> EncodedBatch:
        """Return the vectors of (key, input) pairs, in their order."""
        ...


@dataclass(frozen=True)
class _Batch:
    index: int
    rows: list[PendingRow]


def refresh(rows: VectorRows, encoder: BatchEncoder, key_range: KeyRange, options: RefreshOptions) -> RefreshReport:
    """Embed the pending rows of a key range.

    One thread reads ahead, `options.workers` threads encode, and the calling thread writes. A batch that the model or
    the database rejects is bisected: the failed rows are recorded, and the others are written.

    Args:
        rows: The rows of the vector column.
        encoder: The model; called from several threads if there are several workers.
        key_range: The rows to embed.
        options: Batch size, workers, limits, callbacks.

    Raises:
        EncoderUnavailable: The model is unavailable; no row failure is recorded.
        DatabaseUnavailable: The database is unavailable; no row failure is recorded.
        CrdbvecError: Reading, encoding or writing failed for another reason, or all of the first rows failed. What had
            been encoded before is written.
    """
    return _Refresh(rows, encoder, key_range, options).run()


class _Refresh:
    def __init__(self, rows: VectorRows, encoder: BatchEncoder, key_range: KeyRange, options: RefreshOptions) -> None:
        self._rows = rows
        self._encoder = encoder
        self._range = key_range
        self._options = options
        self._passes = rows.all_passes if options.passes is None else options.passes
        self._to_encode: Channel[_Batch] = Channel(2 * options.workers)
        self._to_write: Channel[tuple[_Batch, EncodedRows]] = Channel(2 * options.workers)
        self._failures: list[BaseException] = []
        self._cleared = 0
        self._claim = RangeClaim(rows.column, key_range)
        self._skipped: set[KeyRange] = set()

    def run(self) -> RefreshReport:
        with self._claim:
            return self._run()

    def _run(self) -> RefreshReport:
        started = time.perf_counter()
        retries = self._rows.retries
        encoders = [self._thread(self._encode, f"encode-{number}") for number in range(self._options.workers)]
        threads = [self._thread(self._read, "read"), *encoders, self._thread(lambda: self._join(encoders), "encoded")]
        for thread in threads:
            thread.start()
        try:
            written = self._write()
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
            ranges_skipped=len(self._skipped),
            seconds=time.perf_counter() - started,
        )

    def _thread(self, work: Callable[[], None], name: str) -> threading.Thread:
        def guarded() -> None:
            try:
                work()
            except BaseException as error:
                self._failures.append(error)
                # Batches that are already encoded are still written; the other rows stay pending.
                self._to_encode.abandon()

        return threading.Thread(target=guarded, name=f"crdbvec-{name}", daemon=True)

    def _join(self, encoders: Sequence[threading.Thread]) -> None:
        for thread in encoders:
            thread.join()
        self._to_write.close()

    def _read(self) -> None:
        for index, rows in enumerate(self._pages(), start=1):
            accepted = self._to_encode.put(_Batch(index, rows))
            if not accepted or self._options.stop.is_set() or index == self._options.max_batches:
                break
        self._to_encode.close()

    def _pages(self) -> Iterator[list[PendingRow]]:
        exclude_deferred = self._rows.has_deferred_rows()
        if self._options.claim_first:
            self._claim.acquire()
        for pass_ in self._passes:
            self._cleared += self._rows.clear(self._range, pass_)
            after: Bound | None = None
            while rows := self._page(pass_, after, exclude_deferred):
                yield rows
                if len(rows) < self._options.batch_size:
                    break
                after = rows[-1].key

    def _page(self, pass_: Pass, after: Bound | None, exclude_deferred: bool) -> list[PendingRow]:
        """Read a page of pending rows, without those that another process is embedding.

        The first page with rows claims the range, so that a refresh without pending rows writes nothing.
        """
        others = self._claim.claimed_by_others() if self._claim.is_held else ()
        self._skipped.update(others)
        size = self._options.batch_size
        rows = self._rows.read(self._range, pass_, after, size, exclude_deferred=exclude_deferred, excluded=others)
        if rows and not self._claim.is_held:
            self._claim.acquire()
            return self._page(pass_, after, exclude_deferred)
        return rows

    def _encode(self) -> None:
        for batch in self._to_encode:
            if self._options.stop.is_set():
                self._to_encode.abandon()
                return
            encode = functools.partial(self._encoder.encode, batch_index=batch.index)
            if not self._to_write.put((batch, encode_rows(encode, batch.rows, self._options.cache))):
                return

    def _write(self) -> RefreshReport:
        report = RefreshReport()
        for batch, encoded in self._to_write:
            embedded, rejected = write_rows(self._rows, encoded.rows, encoded.vectors)
            failures = encoded.failures + rejected
            self._rows.errors.record(failures)
            report += RefreshReport(
                batches=1,
                rows_read=len(batch.rows),
                rows_embedded=embedded,
                rows_changed=len(encoded.rows) - embedded - len(rejected),
                rows_truncated=encoded.truncated,
                rows_deduplicated=encoded.deduplicated,
                rows_failed=len(failures),
            )
            failed = frozenset(failure.key for failure in failures)
            self._options.on_batch(WrittenBatch(batch.index, batch.rows, embedded, failed))
            if report.rows_embedded == 0 and report.rows_failed >= _MAX_INITIAL_FAILED_ROWS:
                raise EncodingError(
                    f"The first {report.rows_failed} rows all failed; the model is probably misconfigured. "
                    "Run `crdbvec errors list` for the reasons. No other row was changed."
                )
        if self._rows.errors.count().total:
            self._rows.errors.delete_resolved()
        return report
