"""The number of rows in one group of writes: smaller if the server is slow or asks for retries, otherwise larger."""

SLOW_SECONDS = 0.1
"""Above this a group holds its row locks noticeably long for other sessions."""
# Below this a round trip is a large part of the time, so that larger groups are faster. Between the two the size stays.
_QUICK_SECONDS = 0.05
# A slow group halves the size at once; it grows again in smaller steps, so that it does not alternate.
_SHRINK_FACTOR = 0.5
_GROWTH_FACTOR = 1.5


class WriteSize:
    """The size of the next group of guarded writes.

    A group keeps its row locks, and on CockroachDB its work on the vector index, until its last row is written, so it
    should take well under a second; below that, larger groups save round trips.

    Args:
        start: The rows of the first group.
        largest: The maximum number of rows of a group.
    """

    def __init__(self, start: int, largest: int) -> None:
        self._rows = float(start)
        self._largest = largest

    @property
    def rows(self) -> int:
        """The rows of the next group, at least one."""
        return max(1, int(self._rows))

    def shrink(self) -> None:
        """Halve the size, because the server has no time for a group of this size."""
        self._rows = max(1.0, self._rows * _SHRINK_FACTOR)

    def adjust(self, rows: int, seconds: float, retries: int) -> None:
        """Adjust the size after a group has been written.

        Args:
            rows: The rows of the group. A group smaller than the current size does not make the size grow.
            seconds: How long the group took.
            retries: How often the group was sent again.
        """
        if retries or seconds > SLOW_SECONDS:
            self.shrink()
        elif seconds < _QUICK_SECONDS and rows >= self.rows:
            self._rows = min(float(self._largest), self._rows * _GROWTH_FACTOR)
