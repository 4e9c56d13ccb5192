"""A running step's progress in its log: seldom enough that the event log stays small."""

import time
from collections.abc import Callable

import dagster as dg

from crdbvec_pipelines.refresh import BatchDone

_SECONDS_BETWEEN_LINES = 15.0


def log_progress(context: dg.AssetExecutionContext, what: str, pending: int) -> Callable[[BatchDone], None]:
    """An `on_batch` that logs rows done, rate and time left, at most every 15 seconds.

    Args:
        context: the op's context.
        what: the slice or table, for the line's start.
        pending: rows to embed in all.
    """
    started = last = time.monotonic()
    done = 0

    def on_batch(batch: BatchDone) -> None:
        nonlocal last, done
        done += batch.embedded
        now = time.monotonic()
        if now - last < _SECONDS_BETWEEN_LINES:
            return
        last = now
        rate = done / (now - started)
        left = f", {max(0, pending - done) / rate:,.0f} s left" if rate else ""
        context.log.info(f"{what}: {done:,}/{pending:,} rows, {rate:,.0f} rows/s{left}")

    return on_batch
