"""Reading from a server that may be unavailable, within a time that a person waits for a completion or a version."""

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def within(seconds: float, read: Callable[[], T]) -> T | None:
    """Return the result of a function; None if it fails or has not ended in time.

    A function that has not ended continues in a thread, which ends with the process.
    """
    results: list[T] = []
    # An exception is printed by no one: the caller shows that there is no result.
    thread = threading.Thread(target=lambda: _append(results, read), daemon=True)
    thread.start()
    thread.join(seconds)
    return results[0] if results else None


def _append(results: list[T], read: Callable[[], T]) -> None:
    try:
        results.append(read())
    except Exception:
        return
