"""Failed rows: recorded one by one, deferred until their next retry, deleted when they are resolved."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.database.errors import DatabaseError, is_locked
from crdbvec_pipelines.database.expressions import bound_parameters
from crdbvec_pipelines.database.rows import row_error_statements as statements
from crdbvec_pipelines.database.sqlstate import FailureStatus
from crdbvec_pipelines.keyspace import Bound

# Transient errors, such as locks, usually end within a minute. A rejected input may succeed after a change of the model
# or of a constraint. An input that is too long needs an edit, which makes the row pending at once.
_FIRST_RETRY_DELAY: dict[FailureStatus, timedelta] = {
    "transient": timedelta(minutes=1),
    "rejected": timedelta(minutes=15),
    "too_long": timedelta(hours=1),
}
# The statuses that release 0.1.0 recorded under other names; they stay in its tables until the row fails again.
_STATUS_OF_0_1_0: Mapping[str, str] = {"poison": "rejected", "oversize": "too_long"}
# A failed row is retried at least once a day, so that a corrected model or limit takes effect without further action.
_MAX_RETRY_DELAY = timedelta(days=1)
# Another process that records failures of the same rows holds their locks for milliseconds.
_MAX_LOCK_SECONDS = 60.0

_retry_when_locked = Retrying(
    retry=retry_if_exception(is_locked),
    stop=stop_after_delay(_MAX_LOCK_SECONDS),
    wait=wait_random_exponential(multiplier=0.05, max=5),
    reraise=True,
)


@dataclass(frozen=True)
class RowFailure:
    """A failed row. The input itself is never part of it.

    Attributes:
        key: One value for each key column.
        fingerprint: The fingerprint of the input that failed.
        status: Whether a retry can succeed.
        message: The reason.
    """

    key: Bound
    fingerprint: str
    status: FailureStatus
    message: str


@dataclass(frozen=True)
class RowError:
    """A failed row as it is recorded.

    Attributes:
        key: One value for each key column.
        status: Whether a retry can succeed: `transient`, `rejected` or `too_long`.
        attempts: How often this input has failed.
        next_retry_at: The time until which the row is deferred.
        message: The reason of the last failure.
        first_seen: The time of the first failure.
        last_seen: The time of the last failure.
    """

    key: list[Any]
    status: str
    attempts: int
    next_retry_at: datetime
    message: str
    first_seen: datetime
    last_seen: datetime


@dataclass(frozen=True)
class ErrorCounts:
    """Numbers of failed rows.

    Attributes:
        by_status: The failed rows by status.
        deferred: The failed rows that are excluded until their next retry.
    """

    by_status: dict[str, int]
    deferred: int

    @property
    def total(self) -> int:
        """The number of failed rows that are not resolved."""
        return sum(self.by_status.values())


class RowErrors:
    """The failed rows of one vector column on an open database."""

    def __init__(self, column: BoundColumn) -> None:
        self._column = column
        self._database = column.database
        self._table = column.table
        self.parameters = {"table_name": column.table.name.name, "output": column.spec.output}

    def count(self) -> ErrorCounts:
        """Count the failed rows."""
        rows = self._database.fetch(statements.count_errors(self._table.name.schema), self.parameters)
        by_status: Counter[str] = Counter()
        for status, count, _ in rows:
            by_status[_STATUS_OF_0_1_0.get(status, status)] += count
        return ErrorCounts(dict(by_status), sum(deferred for *_, deferred in rows))

    def record(self, failures: Sequence[RowFailure]) -> None:
        """Record failures. Each further failure of the same input doubles its retry delay, up to a day."""
        parameters = [
            {
                **self.parameters,
                **bound_parameters("key", failure.key),
                "fingerprint": failure.fingerprint,
                "class": failure.status,
                "message": failure.message,
                "wait": _FIRST_RETRY_DELAY[failure.status],
                "longest": _MAX_RETRY_DELAY,
            }
            for failure in failures
        ]
        if parameters:
            _retry_when_locked(
                self._database.execute_many,
                statements.record_error(self._table),
                parameters,
                self._database.dialect.write_lock_settings,
            )

    def list(self, limit: int) -> list[RowError]:
        """Return at most `limit` failed rows, the latest failure first."""
        rows = self._database.fetch(
            statements.list_errors(self._table.name.schema), {**self.parameters, "limit": limit}
        )
        return [RowError(json.loads(key), _STATUS_OF_0_1_0.get(status, status), *facts) for key, status, *facts in rows]

    def retry(self, key: Sequence[object] | None = None) -> int:
        """Set the retry time of all failed rows, or of the one with this key, to now; return the number of rows."""
        statement = statements.retry_errors(self._table, has_key=key is not None)
        return _retry_when_locked(
            self._database.execute,
            statement,
            {**self.parameters, **bound_parameters("key", key)},
            self._database.dialect.write_lock_settings,
        )

    def delete_resolved(self) -> int:
        """Delete the failures of rows that have been deleted, edited or embedded since; return the number of rows.

        While another process changes the same failures, none is deleted; the next refresh does it.
        """
        try:
            return self._database.execute(
                statements.delete_resolved_errors(self._column),
                {**self.parameters, **self._column.seed},
                self._database.dialect.write_lock_settings,
            )
        except DatabaseError as error:
            if not is_locked(error):
                raise
            return 0
