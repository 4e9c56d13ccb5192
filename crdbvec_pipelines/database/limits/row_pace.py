"""The pace of writes: `max_rows_per_second` of a table, for the writes of all processes on all machines together.

A row of `crdbvec_limits` is the schedule of the table. A process is assigned its next free period, long enough for a
second's rows, and writes its rows evenly during that period. So the row changes about once a second, however many
processes write, and they write one after the other. While most groups are slow or the server asks for retries, a
process is assigned longer periods for the same rows, so that the rate of the table falls.
"""

import threading
import time
from datetime import timedelta
from typing import Protocol

from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.database.limits.statements import assign_rows
from crdbvec_pipelines.database.rows.write_size import SLOW_SECONDS

# The rows of one group of writes, as a share of a second: small enough that a second has no visible burst.
_GROUP_SECONDS = 0.1
# The rate halves, down to this share, and rises again in steps with each period.
_MIN_SHARE, _SHRINK_FACTOR, _GROWTH = 1 / 16, 0.5, 0.125
# The rate falls if most of at least this many groups were slow. Single slow groups are no sign of a server under load:
# a thread that waits for a processor of its own machine, or for a row lock, sees them, too.
_MIN_GROUPS = 6
# Rows of a period that ended longer ago than this are not written late, but assigned again.
_MAX_DELAY_SECONDS = 1.0


class Pace(Protocol):
    """Decides when a group of rows may be written."""

    @property
    def largest_group(self) -> int | None:
        """The maximum number of rows of a group; None for no maximum."""
        ...

    def wait(self, rows: int, remaining: int) -> None:
        """Wait until `rows` may be written, of `remaining` that are ready to be written, these included."""
        ...

    def wrote(self, seconds: float, retries: int) -> None:
        """Record how long the server took for a group, and how often the group was sent again."""
        ...


class Unlimited:
    """No limit."""

    largest_group: int | None = None

    def wait(self, rows: int, remaining: int) -> None:
        """Return at once."""

    def wrote(self, seconds: float, retries: int) -> None:
        """Do nothing."""


class RowPace:
    """The limit of one table. Thread-safe.

    Args:
        column: A vector column of the table.
        rows_per_second: The maximum rate of all processes together.
    """

    def __init__(self, column: BoundColumn, rows_per_second: float) -> None:
        self._database = column.database
        self._statement = assign_rows(column.table.name.schema)
        self._table = column.table.name.name
        self._rate = rows_per_second
        self._lock = threading.Lock()
        self._share = 1.0
        self._groups = 0
        self._slow_groups = 0
        self._was_repeated = False
        self._rows = 0
        self._seconds_per_row = 0.0
        self._next_at = 0.0

    @property
    def largest_group(self) -> int | None:
        """A tenth of a second's rows, at least one."""
        return max(1, int(self._rate * _GROUP_SECONDS))

    @property
    def rate(self) -> float:
        """The present rate, which is lower while the server is slow."""
        return self._rate * self._share

    def wait(self, rows: int, remaining: int) -> None:
        """Wait for the time of a group in the period of this process, which is assigned a new one if necessary."""
        with self._lock:
            is_over = self._next_at + self._rows * self._seconds_per_row + _MAX_DELAY_SECONDS < time.monotonic()
            if self._rows < rows or is_over:
                self._assign(max(rows, min(remaining, int(self._rate))))
            start = self._next_at
            self._rows -= rows
            self._next_at += rows * self._seconds_per_row
        time.sleep(max(0.0, start - time.monotonic()))

    def wrote(self, seconds: float, retries: int) -> None:
        """Lower the rate of the next period after a repeated group, or if most groups were slow."""
        with self._lock:
            self._groups += 1
            self._slow_groups += seconds > SLOW_SECONDS
            self._was_repeated |= retries > 0

    def _is_server_under_load(self) -> bool:
        is_slow = self._groups >= _MIN_GROUPS and 2 * self._slow_groups > self._groups
        return self._was_repeated or is_slow

    def _assign(self, rows: int) -> None:
        if self._is_server_under_load():
            self._share = max(_MIN_SHARE, self._share * _SHRINK_FACTOR)
        else:
            self._share = min(1.0, self._share + _GROWTH)
        self._was_repeated = False
        if self._groups >= _MIN_GROUPS:
            self._groups = self._slow_groups = 0
        duration = rows / self.rate
        parameters = {"table_name": self._table, "duration": timedelta(seconds=duration)}
        (ends_in,) = self._database.fetch_one(self._statement, parameters)
        # What is left of an earlier period is not written: its time may be over before that of the new one begins.
        self._rows, self._seconds_per_row = rows, duration / rows
        self._next_at = time.monotonic() + ends_in - duration


def pace_of(column: BoundColumn) -> Pace:
    """Return the pace of the writes of a vector column, which a limit in its entry sets."""
    limit = column.spec.max_rows_per_second
    return Unlimited() if limit is None else RowPace(column, limit)
