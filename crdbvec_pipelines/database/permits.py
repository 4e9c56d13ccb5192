"""How many statements one process may have in flight, a number that may change while statements run."""

import threading
from typing import Self


class Permits:
    """A semaphore whose count can be changed. Used as a context manager, it holds one permit.

    Args:
        count: The number of permits; None for no limit.
    """

    def __init__(self, count: int | None = None) -> None:
        self._count = count
        self._used = 0
        self._changed = threading.Condition()

    def set(self, count: int) -> None:
        """Change the number of permits, after which no more than that many are held at once.

        Returns when enough of them have been given back.
        """
        with self._changed:
            self._count = count
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._used <= count)

    def __enter__(self) -> Self:
        with self._changed:
            self._changed.wait_for(lambda: self._count is None or self._used < self._count)
            self._used += 1
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._used -= 1
            self._changed.notify_all()
