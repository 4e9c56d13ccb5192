"""Waiting for what another thread, process or server is sure to do."""

import time
from collections.abc import Callable

_LONGEST_SECONDS = 60


def wait_until(condition: Callable[[], bool]) -> None:
    """Returns when the condition holds; fails the test where it never does."""
    deadline = time.monotonic() + _LONGEST_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.01)
