"""How long other sessions hold the exclusive lock of a table, as a further session of PostgreSQL sees it."""

import threading
import time
from dataclasses import dataclass

import psycopg

_POLL_SECONDS = 0.0005


@dataclass(frozen=True)
class HeldLock:
    """One exclusive lock of the table, as `time.perf_counter` at the reads of `pg_locks` around it.

    Attributes:
        began: The last read without the lock before it was seen.
        ended: The first read without the lock after that.
    """

    began: float
    ended: float

    @property
    def seconds(self) -> float:
        """The longest time that it can have been held."""
        return self.ended - self.began


class LockWatch(threading.Thread):
    """Reads in a loop whether another session holds the exclusive lock of a table.

    Args:
        url: The URL of a PostgreSQL database.
        table: The table.
    """

    def __init__(self, url: str, table: str) -> None:
        super().__init__(daemon=True)
        self.held: list[HeldLock] = []
        self._url = url
        self._table = table
        self._ended = threading.Event()

    def run(self) -> None:
        """Watch until `end` is called."""
        with psycopg.connect(self._url, autocommit=True) as connection:
            ((oid,),) = connection.execute("SELECT %s::regclass::oid", (self._table,)).fetchall()
            began: float | None = None
            last = time.perf_counter()
            while not self._ended.wait(_POLL_SECONDS):
                found = connection.execute(
                    "SELECT 1 FROM pg_locks WHERE relation = %s AND mode = 'AccessExclusiveLock' AND granted", (oid,)
                ).fetchall()
                now = time.perf_counter()
                if found:
                    began = last if began is None else began
                elif began is not None:
                    self.held.append(HeldLock(began, now))
                    began = None
                last = now

    def end(self) -> None:
        """Stop watching."""
        self._ended.set()
        self.join()

    def longest(self, began: float, ended: float) -> float:
        """Return the duration of the longest lock that was held between two times, 0 without one."""
        return max((each.seconds for each in self.held if each.ended >= began and each.began <= ended), default=0.0)
