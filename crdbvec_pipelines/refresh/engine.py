"""The refresh: read pending rows, encode them and write the vectors, concurrently and in bounded memory.

Used by the Dagster ops, the command line and the benchmarks. Contains no SQL text (see `database.rows`) and does not
import Dagster. A row is pending until its vector is written, so an abrupt end loses at most the current batches.
"""

import functools
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from crdbvec_pipelines.database.errors import DatabaseUnavailable
from crdbvec_pipelines.database.rows.claims import RangeClaim
from crdbvec_pipelines.database.rows.pending_page import PendingRow
from crdbvec_pipelines.database.rows.row_errors import RowFailure
from crdbvec_pipelines.database.rows.usage import UsageRecorder
from crdbvec_pipelines.database.rows.vector_rows import VectorRows
from crdbvec_pipelines.encoding.encoder import EncodedBatch
from crdbvec_pipelines.encoding.errors import EncodingError
from crdbvec_pipelines.keyspace import Bound, KeyRange
from crdbvec_pipelines.refresh.batches import EncodedRows, encode_rows, write_rows
from crdbvec_pipelines.refresh.bisect import PartSize
from crdbvec_pipelines.refresh.channel import Channel
from crdbvec_pipelines.refresh.locked_rows import LockedRows
from crdbvec_pipelines.refresh.memory import MemoryAccount, content_bytes
from crdbvec_pipelines.refresh.options import RefreshOptions
from crdbvec_pipelines.refresh.pages import PendingBatches
from crdbvec_pipelines.refresh.permission import RefreshPermission
from crdbvec_pipelines.refresh.report import RefreshReport, WrittenBatch
from crdbvec_pipelines.refresh.spans import ENCODE, WRITE, RefreshSpan, WorkSpan
from crdbvec_pipelines.refresh.stored_vectors import StoredVectors

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
    memory_bytes: int
    input_bytes: int
    span: WorkSpan


def refresh(rows: VectorRows, encoder: BatchEncoder, key_range: KeyRange, options: RefreshOptions) -> RefreshReport:
    """Embed the pending rows of a key range.

    One thread reads ahead, `options.workers` threads encode, and the calling thread writes. A batch that the model or
    the database rejects is bisected: the failed rows are recorded, and the others are written. Rows that another
    transaction has locked are written after the others, when they are free.

    Args:
        rows: The rows of the vector column.
        encoder: The model; called from several threads if there are several workers.
        key_range: The rows to embed.
        options: Batch size, workers, limits, callbacks.

    Raises:
        TableRejectsVectors: The table rejects the vector of every row; no row failure is recorded.
        EncoderUnavailable: The model is unavailable, or rejects an input that it has encoded before; no row failure of
            the current batches is recorded.
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
        self._to_encode: Channel[_Batch] = Channel(2 * options.workers)
        self._to_write: Channel[tuple[_Batch, EncodedRows]] = Channel(2 * options.workers)
        self._encoded_size, self._written_size = PartSize(), PartSize()
        self._stored = StoredVectors(rows)
        self._failures: list[BaseException] = []
        self._claim = RangeClaim(rows.column, key_range)
        self._memory = MemoryAccount(options.memory, self._must_end)
        self._has_ended = False
        self._span = RefreshSpan(rows.spec)
        self._usage = UsageRecorder(rows.column)
        self._locked = LockedRows(rows, options.lock_wait_seconds)
        permission = RefreshPermission(rows.column, self._must_end)
        self._batches = PendingBatches(rows, key_range, options, self._claim, self._memory, self._locked, permission)

    def _must_end(self) -> bool:
        return self._has_ended or self._options.stop.is_set()

    def run(self) -> RefreshReport:
        with self._span, self._claim, self._memory:
            return self._run()

    def _run(self) -> RefreshReport:
        if self._options.settling is not None:
            self._options.settling.start_pass()
        started = time.perf_counter()
        retries = self._rows.retries
        encoders = [self._thread(self._encode, f"encode-{number}") for number in range(self._options.workers)]
        threads = [self._thread(self._read, "read"), *encoders, self._thread(lambda: self._join(encoders), "encoded")]
        try:
            for thread in threads:
                thread.start()
            written = self._write()
        except BaseException as error:
            self._has_ended = True
            self._to_encode.abandon()
            self._to_write.abandon()
            if not isinstance(error, DatabaseUnavailable):
                self._usage.write()
            raise
        finally:
            # A signal may arrive before all have started.
            for thread in threads:
                if thread.ident is not None:
                    thread.join()
            self._span.count(retries=self._rows.retries - retries)
        self._usage.write()
        if self._failures:
            raise self._failures[0]
        return written + RefreshReport(
            rows_read=self._batches.unreadable,
            rows_failed=self._batches.unreadable,
            rows_cleared=self._batches.cleared,
            retries=self._rows.retries - retries,
            ranges_skipped=len(self._batches.skipped),
            seconds=time.perf_counter() - started,
        )

    def _thread(self, work: Callable[[], None], name: str) -> threading.Thread:
        def guarded() -> None:
            try:
                work()
            except BaseException as error:
                self._failures.append(error)
                self._has_ended = True
                # Batches that are already encoded are still written; the other rows stay pending.
                self._to_encode.abandon()

        return threading.Thread(target=guarded, name=f"crdbvec-{name}", daemon=True)

    def _join(self, encoders: Sequence[threading.Thread]) -> None:
        for thread in encoders:
            thread.join()
        self._to_write.close()

    def _read(self) -> None:
        try:
            for index, (rows, size) in enumerate(self._batches, start=1):
                input_bytes = content_bytes(rows)
                span = self._span.batch(index, len(rows), input_bytes, self._batches.read_since_ns)
                accepted = self._to_encode.put(_Batch(index, rows, size, input_bytes, span))
                if not accepted or self._options.stop.is_set() or index == self._options.max_batches:
                    break
        except BaseException as error:
            self._span.read_failed(self._batches.read_since_ns, error)
            raise
        self._to_encode.close()

    def _encode(self) -> None:
        for batch in self._to_encode:
            if self._options.stop.is_set():
                self._to_encode.abandon()
                return
            encode = functools.partial(self._encoder.encode, batch_index=batch.index)
            with batch.span.child(ENCODE) as span:
                encoded = encode_rows(
                    encode,
                    batch.rows,
                    self._options.cache,
                    stored=self._stored,
                    max_unknown=self._rows.spec.checks.unknown_tokens,
                    size=self._encoded_size,
                    known_input=self._options.known_input,
                )
                span.set(
                    rows_encoded=len(encoded.rows) - encoded.deduplicated,
                    rows_deduplicated=encoded.deduplicated,
                    rows_failed=len(encoded.failures),
                    tokens=encoded.tokens,
                )
            if not self._to_write.put((batch, encoded)):
                return

    def _write(self) -> RefreshReport:
        report = RefreshReport()
        rejected_by_model = 0
        for batch, encoded in self._to_write:
            report += self._write_batch(batch, encoded, has_written=report.rows_embedded > 0)
            self._memory.release(batch.memory_bytes)
            rejected_by_model += len(encoded.failures)
            if report.rows_embedded == 0 and rejected_by_model >= _MAX_INITIAL_FAILED_ROWS:
                raise EncodingError(
                    f"The first {report.rows_failed} rows all failed; the model is probably misconfigured. "
                    "Run `crdbvec errors list` for the reasons. No other row was changed."
                )
            if self._locked and not self._locked.seconds_until_attempt:
                report += self._retry_locked()
            while self._locked.is_full and self._wait_for_locked():
                report += self._retry_locked()
        # With the last batch, the reader has added its locked rows, too.
        while self._locked:
            report += self._retry_locked()
            if not self._locked or not self._wait_for_locked():
                break
        if self._rows.errors.count().total:
            self._rows.errors.delete_resolved()
        return report + RefreshReport(rows_locked=len(self._locked) + self._locked.given_up)

    def _write_batch(self, batch: _Batch, encoded: EncodedRows, *, has_written: bool) -> RefreshReport:
        started = time.perf_counter()
        with batch.span.child(WRITE) as span:
            written = write_rows(
                self._rows, encoded.rows, encoded.vectors, has_written=has_written, size=self._written_size
            )
            span.set(rows_embedded=written.embedded, rows_failed=len(written.failures), rows_locked=len(written.locked))
        write_seconds = time.perf_counter() - started
        locked = [encoded.rows[position] for position in written.locked]
        if locked:
            self._locked.add(locked, [encoded.vectors[position] for position in written.locked])
        rejected = encoded.failures + written.failures
        left = {row.key for row in locked} | {failure.key for failure in rejected}
        done = [row for row in encoded.rows if row.key not in left]
        unsettled = self._unsettled(done)
        embedded, changed = _without_unsettled(written.embedded, len(done) - written.embedded, len(unsettled))
        failures = rejected + unsettled
        self._rows.errors.record(failures)
        batch.span.count(
            rows_read=len(batch.rows),
            rows_embedded=embedded,
            rows_failed=len(failures),
            tokens=encoded.tokens,
            bytes=batch.input_bytes,
        )
        batch.span.end()
        self._usage.add(encoded.tokens)
        self._options.on_batch(
            WrittenBatch(
                batch.index,
                batch.rows,
                embedded,
                failed=frozenset(failure.key for failure in failures),
                locked=frozenset(row.key for row in locked),
                tokens=encoded.tokens,
                input_bytes=batch.input_bytes,
                encode_seconds=encoded.seconds,
                write_seconds=write_seconds,
            )
        )
        return RefreshReport(
            batches=1,
            rows_read=len(batch.rows),
            rows_embedded=embedded,
            rows_changed=changed,
            rows_truncated=encoded.truncated,
            rows_unreadable=encoded.unreadable,
            rows_deduplicated=encoded.deduplicated,
            rows_failed=len(failures),
            tokens_encoded=encoded.tokens,
            pictures=encoded.pictures,
            slowest_batch_seconds=encoded.seconds,
            failed_keys=_keys(failures),
        )

    def _unsettled(self, done: Sequence[PendingRow]) -> list[RowFailure]:
        """Return a failure for each row that is still pending although it was written in several passes."""
        return [] if self._options.settling is None else self._options.settling.check(self._rows, done)

    def _wait_for_locked(self) -> bool:
        """Wait until the next attempt to write locked rows; return False if the refresh ends before."""
        if self._failures or self._options.stop.is_set():
            return False
        return not self._options.stop.wait(self._locked.seconds_until_attempt)

    def _retry_locked(self) -> RefreshReport:
        """Try to write the rows that were locked before."""
        with self._span.child(WRITE) as span:
            retried = self._locked.retry()
            span.set(rows_embedded=retried.embedded, rows_failed=len(retried.failures))
        rejected = {failure.key for failure in retried.failures}
        done = [row for row in retried.rows if row.key not in rejected]
        unsettled = self._unsettled(done)
        embedded, changed = _without_unsettled(retried.embedded, len(done) - retried.embedded, len(unsettled))
        failures = [*retried.failures, *unsettled]
        self._rows.errors.record(failures)
        self._span.count(rows_embedded=embedded, rows_failed=len(failures))
        if retried.rows:
            failed = frozenset(failure.key for failure in failures)
            self._options.on_batch(WrittenBatch(0, retried.rows, embedded, failed=failed, is_late=True))
        return RefreshReport(
            rows_embedded=embedded,
            rows_changed=changed,
            rows_failed=len(failures),
            failed_keys=_keys(failures),
            rows_cleared=retried.cleared,
        )


def _keys(failures: Sequence[RowFailure]) -> tuple[Bound, ...]:
    return tuple(failure.key for failure in failures)


def _without_unsettled(embedded: int, changed: int, unsettled: int) -> tuple[int, int]:
    """Return how many rows were embedded and changed without those that do not settle, which count as failed."""
    from_changed = min(changed, unsettled)
    return embedded - (unsettled - from_changed), changed - from_changed
