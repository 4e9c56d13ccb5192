"""When a statement is sent again, or a database opened again, and how long after the failure."""

from collections.abc import Callable

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential,
    wait_random_exponential,
)
from tenacity.wait import wait_base

from crdbvec_pipelines.database.errors import DatabaseUnavailable, is_lost_connection, is_retryable, is_timed_out
from crdbvec_pipelines.shutdown import shutdown_requested

MAX_ATTEMPTS = 8
"""The attempts of a statement.

Each waits up to three connect timeouts for a connection, so eight attempts take up to four minutes, which is longer
than a server needs to restart.
"""
MAX_RETRY_WAIT_SECONDS = 5.0
"""The longest wait after a retryable error; such errors end when a concurrent transaction ends."""
MAX_BUSY_WAIT_SECONDS = 30.0
"""The longest wait after a time-out in a session that gives way: the server is busy, so it waits longer."""
MAX_OPENING_WAIT_SECONDS = 30.0
"""The longest wait before a database is opened again. Eight attempts take a minute and a half if they fail at once."""


def retrying(attempts: int, before_retry: Callable[[RetryCallState], None], *, with_timeouts: bool) -> Retrying:
    """Return what runs a statement until it succeeds or fails for good.

    Args:
        attempts: The maximum number of attempts.
        before_retry: Is called before each wait.
        with_timeouts: Whether a statement that the server canceled after its time-out is sent again.
    """
    return Retrying(
        retry=retry_if_exception(lambda error: _may_succeed_again(error) or (with_timeouts and is_timed_out(error))),
        stop=stop_after_attempt(attempts),
        wait=_Wait(),
        before_sleep=before_retry,
        reraise=True,
    )


def opening(attempts: int, before_retry: Callable[[RetryCallState], None]) -> Retrying:
    """Return what opens a database until it can be reached, and waits twice as long after each attempt.

    Args:
        attempts: The maximum number of attempts.
        before_retry: Is called before each wait.
    """
    return Retrying(
        retry=retry_if_exception_type(DatabaseUnavailable),
        stop=stop_after_attempt(attempts),
        wait=wait_exponential(max=MAX_OPENING_WAIT_SECONDS),
        before_sleep=before_retry,
        reraise=True,
    )


def _may_succeed_again(error: BaseException) -> bool:
    """Return whether to send a statement again; the end of a process does not wait for an unavailable server."""
    return is_retryable(error) and not (shutdown_requested.is_set() and is_lost_connection(error))


class _Wait(wait_base):
    """The wait before the next attempt: longer after a time-out, which shows that the server is busy."""

    def __init__(self) -> None:
        self._after_conflict = wait_random_exponential(multiplier=0.05, max=MAX_RETRY_WAIT_SECONDS)
        self._when_busy = wait_random_exponential(multiplier=1, max=MAX_BUSY_WAIT_SECONDS)

    def __call__(self, retry_state: RetryCallState) -> float:
        error = retry_state.outcome.exception() if retry_state.outcome else None
        return (self._when_busy if is_timed_out(error) else self._after_conflict)(retry_state)
