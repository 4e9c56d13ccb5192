"""Rows that other transactions have locked: they are kept with their vectors, and tried again until they are free.

No other row waits for them, and no transaction of an application waits for this process.
"""

import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from crdbvec_pipelines.chunk_set import Embedding, Embeddings
from crdbvec_pipelines.database.rows.pending_page import PendingRow
from crdbvec_pipelines.database.rows.row_errors import RowFailure
from crdbvec_pipelines.database.rows.vector_rows import VectorRows
from crdbvec_pipelines.keyspace import Bound
from crdbvec_pipelines.refresh.batches import write_rows

LOCK_WAIT_SECONDS = 600.0
"""How long a refresh waits for a locked row: longer than a transaction of an application should take."""
# The wait until the first further attempt, and the longest one.
_MIN_WAIT_SECONDS, _MAX_WAIT_SECONDS = 0.1, 5.0
# The memory for the vectors of locked rows. If it is used up, the refresh waits: probably one transaction updates most
# of the table, and the rows that it has changed must be encoded again anyway.
_MAX_BYTES = 32 * 1_048_576
# The memory of a row besides its vector: key, fingerprint and objects.
_ROW_BYTES = 500


@dataclass(frozen=True, slots=True)
class _LockedRow:
    row: PendingRow
    vector: Embedding
    give_up_at: float


@dataclass(frozen=True)
class Retried:
    """The result of one further attempt.

    Attributes:
        rows: The rows that are not locked any more, without their inputs.
        embedded: How many of them were given a vector.
        cleared: Rows whose vector was cleared.
        failures: The rows that the database rejected.
    """

    rows: Sequence[PendingRow] = ()
    embedded: int = 0
    cleared: int = 0
    failures: Sequence[RowFailure] = ()


class LockedRows:
    """The locked rows of one refresh.

    Rows are added by the threads that read and write, and tried again by the one that writes.

    Args:
        rows: The rows of the vector column.
        wait_seconds: How long each row is tried again.
    """

    def __init__(self, rows: VectorRows, wait_seconds: float) -> None:
        self._table = rows
        self._wait_seconds = wait_seconds
        self._vectors: list[_LockedRow] = []
        self._clearable: list[tuple[Bound, float]] = []
        self._clearable_lock = threading.Lock()
        self._interval = _MIN_WAIT_SECONDS
        self._next_attempt = 0.0
        self.given_up = 0

    def __len__(self) -> int:
        return len(self._vectors) + len(self._clearable)

    def add(self, rows: Sequence[PendingRow], vectors: Embeddings) -> None:
        """Add rows whose vectors could not be written."""
        give_up_at = self._give_up_at()
        # Inputs may be large, and are not needed any more.
        self._vectors += [
            _LockedRow(replace(row, input=None), vector.copy(), give_up_at)
            for row, vector in zip(rows, vectors, strict=True)
        ]

    def add_clearable(self, keys: Sequence[Bound]) -> None:
        """Add rows whose vectors could not be cleared."""
        give_up_at = self._give_up_at()
        with self._clearable_lock:
            self._clearable += [(key, give_up_at) for key in keys]

    @property
    def is_full(self) -> bool:
        """Whether the vectors take all of the memory that is meant for them."""
        return sum(locked.vector.nbytes for locked in self._vectors) + _ROW_BYTES * len(self) >= _MAX_BYTES

    @property
    def seconds_until_attempt(self) -> float:
        """The seconds until the next attempt; 0 if it is due."""
        return max(0.0, self._next_attempt - time.monotonic())

    def retry(self) -> Retried:
        """Try all rows again, in random order, and give up those that have been locked for too long.

        Raises:
            DatabaseError: As `write_rows`.
        """
        # An attempt may end before all rows were tried; with another order, the next one tries others.
        random.shuffle(self._vectors)
        tried = self._vectors
        result = (
            write_rows(
                self._table,
                [locked.row for locked in tried],
                [locked.vector for locked in tried],
                one_by_one=True,
            )
            if tried
            else None
        )
        locked = [tried[position] for position in result.locked] if result else []
        still_locked = set(map(id, locked))
        done = [each.row for each in tried if id(each) not in still_locked]
        with self._clearable_lock:
            clearable, self._clearable = self._clearable, []
        cleared = self._table.clear_keys([key for key, _ in clearable], one_by_one=True)
        left = set(cleared.locked)
        now = time.monotonic()
        self._vectors = [each for each in locked if each.give_up_at > now]
        kept = [(key, give_up_at) for key, give_up_at in clearable if key in left and give_up_at > now]
        with self._clearable_lock:
            self._clearable += kept
        self.given_up += len(locked) - len(self._vectors) + len(left) - len(kept)
        self._interval = _MIN_WAIT_SECONDS if done or cleared.rows else min(2 * self._interval, _MAX_WAIT_SECONDS)
        self._next_attempt = time.monotonic() + self._interval
        return Retried(
            rows=done,
            embedded=result.embedded if result else 0,
            cleared=cleared.rows,
            failures=result.failures if result else (),
        )

    def _give_up_at(self) -> float:
        return time.monotonic() + self._wait_seconds
