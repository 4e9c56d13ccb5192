"""The progress of a running step in its log, rarely enough that the event log stays small."""

import time
from collections.abc import Callable

import dagster as dg

from crdbvec_pipelines.refresh.report import WrittenBatch

_LOG_INTERVAL_SECONDS = 15.0


def log_progress(context: dg.AssetExecutionContext, what: str, pending: int) -> Callable[[WrittenBatch], None]:
    """Return an `on_batch` that logs rows done, rate and time left, at most once per interval.

    Args:
        context: The op's context.
        what: The slice or table, for the start of the line.
        pending: The number of rows to embed.
    """
    started = last = time.monotonic()
    done = 0

    def on_batch(batch: WrittenBatch) -> None:
        nonlocal last, done
        done += batch.embedded
        now = time.monotonic()
        if now - last < _LOG_INTERVAL_SECONDS:
            return
        last = now
        rate = done / (now - started)
        left = f", {max(0, pending - done) / rate:,.0f} s left" if rate else ""
        context.log.info(f"{what}: {done:,}/{pending:,} rows, {rate:,.0f} rows/s{left}")

    return on_batch
