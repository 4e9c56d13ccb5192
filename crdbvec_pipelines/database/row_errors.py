"""The rows that could not be embedded: recorded one by one, left alone until their next try, forgotten when settled."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database import error_statements as statements
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.expressions import bound_parameters, fingerprint_seed
from crdbvec_pipelines.database.introspect import Table
from crdbvec_pipelines.keyspace import Bound

ErrorClass = Literal["transient", "poison", "oversize"]
"""transient: may succeed as it is. poison: this input will fail again. oversize: the input is too long."""

_FIRST_WAIT: dict[ErrorClass, timedelta] = {
    "transient": timedelta(minutes=1),
    "poison": timedelta(minutes=15),
    "oversize": timedelta(hours=1),
}
_LONGEST_WAIT = timedelta(days=1)


@dataclass(frozen=True)
class RowFailure:
    """A row that failed: its key, the fingerprint of the input that failed, and why. Never the input."""

    key: Bound
    fingerprint: str
    error_class: ErrorClass
    message: str


@dataclass(frozen=True)
class RowError:
    """A recorded failure."""

    key: list[Any]
    error_class: str
    attempts: int
    next_try: datetime
    message: str
    first_seen: datetime
    last_seen: datetime


@dataclass(frozen=True)
class ErrorCounts:
    """How many rows have failed, by class, and how many of them wait for their next try."""

    by_class: dict[str, int]
    waiting: int

    @property
    def total(self) -> int:
        """All rows that have failed and are not settled."""
        return sum(self.by_class.values())


class RowErrors:
    """The recorded failures of one vector column."""

    def __init__(self, database: Database, table: Table, spec: VectorColumn) -> None:
        self._database = database
        self._table = table
        self._spec = spec
        self.parameters = {"table_name": table.name.name, "output": spec.output}

    def count(self) -> ErrorCounts:
        """How many rows have failed."""
        rows = self._database.fetch(statements.count_errors(self._table.name.schema), self.parameters)
        return ErrorCounts({name: count for name, count, _ in rows}, sum(waiting for *_, waiting in rows))

    def record(self, failures: Sequence[RowFailure]) -> None:
        """Records failures; a repeated one waits twice as long, a day at most."""
        parameters = [
            {
                **self.parameters,
                **bound_parameters("key", failure.key),
                "fingerprint": failure.fingerprint,
                "class": failure.error_class,
                "message": failure.message,
                "wait": _FIRST_WAIT[failure.error_class],
                "longest": _LONGEST_WAIT,
            }
            for failure in failures
        ]
        if parameters:
            self._database.execute_many(statements.record_error(self._table), parameters)

    def list(self, limit: int) -> list[RowError]:
        """The recorded failures, the latest first."""
        rows = self._database.fetch(
            statements.list_errors(self._table.name.schema), {**self.parameters, "limit": limit}
        )
        return [RowError(json.loads(key), *facts) for key, *facts in rows]

    def retry(self, key: Sequence[object] | None = None) -> int:
        """Makes all failed rows due at once, or the one with this key; returns how many that were."""
        statement = statements.retry_errors(self._table, one_key=key is not None)
        return self._database.execute(statement, {**self.parameters, **bound_parameters("key", key)})

    def forget_settled(self, model_id: str) -> int:
        """Forgets the failures of rows that are gone, edited or embedded by now; returns how many."""
        return self._database.execute(
            statements.forget_settled_errors(self._table, self._spec),
            {**self.parameters, "seed": fingerprint_seed(model_id)},
        )
