"""Waiting for an effect of another thread, process or server."""

import time
from collections.abc import Callable

_TIMEOUT_SECONDS = 60
_INTERVAL_SECONDS = 0.01


def wait_until(condition: Callable[[], bool], timeout_seconds: float = _TIMEOUT_SECONDS) -> None:
    """Return as soon as the condition is true; fail the test if it is not within a minute, or another time."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline, f"the condition was not true within {timeout_seconds} s"
        time.sleep(_INTERVAL_SECONDS)
