"""Which worker holds a run, and whether it still does: asked of the workers themselves.

Celery's result backend is not used. A state that it contains may be older than the end of the worker, it may have
expired, and a message that is delivered twice replaces it while the run is in progress.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

import dagster as dg
from celery import Celery
from kombu.exceptions import OperationalError

WORKER_TAG = "crdbvec/celery_worker"
"""The tag with the worker that executes a run, after the id of the run: a retry inherits the tags of its parent."""

PING_SECONDS = 3.0
# A worker that was cut off for 20 s and declared dead after two pings did its work twice.
MIN_MISSED_PINGS = 6
DEAD_AFTER_SECONDS = 60.0


class Answer(Enum):
    """What is known about a run after its worker was asked."""

    HELD = auto()
    NOT_HELD = auto()
    NO_REPLY = auto()
    BROKER_UNAVAILABLE = auto()


def tag_of(run_id: str, worker: str) -> dict[str, str]:
    """Return the tag that names the worker of a run."""
    return {WORKER_TAG: f"{run_id}/{worker}"}


def worker_of(run: dg.DagsterRun) -> str | None:
    """Return the worker that executes a run; None if it has not started, and for the tag of its parent."""
    run_id, _, worker = run.tags.get(WORKER_TAG, "").partition("/")
    return worker or None if run_id == run.run_id else None


def ask(app: Celery, run_id: str, worker: str | None, timeout_seconds: float = PING_SECONDS) -> Answer:
    """Ask a worker whether it holds the task of a run; all workers if it is not known which one does.

    Args:
        app: The Celery app.
        run_id: The run, whose id is also that of its task.
        worker: The worker.
        timeout_seconds: How long to wait for an answer. Without a worker, this time always passes.
    """
    connection_errors = app.connection_for_write().connection_errors
    try:
        # A connection of its own: one of the pool may be from before a restart of the broker.
        with app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0, timeout=timeout_seconds)
            inspection = app.control.inspect(
                destination=[worker] if worker else None,
                limit=1 if worker else None,
                timeout=timeout_seconds,
                connection=connection,
            )
            replies = inspection.query_task(run_id) or {}
    except (OperationalError, *connection_errors, OSError):
        return Answer.BROKER_UNAVAILABLE
    if any(run_id in (tasks or {}) for tasks in replies.values()):
        return Answer.HELD
    # Those workers that have answered are not all of them.
    return Answer.NOT_HELD if worker in replies else Answer.NO_REPLY


@dataclass
class _Silence:
    pings: int
    since: float
    last_event: int | None


class MissedPings:
    """Counts the unanswered pings of each run, to tell a dead worker from one that is cut off for a moment.

    Args:
        dead_after_seconds: How long a worker must have been silent, in addition to the minimum of missed pings.
        clock: The time in seconds; for tests.
    """

    def __init__(self, dead_after_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._dead_after_seconds = dead_after_seconds
        self._clock = clock
        self._silences: dict[str, _Silence] = {}

    def answered(self, run_id: str) -> None:
        """Forget the missed pings of a run."""
        self._silences.pop(run_id, None)

    def missed(self, run_id: str, last_event: int | None) -> int | None:
        """Count a missed ping.

        A run that has logged an event since the first missed ping works: only its worker cannot reach the broker.

        Args:
            run_id: The run.
            last_event: The id of the last event of the run.

        Returns:
            How many pings were missed if that is enough to take the worker for dead, otherwise None.
        """
        silence = self._silences.get(run_id)
        if silence is None or silence.last_event != last_event:
            silence = self._silences[run_id] = _Silence(0, self._clock(), last_event)
        silence.pings += 1
        is_long = self._clock() - silence.since >= self._dead_after_seconds
        return silence.pings if silence.pings >= MIN_MISSED_PINGS and is_long else None
