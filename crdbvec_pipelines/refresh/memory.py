"""The memory for the inputs of a process: one budget for everything that is read, encoded or waits to be written.

Batches are counted by the bytes of their inputs, because one picture may need as much memory as 100,000 short texts.
"""

import itertools
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from crdbvec_pipelines.database.rows.pending_page import PendingRow

DEFAULT_BUDGET_MIB = 256
"""Enough for several batches of long texts or small pictures, and little compared with most models."""
MIB = 1_048_576
# A page takes up to this share of the budget, so that reading ahead, encoding and writing overlap also with large rows.
_PAGES = 16
# How often a thread that waits looks whether its refresh has ended.
_CHECK_SECONDS = 0.1


class MemoryBudget:
    """A number of bytes that the refreshes of a process share. Thread-safe; who waits first is served first.

    Args:
        max_bytes: The budget. An input that is larger gets the whole budget, without any other input.
    """

    def __init__(self, max_bytes: int = DEFAULT_BUDGET_MIB * MIB) -> None:
        self._max_bytes = max_bytes
        self._reserved = 0
        self._waiting: deque[int] = deque()
        self._tickets = itertools.count()
        self._changed = threading.Condition()

    @property
    def page_bytes(self) -> int:
        """The maximum length of the inputs of one page together."""
        return max(1, self._max_bytes // _PAGES)

    def reserve(self, size: int, is_ended: Callable[[], bool], *, wait: bool = True) -> int | None:
        """Reserve bytes, and wait until they are free.

        Args:
            size: The number of bytes.
            is_ended: Whether the refresh has ended, so that waiting is of no use.
            wait: Whether to wait.

        Returns:
            The number of reserved bytes, at most the budget; None if they are not free and nothing is waited for.
        """
        wanted = min(size, self._max_bytes)
        with self._changed:
            if not wait and (self._waiting or not self._fits(wanted)):
                return None
            ticket = next(self._tickets)
            self._waiting.append(ticket)
            try:
                while self._waiting[0] != ticket or not self._fits(wanted):
                    if is_ended():
                        return None
                    self._changed.wait(_CHECK_SECONDS)
                self._reserved += wanted
                return wanted
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()

    def add(self, size: int) -> None:
        """Reserve bytes that are in use already, even if the budget is exceeded."""
        with self._changed:
            self._reserved += size

    def release(self, size: int) -> None:
        """Release reserved bytes."""
        with self._changed:
            self._reserved -= size
            self._changed.notify_all()

    def _fits(self, size: int) -> bool:
        return self._reserved + size <= self._max_bytes


class MemoryAccount:
    """What one refresh has reserved of a budget. What is left at the end of the block is released.

    Args:
        budget: The budget.
        is_ended: Whether the refresh has ended, so that no thread of it waits any longer.
    """

    def __init__(self, budget: MemoryBudget, is_ended: Callable[[], bool]) -> None:
        self._budget = budget
        self._is_ended = is_ended
        self._reserved = 0
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release(self._reserved)

    @property
    def page_bytes(self) -> int:
        """The maximum length of the inputs of one page together."""
        return self._budget.page_bytes

    def reserve(self, size: int, *, wait: bool = True) -> int | None:
        """Reserve bytes as `MemoryBudget.reserve`."""
        reserved = self._budget.reserve(size, self._is_ended, wait=wait)
        if reserved is not None:
            with self._lock:
                self._reserved += reserved
        return reserved

    def adjust(self, reserved: int, needed: int) -> None:
        """Replace a reservation by what is needed in fact, which is known after reading."""
        if needed > reserved:
            self._budget.add(needed - reserved)
            with self._lock:
                self._reserved += needed - reserved
        else:
            self.release(reserved - needed)

    def release(self, size: int) -> None:
        """Release reserved bytes."""
        with self._lock:
            self._reserved -= size
        self._budget.release(size)


def input_bytes(rows: Sequence[PendingRow]) -> int:
    """Return the memory of the inputs of rows."""
    return sum(value_bytes(row.input) for row in rows)


def content_bytes(rows: Sequence[PendingRow]) -> int:
    """Return the bytes of the inputs of rows without what Python adds to them; those of a text are UTF-8."""
    return sum(_content_bytes(row.input) for row in rows)


def _content_bytes(value: object) -> int:
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode())
    return len(value) if isinstance(value, (bytes, bytearray, memoryview)) else value_bytes(value)


def value_bytes(value: object) -> int:
    """Return the memory of one input."""
    return sys.getsizeof(value)
