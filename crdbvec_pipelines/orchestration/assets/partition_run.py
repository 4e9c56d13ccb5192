"""One run over one or many partitions: each is completed, marked as materialized and evaluated as soon as it is done.

Two partitions are worked on at the same time, so that one is read, written and evaluated while the other is encoded.
The calling thread logs the events.
"""

import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import dataclass, replace
from threading import Event

import dagster as dg

from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.database.rows.claims import is_claimed
from crdbvec_pipelines.database.rows.range_state import RangeState
from crdbvec_pipelines.database.rows.vector_rows import VectorRows
from crdbvec_pipelines.encoding.picture_inputs import PictureInputs
from crdbvec_pipelines.errors import CrdbvecError
from crdbvec_pipelines.keyspace import KeyRange
from crdbvec_pipelines.orchestration.asset_names import AssetNames
from crdbvec_pipelines.orchestration.assets.check_results import log_partition_checks, log_run_checks
from crdbvec_pipelines.orchestration.assets.embedded_rows import EmbeddedRows
from crdbvec_pipelines.orchestration.assets.metadata import materialization
from crdbvec_pipelines.orchestration.instance.dagster_internals import partitions_materialized_by, version_tags
from crdbvec_pipelines.orchestration.progress import ProgressLog
from crdbvec_pipelines.refresh.completion import CLAIM_POLL_SECONDS, Completion, LockedOut, complete_range
from crdbvec_pipelines.refresh.engine import BatchEncoder
from crdbvec_pipelines.refresh.input_sample import TokenReader, sample_column
from crdbvec_pipelines.refresh.options import RefreshOptions
from crdbvec_pipelines.refresh.report import WrittenBatch
from crdbvec_pipelines.search.contact_sheet import ContactSheet, read_contact_sheet
from crdbvec_pipelines.telemetry.metrics import Metrics
from crdbvec_pipelines.telemetry.state import read_gauges

_PARTITIONS_AT_ONCE = 2
_WAKE_UP_SECONDS = 1.0


@dataclass(frozen=True)
class _Completed:
    """What became of a partition, and its contact sheet or why there is none."""

    completion: Completion
    sheet: ContactSheet | None = None
    sheet_error: CrdbvecError | None = None


class PartitionRun:
    """The work of one run on partitions of one vector column.

    Args:
        context: The context of the op.
        names: The names of the column in Dagster.
        column: The prepared column.
        encoder: The model.
        ranges: The key range of each partition, by partition key, in key order.
        options: Batch size, workers and limits.
        reader: The model as it counts tokens, for the checks.
        metrics: The metrics of the run; None if they are not asked for.
        pictures: Reads the pictures for the contact sheet of each partition; None for no contact sheets.
    """

    def __init__(
        self,
        context: dg.AssetExecutionContext,
        names: AssetNames,
        column: BoundColumn,
        encoder: BatchEncoder,
        ranges: Mapping[str, KeyRange],
        options: RefreshOptions,
        reader: TokenReader,
        metrics: Metrics | None = None,
        pictures: PictureInputs | None = None,
    ) -> None:
        self._context = context
        self._names = names
        self._column = column
        self._rows = VectorRows(column)
        self._metrics = metrics
        self._pictures = pictures
        self._encoder = encoder
        self._reader = reader
        self._ranges = ranges
        self._stop = Event()
        self._progress = ProgressLog(context, str(column), len(ranges))
        self._embedded = EmbeddedRows(context)
        self._options = replace(options, stop=self._stop)
        self._versions = version_tags(context.instance, names)
        self._total = RangeState()
        self._completed = 0
        self._rows_locked = 0
        # A retried step must not materialize again what the attempt before has materialized.
        self._logged = set(partitions_materialized_by(context) if context.retry_number else ())

    def run(self) -> None:
        """Complete all partitions.

        Raises:
            LockedOut: Rows of some partitions were locked for too long; the other partitions are materialized.
            CrdbvecError: As `complete_range`. The partitions completed before are materialized.
        """
        waiting = deque(self._ranges)
        claimed: list[str] = []
        active: dict[Future[_Completed], str] = {}
        at_once = 1 if self._options.max_batches is not None else _PARTITIONS_AT_ONCE
        with ThreadPoolExecutor(at_once, thread_name_prefix="crdbvec-partition") as pool:
            try:
                while waiting or active or claimed:
                    while waiting and len(active) < at_once and not self._is_limit_reached():
                        key = waiting.popleft()
                        # With the span of the run.
                        active[pool.submit(copy_context().run, self._complete, key)] = key
                    if not active and (self._is_limit_reached() or not claimed):
                        break
                    if not active:
                        self._progress.log_waiting(len(claimed))
                        time.sleep(CLAIM_POLL_SECONDS)
                        # The claims are polled, not the rows of the partitions.
                        free = [key for key in claimed if not is_claimed(self._column, self._ranges[key])]
                        waiting.extend(free)
                        claimed = [key for key in claimed if key not in free]
                        continue
                    claimed += self._collect(active)
            except BaseException:
                self._stop.set()
                self._collect_rest(active)
                self._embedded.log(without=self._logged)
                raise
        self._progress.finish()
        if self._completed:
            sample = sample_column(self._column, self._reader, list(self._ranges.values()))
            log_run_checks(self._context, self._names, self._column, self._total, sample)
        if self._metrics is not None:
            read_gauges(self._metrics, self._rows)
        if self._rows_locked:
            raise LockedOut(self._rows_locked, self._column.spec.table)

    def _complete(self, key: str) -> _Completed:
        def on_batch(batch: WrittenBatch) -> None:
            self._progress.add(batch)
            self._embedded.add(key, batch.embedded)
            if self._metrics is not None:
                self._metrics.on_batch(self._column.spec)(batch)

        options = replace(self._options, on_batch=on_batch)
        if options.max_batches is not None:
            options = replace(options, max_batches=options.max_batches - self._progress.batches)
        completion = complete_range(self._rows, self._encoder, self._ranges[key], options)
        if self._pictures is None or not completion.is_done or self._stop.is_set() or key in self._logged:
            return _Completed(completion)
        # Made here, next to the encoding of another partition.
        try:
            sheet = read_contact_sheet(self._column, self._ranges[key], self._pictures, self._stop)
        except CrdbvecError as error:
            # The rows are embedded, whatever becomes of the pictures.
            return _Completed(completion, sheet_error=error)
        return _Completed(completion, sheet)

    def _is_limit_reached(self) -> bool:
        limit = self._options.max_batches
        return limit is not None and self._progress.batches >= limit

    def _collect(self, active: dict[Future[_Completed], str]) -> list[str]:
        """Report the partitions that are completed; return those that another process has claimed."""
        done, _ = wait(active, timeout=_WAKE_UP_SECONDS, return_when=FIRST_COMPLETED)
        claimed = []
        for future in done:
            key = active.pop(future)
            completed = future.result()
            if completed.completion.is_claimed:
                claimed.append(key)
            else:
                self._report(key, completed)
        self._progress.log_if_due()
        return claimed

    def _collect_rest(self, active: dict[Future[_Completed], str]) -> None:
        """Report the partitions that are completed although another one failed or the run was canceled."""
        for future, key in active.items():
            if future.exception() is None and future.result().completion.is_done:
                self._report(key, future.result())

    def _report(self, key: str, completed: _Completed) -> None:
        completion = completed.completion
        self._progress.partition_done(completion)
        if self._metrics is not None:
            self._metrics.add_report(self._column.spec, completion.report)
        if not completion.is_done:
            self._rows_locked += completion.rows_locked
            reason = "locked by other transactions" if completion.rows_locked else "num_batches was reached"
            self._context.log.warning(
                f"{completion.state.pending:,} rows of partition {key} are still pending ({reason}), so it is not "
                "marked as materialized."
            )
            return
        self._total += completion.state
        self._completed += 1
        if key in self._logged:
            return
        event = materialization(
            self._names,
            self._column,
            key,
            completion,
            versions=self._versions,
            rows_embedded=self._embedded.of(key),
            sheet=completed.sheet,
        )
        if completed.sheet_error is not None:
            self._context.log.warning(f"Partition {key} has no contact sheet. {completed.sheet_error}")
        self._context.log_event(event)
        self._logged.add(key)
        log_partition_checks(self._context, self._names, self._column.spec, key, completion.state)
