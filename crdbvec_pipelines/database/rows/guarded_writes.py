"""Guarded updates of single rows, in groups that do not make other transactions wait.

A group is one transaction, which holds the locks of its rows until its last row is written. If it waited for a row that
another transaction has locked, every other transaction would wait for the rows of the group as well. So a group gives
up after a short lock timeout, and is then written without the locked rows, which the caller tries again later.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from crdbvec_pipelines.database.connection import Parameters
from crdbvec_pipelines.database.errors import (
    DatabaseError,
    DatabaseUnavailable,
    is_locked,
    is_not_supported,
    is_timed_out,
)
from crdbvec_pipelines.database.limits.row_pace import Pace
from crdbvec_pipelines.database.retry import MAX_BUSY_WAIT_SECONDS
from crdbvec_pipelines.database.rows.row_updates import RowUpdate
from crdbvec_pipelines.database.rows.write_size import SLOW_SECONDS, WriteSize

# After a group with a locked row, this many groups skip locked rows from the start, because the application probably
# still changes the table. To skip locked rows costs the server some work for each row, so it is not the default.
_CAREFUL_GROUPS = 20
# A slow group may have waited for several locks, each for less than the timeout, or the server is slow. The next group
# skips locked rows to find out which. If it finds none, slow groups are not examined again for this many groups.
_UNEXAMINED_GROUPS = 20
# Rows that are tried one by one wait for their lock. After this many waits the others count as locked, so that the
# attempt ends within a second or two even if the whole table is locked.
_MAX_WAITS = 10
# The waits after a group that timed out because other sessions take precedence: 0.5 s at first, doubled each time up to
# the longest, about a minute and a half in all. After the last one the refresh ends, and its rows stay pending.
_FIRST_BUSY_WAIT_SECONDS = 0.5
_MAX_BUSY_WAITS = 8


@dataclass(frozen=True)
class Written:
    """The result of guarded updates.

    Attributes:
        rows: The number of updated rows.
        locked: The positions of the rows that another transaction has locked, in ascending order.
    """

    rows: int
    locked: Sequence[int] = ()


class GuardedWrites:
    """The guarded updates of one kind on one vector column.

    Args:
        size: Returns the size of the groups, which is read from the server when it is first needed.
        update: Updates the rows of a group.
        pace: Decides when a group may be written.
    """

    def __init__(
        self,
        size: Callable[[], WriteSize],
        update: RowUpdate,
        pace: Pace,
    ) -> None:
        self._pace = pace
        self._size = size
        self._update = update
        self._careful_groups = 0
        self._unexamined_groups = 0
        self._can_skip_locked = True

    def write(self, parameters: Sequence[Parameters], *, one_by_one: bool = False) -> Written:
        """Run the update for each set of parameters.

        Args:
            parameters: The parameters of each row.
            one_by_one: Whether the rows that seem to be locked are tried again one by one. That also finds the deleted
                ones among them, and the rows of a table whose locks the server cannot skip.
        """
        size = self._size()
        written, start = Written(0), 0
        waits_left, busy_waits = _MAX_WAITS, 0
        while start < len(parameters):
            group = parameters[start : start + min(size.rows, self._pace.largest_group or size.rows)]
            self._pace.wait(len(group), len(parameters) - start)
            try:
                done = self._write_group(size, group)
            except DatabaseUnavailable as error:
                if not is_timed_out(error) or busy_waits == _MAX_BUSY_WAITS:
                    raise
                size.shrink()
                time.sleep(min(_FIRST_BUSY_WAIT_SECONDS * 2**busy_waits, MAX_BUSY_WAIT_SECONDS))
                busy_waits += 1
                continue
            busy_waits = 0
            if one_by_one and done.locked:
                alone, waits_left = self._write_one_by_one(group, done.locked, waits_left)
                done = Written(done.rows + alone.rows, alone.locked)
            written = Written(
                written.rows + done.rows, [*written.locked, *(start + position for position in done.locked)]
            )
            start += len(group)
        return written

    def _write_group(self, size: WriteSize, group: Sequence[Parameters]) -> Written:
        started = time.perf_counter()
        self._unexamined_groups = max(0, self._unexamined_groups - 1)
        if self._careful_groups:
            self._careful_groups -= 1
        else:
            try:
                rows, retries = self._update.run(group)
            except DatabaseError as error:
                if not is_locked(error):
                    raise
            else:
                seconds = time.perf_counter() - started
                size.adjust(len(group), seconds, retries)
                self._pace.wrote(seconds, retries)
                if seconds > SLOW_SECONDS and not self._unexamined_groups:
                    self._careful_groups = 1
                    self._unexamined_groups = _UNEXAMINED_GROUPS
                return Written(rows)
            started = time.perf_counter()
        done = self._write_unlocked(group)
        seconds = time.perf_counter() - started
        size.adjust(len(group), seconds, 0)
        self._pace.wrote(seconds, 0)
        if done.locked:
            self._careful_groups = _CAREFUL_GROUPS
        return done

    def _write_unlocked(self, group: Sequence[Parameters]) -> Written:
        """Write the rows of a group that are not locked; all of them are locked if the server cannot tell which."""
        everything = Written(0, range(len(group)))
        if not self._can_skip_locked:
            return everything
        try:
            outcomes = self._update.run_unlocked(group)
        except DatabaseError as error:
            # CockroachDB cannot skip locked rows of a table with several column families.
            self._can_skip_locked = not is_not_supported(error)
            # A lock on the table, or one that a trigger needs, cannot be skipped.
            if is_locked(error) or not self._can_skip_locked:
                return everything
            raise
        return Written(
            sum(updated for _, updated in outcomes),
            [position for position, (unlocked, _) in enumerate(outcomes) if not unlocked],
        )

    def _write_one_by_one(
        self, group: Sequence[Parameters], positions: Sequence[int], waits_left: int
    ) -> tuple[Written, int]:
        """Write rows in transactions of their own, which hold no other lock while they wait.

        Returns:
            The result, with positions in the group, and how many waits are left.
        """
        rows, locked = 0, []
        for position in positions:
            if not waits_left:
                locked.append(position)
                continue
            try:
                rows += self._update.run([group[position]]).rows
            except DatabaseError as error:
                if not is_locked(error):
                    raise
                locked.append(position)
                waits_left -= 1
        return Written(rows, locked), waits_left
