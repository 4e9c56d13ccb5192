"""What a tick of the follow sensor does, as a pure function of what it read."""

from dataclasses import dataclass
from typing import Literal

from crdbvec_pipelines.orchestration.instance.in_progress import WorkInProgress

Action = Literal["skip", "sync_partitions", "follow", "encode"]

# Pending rows are not counted further than this: a tick must stay short, and more rows change nothing in the decision.
MAX_COUNTED_ROWS = 100_000


# A run that loads a model takes about this long until its first row is written.
_START_SECONDS = 15.0

_NO_WORK = WorkInProgress()


@dataclass(frozen=True)
class TickState:
    """What a tick has read.

    Attributes:
        table: The table's name, for the reason.
        is_ready: Whether the table is prepared and Dagster has partitions for it.
        work: The runs and backfills in progress.
        pending: Pending rows, counted up to `MAX_COUNTED_ROWS`.
        backoff: Why to wait after failed runs; None if there is no reason to.
        needs_split: Whether the range with the open upper end has outgrown its size.
        small_backlog: Up to this many pending rows are one run of the follow job; more become partition runs.
        paused: Why rows must not be embedded now; None if they may.
        max_partition_runs: Partition runs that may be in progress at the same time.
        lag_seconds: How long the oldest pending row has been pending.
        target_lag_seconds: How long a row may be pending; None without a target lag.
        rows_per_second: How many rows the last run embedded per second; None if that is not known.
    """

    table: str
    is_ready: bool
    work: WorkInProgress = _NO_WORK
    pending: int = 0
    backoff: str | None = None
    needs_split: bool = False
    paused: str | None = None
    small_backlog: int = 10_000
    max_partition_runs: int = 4
    lag_seconds: float = 0.0
    target_lag_seconds: int | None = None
    rows_per_second: float | None = None


@dataclass(frozen=True)
class Decision:
    """What a tick does.

    Attributes:
        action: The job to request, or `skip`.
        reason: The reason, for the tick history.
        max_runs: How many partition runs `encode` may request.
    """

    action: Action
    reason: str
    max_runs: int = 1


def decide(state: TickState) -> Decision:
    """Decide what to do, most important condition first."""
    work = state.work
    if not state.is_ready:
        obstacle = work.description or state.backoff
        if obstacle:
            return Decision("skip", f"{state.table} is not prepared yet; {obstacle}")
        return Decision("sync_partitions", f"{state.table} is not prepared yet")
    found = f"{pending_rows(state.pending)} in {state.table}"
    if state.pending == 0:
        return Decision("skip", f"{found}; {state.paused}" if state.paused else found)
    if state.paused:
        return Decision("skip", f"{found}; {state.paused}")
    if work.backfills or work.whole_table:
        return Decision("skip", f"{found}; {work.description}")
    if state.backoff:
        return Decision("skip", f"{found}; {state.backoff}")
    if state.needs_split:
        return Decision("sync_partitions", f"{found}; the last partition has outgrown its size")
    if _is_for_follow_job(state):
        return Decision("skip", f"{found}; {work.description}") if work.partition_runs else Decision("follow", found)
    free = state.max_partition_runs - len(work.partition_runs)
    if free <= 0:
        return Decision("skip", f"{found}; {work.description}")
    return Decision("encode", found, free)


def _is_for_follow_job(state: TickState) -> bool:
    """Return whether one run of the follow job is enough.

    With a target lag, it is if it embeds all pending rows before the oldest one has been pending for too long, or in
    about the time in which partition runs start. Otherwise it is for a small backlog.
    """
    if state.target_lag_seconds is None or not state.rows_per_second:
        return state.pending <= state.small_backlog
    left = max(_START_SECONDS, state.target_lag_seconds - state.lag_seconds)
    return state.pending / state.rows_per_second <= left


def pending_rows(count: int) -> str:
    """Return a number of pending rows in words."""
    if count == 1:
        return "1 pending row"
    return f"{'at least ' if count >= MAX_COUNTED_ROWS else ''}{count:,} pending rows"
