"""The progress of a run in its log, rarely enough that the event log stays small."""

import threading
import time

import dagster as dg

from crdbvec_pipelines.refresh.completion import Completion
from crdbvec_pipelines.refresh.report import WrittenBatch

LOG_INTERVAL_SECONDS = 10.0


class ProgressLog:
    """Logs rows done, rows left, rate and time left while a run works on partitions.

    Batches are added by the threads that write them; only the thread of the op logs.

    Args:
        context: The context of the op.
        name: The vector column, for the start of the line.
        partitions: How many partitions the run has.
    """

    def __init__(self, context: dg.AssetExecutionContext, name: str, partitions: int) -> None:
        self._context = context
        self._name = name
        self._partitions = partitions
        self._partitions_done = 0
        self._rows_of_done = 0
        self._rows = 0
        self._lock = threading.Lock()
        self._started = self._logged = time.monotonic()
        self.batches = 0

    def add(self, batch: WrittenBatch) -> None:
        """Add a written batch."""
        with self._lock:
            self._rows += batch.embedded
            self.batches += not batch.is_late

    def partition_done(self, completion: Completion) -> None:
        """Add a completed partition."""
        self._partitions_done += 1
        self._rows_of_done += completion.report.rows_embedded

    def log_if_due(self) -> None:
        """Log one line, unless the last one was logged within the interval."""
        if time.monotonic() - self._logged >= LOG_INTERVAL_SECONDS:
            self._log(self._text())

    def log_waiting(self, partitions: int) -> None:
        """Log, at most once per interval, that only partitions claimed by other processes are left."""
        if time.monotonic() - self._logged >= LOG_INTERVAL_SECONDS:
            self._log(f"{self._name}: waiting for {partitions:,} partitions that another process is embedding")

    def finish(self) -> None:
        """Log the total."""
        self._log(self._text())

    def _log(self, text: str) -> None:
        self._logged = time.monotonic()
        self._context.log.info(text)

    def _text(self) -> str:
        seconds = time.monotonic() - self._started
        rate = self._rows / seconds if seconds > 0 else 0.0
        text = (
            f"{self._name}: {self._rows:,} rows embedded, {self._partitions_done:,} of {self._partitions:,} partitions "
            f"complete, {rate:,.0f} rows/s"
        )
        left = self._rows_left()
        if left is None:
            return text
        return text + f", about {left:,} rows left" + (f", {left / rate:,.0f} s" if rate and left else "")

    def _rows_left(self) -> int | None:
        """Estimate the rows left from the partitions that are complete; None before the first one is."""
        if not self._partitions_done:
            return None
        expected = self._rows_of_done / self._partitions_done * self._partitions
        return max(0, round(expected) - self._rows)
