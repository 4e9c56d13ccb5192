"""Claims on key ranges: of two processes that would embed the same rows, the one with the older claim does.

A claim is advisory. It expires if its process does not extend it, and a guarded write keeps every row right without it;
it only saves the cost of encoding rows twice.
"""

import json
import logging
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from types import TracebackType
from typing import Literal, Self

from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.database.errors import DatabaseError, DatabaseUnavailable
from crdbvec_pipelines.database.expressions import range_parameters
from crdbvec_pipelines.database.rows import claim_statements as statements
from crdbvec_pipelines.keyspace import Bound, KeyRange
from crdbvec_pipelines.process_identity import ProcessIdentity

logger = logging.getLogger(__name__)

# Long enough for a database that is unavailable for some seconds, short enough that a killed process on another host
# delays its successor by a minute at most.
LIFETIME_SECONDS = 60.0
_RENEWAL_SECONDS = 15.0
# How old the answer to "which ranges are claimed by others" may be.
_MAX_AGE_SECONDS = 1.0


class RangeClaim:
    """A claim on one key range of one vector column, held while used as a context manager.

    It is taken by `acquire`, not when the block is entered, so that a refresh without pending rows writes nothing.

    Args:
        column: The vector column.
        key_range: The key range.
        lifetime_seconds: The time after which the claim expires unless it is extended.
        subject: What is claimed. Claims on different subjects do not exclude each other.
    """

    def __init__(
        self,
        column: BoundColumn,
        key_range: KeyRange,
        lifetime_seconds: float = LIFETIME_SECONDS,
        subject: Literal["rows", "partition plan"] = "rows",
    ) -> None:
        self._database = column.database
        self._schema = column.table.name.schema
        self._range = key_range
        self._read = statements.read_earlier_claims(
            column.table, has_lower=key_range.lower is not None, has_upper=key_range.upper is not None
        )
        self._lifetime = timedelta(seconds=lifetime_seconds)
        self._owner = f"{ProcessIdentity.current()}:{uuid.uuid4().hex}"
        self._parameters: dict[str, object] = {
            "table_name": column.table.name.name,
            "output": column.spec.output if subject == "rows" else f"{column.spec.output}, {subject}",
            "owner": self._owner,
        }
        self._renewal: threading.Thread | None = None
        self._released = threading.Event()
        self._others: list[KeyRange] = []
        self._read_at = -_MAX_AGE_SECONDS

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # A database that is unavailable would only delay the error; the claim expires by itself.
        self.release(delete=not isinstance(error, DatabaseUnavailable))

    @property
    def is_held(self) -> bool:
        """Whether the range is claimed by this object."""
        return self._renewal is not None

    def acquire(self) -> None:
        """Claim the range, unless it is claimed by this object already."""
        if self.is_held:
            return
        bounds = {"lower_bound": _to_json(self._range.lower), "upper_bound": _to_json(self._range.upper)}
        self._database.execute(
            statements.insert_claim(self._schema), {**self._parameters, **bounds, "lifetime": self._lifetime}
        )
        self._read_at = -_MAX_AGE_SECONDS
        self._renewal = threading.Thread(target=self._renew, name="crdbvec-claim", daemon=True)
        self._renewal.start()

    def release(self, *, delete: bool = True) -> None:
        """Release the claim, if it was acquired.

        Args:
            delete: Whether to delete it from the table, which is not an error if it fails; otherwise it expires.
        """
        if self._renewal is None:
            return
        # The thread may be in the middle of a statement. It is not waited for: extending a deleted claim does nothing.
        self._released.set()
        self._renewal = None
        if not delete:
            return
        try:
            self._database.execute(statements.delete_claim(self._schema), self._parameters)
        except DatabaseError as error:
            logger.info("A claim was not released and expires by itself: %s", error)

    def claimed_by_others(self) -> Sequence[KeyRange]:
        """Return the ranges that other processes claimed before this one; at most a second old."""
        if time.monotonic() - self._read_at >= _MAX_AGE_SECONDS:
            rows = self._database.fetch(self._read, {**self._parameters, **range_parameters(self._range)})
            alive = [(owner, lower, upper) for owner, lower, upper in rows if not self._is_dead(owner)]
            self._others = [KeyRange(_from_json(lower), _from_json(upper)) for _, lower, upper in alive]
            self._read_at = time.monotonic()
        return self._others

    def _is_dead(self, owner: str) -> bool:
        """Return whether a claim belongs to a process of this host that has ended; its claim is then deleted."""
        identity = ProcessIdentity.parse(owner.rpartition(":")[0])
        if identity is None or not identity.has_ended():
            return False
        self._database.execute(statements.delete_claim(self._schema), {**self._parameters, "owner": owner})
        return True

    def _renew(self) -> None:
        interval = min(_RENEWAL_SECONDS, self._lifetime.total_seconds() / 3)
        while not self._released.wait(interval):
            try:
                self._database.execute(
                    statements.renew_claim(self._schema), {**self._parameters, "lifetime": self._lifetime}
                )
            except DatabaseError as error:
                logger.info("A claim was not extended: %s", error)


@contextmanager
def claimed_partition_plan(column: BoundColumn) -> Iterator[None]:
    """Claim the partition plan of a vector column while the block runs, after those that claimed it before."""
    with RangeClaim(column, KeyRange(), subject="partition plan") as claim:
        claim.acquire()
        while claim.claimed_by_others():
            time.sleep(_MAX_AGE_SECONDS)
        yield


def is_claimed(column: BoundColumn, key_range: KeyRange) -> bool:
    """Return whether a process has claimed rows of a key range."""
    return bool(RangeClaim(column, key_range).claimed_by_others())


def delete_expired_claims(column: BoundColumn) -> None:
    """Delete the claims of processes that did not extend them for an hour, such as killed ones on other hosts."""
    parameters = {"table_name": column.table.name.name, "output": column.spec.output}
    column.database.execute(statements.delete_expired_claims(column.table.name.schema), parameters)


def _to_json(bound: Bound | None) -> str | None:
    return None if bound is None else json.dumps([_text(value) for value in bound])


def _text(value: object) -> str:
    """Return a key value as text that the database casts back to its type."""
    return "\\x" + bytes(value).hex() if isinstance(value, (bytes, memoryview)) else str(value)


def _from_json(text: str | None) -> Bound | None:
    return None if text is None else tuple(json.loads(text))
