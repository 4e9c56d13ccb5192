"""How many rows go into one group of writes: fewer when the server is slow or asks for retries, else more."""

_SLOW_SECONDS = 0.25
_QUICK_SECONDS = 0.05
_GROWTH = 1.5


class WriteSize:
    """The size of the next group of guarded writes.

    A group holds its row locks, and on CockroachDB its place in the vector index, until its last row is written, so it
    should take well under a second; below that, larger groups save round trips.

    Args:
        start: rows of the first group.
        largest: rows of a group at most.
    """

    def __init__(self, start: int, largest: int) -> None:
        self._rows = float(start)
        self._largest = largest

    @property
    def rows(self) -> int:
        """Rows of the next group, at least one."""
        return max(1, int(self._rows))

    def learn(self, rows: int, seconds: float, retries: int) -> None:
        """Takes a lesson from a group that was written.

        Args:
            rows: how many rows it had; a group smaller than the present size teaches nothing by being quick.
            seconds: how long it took.
            retries: how often it had to be sent again.
        """
        if retries or seconds > _SLOW_SECONDS:
            self._rows = max(1.0, self._rows / 2)
        elif seconds < _QUICK_SECONDS and rows >= self.rows:
            self._rows = min(float(self._largest), self._rows * _GROWTH)
