"""Following vector columns in one process: the model stays loaded, and new rows are embedded within one to two seconds.

While no row is pending, the index over pending rows is queried at growing intervals. While the database or a model is
unavailable, the follower retries with backoff. A table that is replaced, by a rename or by DROP and CREATE, is prepared
again; until it exists and can have the vector column, the follower waits for it. Failed rows are recorded and deferred.
A stop takes effect after the current batches.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.errors import (
    ColumnExchanged,
    DatabaseError,
    DatabaseUnavailable,
    TableError,
    is_changed_schema,
)
from crdbvec_pipelines.database.rows.vector_rows import VectorRows
from crdbvec_pipelines.database.suspension import ColumnSuspended
from crdbvec_pipelines.encoding.encoder import Encoder
from crdbvec_pipelines.encoding.errors import EncoderUnavailable
from crdbvec_pipelines.errors import CrdbvecError
from crdbvec_pipelines.keyspace import KeyRange
from crdbvec_pipelines.refresh.cache import VectorCache
from crdbvec_pipelines.refresh.model_check import KnownInput
from crdbvec_pipelines.refresh.options import options_for
from crdbvec_pipelines.refresh.permission import quiet_until
from crdbvec_pipelines.refresh.report import RefreshReport, WrittenBatch
from crdbvec_pipelines.refresh.rounds import RoundResult, follow_round, passes_since, read_watermark
from crdbvec_pipelines.refresh.settling import Settling
from crdbvec_pipelines.refresh.watermark import Watermark

logger = logging.getLogger(__name__)

Prepare = Callable[[], tuple[VectorRows, Sequence[KeyRange]]]
"""Prepares a table, and returns its rows and its partitions."""

# The wait between two rounds without work: short enough that new rows are embedded within two seconds, and long enough
# that an idle follower adds little load.
_MIN_IDLE_SECONDS, _MAX_IDLE_SECONDS = 0.1, 1.5
# The backoff while the database or the model is unavailable: a restart takes seconds, an outage minutes.
_MIN_BACKOFF_SECONDS, _MAX_BACKOFF_SECONDS = 1.0, 60.0
# The longest wait for a table that was replaced, which costs one query of the catalog each time.
_MAX_REPLACED_SECONDS = 5.0
# The wait in `quiet_hours`, and while the column is suspended.
_PAUSE_SECONDS = 5.0
# How often the entries are compared with the model migrations, which costs one or two short queries for each.
_RELOAD_SECONDS = 5.0
# Without `updated_at`, edited rows are found by a table scan. The wait until the next one is twenty times the duration
# of the last one, so that scans take at most a twentieth of the time, and at least a minute.
_SCAN_INTERVAL_FACTOR = 20
_MIN_SCAN_INTERVAL_SECONDS = 60.0


@dataclass
class FollowedColumn:
    """One vector column that is followed.

    Times are those of `time.monotonic`.

    Attributes:
        rows: Its rows.
        encoder: Its model.
        ranges: Its partitions in key order, if `RoundResult.touched` is needed.
        prepare: What prepares the table again after it was replaced; without it, the process then ends with an error.
        known_input: An input that the model has encoded, with which it is checked when rows fail.
        settling: Finds the rows that do not settle.
        on_batch: Called after each written batch of this column.
        next_scan_at: When edited rows are searched for by a table scan again.
        watermark: The latest `updated_at` that was seen; None before the first round and without `updated_at`.
        last_error: The error that ended the last round; None if it succeeded.
        is_replaced: Whether the table was replaced and is not prepared yet.
        backoff_seconds: The wait after the next error, before jitter.
        next_round_at: When the next round may start.
        last_round_at: When the last round without an error ended, as `time.time`; 0 before the first one.
    """

    rows: VectorRows
    encoder: Encoder
    ranges: Sequence[KeyRange] = ()
    prepare: Prepare | None = None
    known_input: KnownInput = field(default_factory=KnownInput)
    settling: Settling = field(default_factory=Settling)
    on_batch: Callable[[WrittenBatch], None] = lambda _batch: None
    next_scan_at: float = 0.0
    watermark: Watermark | None = None
    last_error: CrdbvecError | None = None
    is_replaced: bool = False
    backoff_seconds: float = _MIN_BACKOFF_SECONDS
    next_round_at: float = 0.0
    last_round_at: float = 0.0

    @property
    def spec(self) -> VectorColumn:
        """The configuration of the column."""
        return self.rows.spec


class Follower:
    """A loop that embeds the pending rows of vector columns until it is stopped or has been idle for a given time.

    Args:
        columns: The columns to follow.
        stop: When set, the loop ends after the current batches.
        max_idle: Seconds without work after which the loop ends; None for no limit.
        on_batch: Called after each written batch.
        on_round: Called with the column and the result after each round that changed rows.
        reload: Returns the columns to follow now, given those that are followed: a model migration adds a second column
            to an entry, exchanges the two, and drops one. Called every few seconds, and after an error that it may
            explain.

    Attributes:
        columns: The columns that are followed now.
    """

    def __init__(
        self,
        columns: Sequence[FollowedColumn],
        *,
        stop: threading.Event,
        max_idle: float | None = None,
        on_batch: Callable[[WrittenBatch], None] = lambda _batch: None,
        on_round: Callable[[FollowedColumn, RoundResult], None] | None = None,
        reload: Callable[[Sequence[FollowedColumn]], Sequence[FollowedColumn]] = lambda columns: columns,
    ) -> None:
        self.columns = columns
        self._reload = reload
        self._next_reload_at = time.monotonic() + _RELOAD_SECONDS
        self._stop = stop
        self._max_idle = max_idle
        self._cache = VectorCache()
        self._interrupted_rounds = RefreshReport()
        self._on_batch = on_batch
        self._on_round = on_round or (lambda _column, _result: None)

    def run(self) -> RefreshReport:
        """Follow the columns until stopped or idle, and return the total.

        Raises:
            CrdbvecError: An error other than an outage or a replaced table, or one of these that lasted until
                `max_idle` expired.
        """
        total = RefreshReport()
        started = idle_since = time.monotonic()
        idle_seconds = _MIN_IDLE_SECONDS
        while not self._stop.is_set():
            self._reload_if_due()
            results = [self._try_round(column) for column in self.columns]
            report = sum((result.report for result in results), RefreshReport())
            # A row that is locked is found again by each round.
            total = replace(total + report, rows_locked=report.rows_locked)
            if any(result.has_changed_rows for result in results):
                idle_seconds, idle_since = _MIN_IDLE_SECONDS, time.monotonic()
            elif self._max_idle is not None and time.monotonic() - idle_since >= self._max_idle:
                for column in self.columns:
                    if column.last_error is not None:
                        raise column.last_error
                break
            else:
                self._stop.wait(idle_seconds * random.uniform(0.5, 1.0))  # noqa: S311
                idle_seconds = min(1.5 * idle_seconds, _MAX_IDLE_SECONDS)
        return total + self._interrupted_rounds + RefreshReport(seconds=time.monotonic() - started)

    def _reload_if_due(self) -> None:
        if time.monotonic() < self._next_reload_at:
            return
        self._next_reload_at = time.monotonic() + _RELOAD_SECONDS
        try:
            columns = self._reload(self.columns)
        except (DatabaseUnavailable, EncoderUnavailable) as error:
            # The rounds of the columns report an outage, and wait for its end.
            logger.info("%s", error)
            return
        if columns is not self.columns:
            logger.warning("Following %s now.", ", ".join(str(column.spec) for column in columns))
            self.columns = columns

    def _record_interrupted(self, column: FollowedColumn, result: RoundResult) -> None:
        self._interrupted_rounds += result.report
        self._on_round(column, result)

    def _try_round(self, column: FollowedColumn) -> RoundResult:
        """Run one round of a column. During an outage, set the time of the next one; other columns are not delayed."""
        if self._stop.is_set() or time.monotonic() < column.next_round_at:
            return RoundResult(RefreshReport())
        paused = quiet_until(column.spec)
        if paused is not None:
            column.next_round_at = time.monotonic() + _PAUSE_SECONDS
            return RoundResult(RefreshReport())
        try:
            result = self._run_round_of_replaced(column)
        except ColumnSuspended as error:
            if not isinstance(column.last_error, ColumnSuspended):
                logger.warning("%s The process waits.", error)
            column.last_error, column.next_round_at = error, time.monotonic() + _PAUSE_SECONDS
            return RoundResult(RefreshReport())
        except ColumnExchanged as error:
            logger.info("%s", error)
            self._next_reload_at = 0.0
            self._retry_later(column, error, _MIN_IDLE_SECONDS, _MAX_REPLACED_SECONDS)
            return RoundResult(RefreshReport())
        except (DatabaseUnavailable, EncoderUnavailable) as error:
            jittered = column.backoff_seconds * random.uniform(0.5, 1.0)  # noqa: S311
            wait = getattr(error, "retry_after", None) or jittered
            logger.warning("%s Retrying in %.0f s.", error, wait)
            self._retry_later(column, error, wait, _MAX_BACKOFF_SECONDS)
            return RoundResult(RefreshReport())
        if not column.is_replaced:
            column.last_error, column.backoff_seconds = None, _MIN_BACKOFF_SECONDS
            column.last_round_at = time.time()
        return result

    def _retry_later(self, column: FollowedColumn, error: CrdbvecError, wait: float, max_wait: float) -> None:
        column.last_error, column.next_round_at = error, time.monotonic() + wait
        column.backoff_seconds = min(2 * column.backoff_seconds, max_wait)

    def _run_round_of_replaced(self, column: FollowedColumn) -> RoundResult:
        """Run one round of a column; first prepare its table again if another table has its name now."""
        prepare = column.prepare
        if prepare is None:
            return self._run_round(column)
        # A table that has all columns, such as one embedded under another name, causes no error.
        if not column.is_replaced and time.monotonic() >= column.next_scan_at:
            column.is_replaced = column.rows.column.is_replaced
        try:
            if not column.is_replaced:
                return self._run_round(column)
        except DatabaseError as error:
            if not is_changed_schema(error):
                raise
            if not column.rows.column.is_replaced:
                # The second column of a model migration is gone.
                if any(each.spec == column.spec for each in self._reload(self.columns)):
                    raise
                raise ColumnExchanged(str(column.spec.table), column.spec.output) from error
            column.is_replaced = True
        self._prepare_again(column, prepare)
        return RoundResult(RefreshReport())

    def _prepare_again(self, column: FollowedColumn, prepare: Prepare) -> None:
        """Prepare a table that was replaced, for the next round; if that is not possible yet, set the next attempt."""
        try:
            column.rows.column.database.renew_connections()
            column.rows, column.ranges = prepare()
        except (TableError, DatabaseError) as error:
            if isinstance(error, DatabaseUnavailable) or not (
                isinstance(error, TableError) or is_changed_schema(error)
            ):
                raise
            # Logged once per reason: the table is missing, then it has no primary key.
            if str(error) != str(column.last_error):
                logger.warning("%s The process waits for the table.", error)
            self._retry_later(column, error, column.backoff_seconds, _MAX_REPLACED_SECONDS)
            return
        column.is_replaced, column.next_scan_at = False, 0.0
        logger.warning("%s was replaced and has been prepared again.", column.spec.table)

    def _run_round(self, column: FollowedColumn) -> RoundResult:
        """Run one round of a column, with a table scan for edited rows if one is due."""

        def on_batch(batch: WrittenBatch) -> None:
            column.on_batch(batch)
            self._on_batch(batch)

        started = time.monotonic()
        seen = read_watermark(column.rows)
        scan_is_due = started >= column.next_scan_at
        options = replace(
            options_for(column.spec),
            passes=column.rows.all_passes
            if scan_is_due
            else passes_since(column.watermark.since if column.watermark else None),
            cache=self._cache,
            known_input=column.known_input,
            settling=column.settling,
            on_batch=on_batch,
            stop=self._stop,
        )
        result = follow_round(
            column.rows,
            column.encoder,
            column.ranges,
            options,
            on_interrupted=lambda interrupted: self._record_interrupted(column, interrupted),
        )
        if scan_is_due:
            now = time.monotonic()
            column.next_scan_at = now + max(_MIN_SCAN_INTERVAL_SECONDS, _SCAN_INTERVAL_FACTOR * (now - started))
        column.watermark = None if seen is None else seen.after(column.watermark)
        if result.has_changed_rows:
            self._on_round(column, result)
        return result
