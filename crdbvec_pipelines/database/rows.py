"""The rows of one vector column, as the refresh loop sees them: pages of pending rows in, guarded writes out."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import pairwise
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database import row_statements as statements
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.expressions import bound_parameters, fingerprint_seed, range_parameters
from crdbvec_pipelines.database.introspect import Table
from crdbvec_pipelines.database.row_errors import RowErrors
from crdbvec_pipelines.database.row_statements import Pass
from crdbvec_pipelines.database.vector_index import existing_indexes
from crdbvec_pipelines.database.write_size import WriteSize
from crdbvec_pipelines.keyspace import Bound, KeyRange

_CLEAR_AT_ONCE = 1_000


class _Ends(TypedDict):
    lower: bool
    upper: bool


@dataclass(frozen=True, slots=True)
class PendingRow:
    """A row to embed: its key (one value a key column), its input, and the input's fingerprint when it was read."""

    key: Bound
    input: Any
    fingerprint: str


@dataclass(frozen=True)
class RowCounts:
    """Rows of a key range."""

    rows: int
    embedded: int
    pending: int
    blank: int
    """Rows whose input is NULL, blank or empty: nothing to embed, and never pending."""
    failed: int = 0
    """Rows of the whole table that could not be embedded."""
    waiting: int = 0
    """Those among them that wait for their next try, and are not pending until then."""

    @property
    def coverage(self) -> float:
        """The share of the rows with an input that have a fresh vector, from 0 to 1."""
        wanted = self.rows - self.blank
        return max(0.0, wanted - self.pending - self.waiting) / wanted if wanted else 1.0


class VectorRows:
    """One vector column of one table on an open database.

    Args:
        database: an open connection.
        table: the table, with the vector column in place.
        spec: what the configuration says about the column.
        model_id: identifies the model in fingerprints; another model makes every row pending.
    """

    def __init__(self, database: Database, table: Table, spec: VectorColumn, model_id: str) -> None:
        self.table = table
        self.spec = spec
        self.model_id = model_id
        self.errors = RowErrors(database, table, spec)
        self._database = database
        self._seed = {"seed": fingerprint_seed(model_id), **self.errors.parameters}
        self._write = statements.write_vector(table, spec)

    @cached_property
    def _write_size(self) -> WriteSize:
        dialect = self._database.dialect
        indexed = existing_indexes(self._database, self.table, self.spec)
        return WriteSize(*(dialect.vectors.rows_per_indexed_write if indexed else dialect.rows_per_write))

    @property
    def everything_pending(self) -> tuple[Pass, ...]:
        """The passes that find every pending row, in the order they are worked through."""
        return (Pass("missing"),) if self.spec.fingerprint_column is None else (Pass("missing"), Pass("stale"))

    @property
    def retries(self) -> int:
        """How many statements had to be sent again so far."""
        return self._database.retries

    def some_wait(self) -> bool:
        """Whether any failed rows wait for their next try, so that reading has to leave them out."""
        return self.errors.count().waiting > 0

    def read(
        self, key_range: KeyRange, what: Pass, after: Bound | None, limit: int, *, waiting: bool = True
    ) -> list[PendingRow]:
        """The next `limit` pending rows of a key range in key order, behind the key `after`.

        Args:
            key_range: where to read.
            what: which pending rows.
            after: the last key of the page before; None for the first page.
            limit: rows of a page.
            waiting: whether some failed rows wait and must be left out (`some_wait`).
        """
        statement = statements.read_pending(
            self.table, self.spec, what.kind, **_ends(key_range), after=after is not None, waiting=waiting
        )
        parameters = {
            **self._seed,
            **range_parameters(key_range),
            **bound_parameters("after", after),
            "since": what.since,
            "limit": limit,
        }
        return [PendingRow(row[:-2], row[-2], row[-1]) for row in self._database.fetch(statement, parameters)]

    def write(self, rows: Sequence[PendingRow], vectors: NDArray[np.float32]) -> int:
        """Writes the vectors of rows whose input is still what was read; returns how many that were.

        Args:
            rows: the rows as they were read.
            vectors: float32, shape (len(rows), dimension), in the order of the rows.
        """
        parameters = [
            {"vector": vector, "fingerprint": row.fingerprint, **self._seed, **bound_parameters("key", row.key)}
            for row, vector in zip(rows, vectors, strict=True)
        ]
        written = 0
        while parameters:
            group, parameters = parameters[: self._write_size.rows], parameters[self._write_size.rows :]
            started, retries = time.perf_counter(), self._database.retries
            written += self._database.execute_many(self._write, group)
            self._write_size.learn(len(group), time.perf_counter() - started, self._database.retries - retries)
        return written

    def clear(self, key_range: KeyRange, what: Pass) -> int:
        """Takes the vector from rows of a pass whose input is gone; returns how many rows that were."""
        if what.kind == "missing":
            return 0
        statement = statements.clear_vectors(self.table, self.spec, **_ends(key_range), edited=what.kind == "edited")
        parameters = {**range_parameters(key_range), "since": what.since, "limit": _CLEAR_AT_ONCE}
        cleared = 0
        while touched := self._database.execute(statement, parameters):
            cleared += touched
        return cleared

    def count(self, key_range: KeyRange) -> RowCounts:
        """Counts the rows of a key range; reads the whole range on the server."""
        errors = self.errors.count()
        statement = statements.count_rows(self.table, self.spec, **_ends(key_range), waiting=errors.waiting > 0)
        found = self._database.fetch_one(statement, {**self._seed, **range_parameters(key_range)})
        rows, embedded, pending, blank = found
        return RowCounts(rows, embedded, pending, blank, errors.total, errors.waiting)

    def count_missing(self, limit: int) -> int:
        """How many rows have no vector, no further than `limit`; costs what there is to count, not the table's size."""
        statement = statements.count_missing(self.table, self.spec, waiting=self.some_wait())
        return int(self._database.fetch_one(statement, {**self._seed, "limit": limit})[0])

    def count_edited(self, since: datetime, limit: int) -> tuple[int, datetime | None]:
        """How many rows updated at or after `since` have an outdated vector; through the index on `updated_at`.

        Returns:
            How many, no further than `limit`, and when the first of them was updated, None if there are none.
        """
        statement = statements.count_edited(self.table, self.spec, waiting=self.some_wait())
        count, oldest = self._database.fetch_one(statement, {**self._seed, "since": since, "limit": limit})
        return int(count), oldest

    def ranges_with_pending(self, ranges: Iterable[KeyRange], edited_since: datetime | None) -> Iterator[KeyRange]:
        """Those of some key ranges that hold a row without a vector, found as they are asked for.

        With `edited_since`, also those that hold a row updated since then whose vector is outdated.
        """
        waiting = self.some_wait()
        looks = [statements.has_missing] + ([] if edited_since is None else [statements.has_edited])
        for key_range in ranges:
            parameters = {**self._seed, **range_parameters(key_range), "since": edited_since}
            made = (look(self.table, self.spec, **_ends(key_range), waiting=waiting) for look in looks)
            if any(self._database.fetch(statement, parameters) for statement in made):
                yield key_range

    def locate(self, keys: Sequence[Bound], ranges: Sequence[KeyRange]) -> Counter[KeyRange]:
        """How many of some keys lie in each of the ranges that cover the table, given in key order."""
        bounds = [key_range.lower for key_range in ranges[1:] if key_range.lower is not None]
        if not bounds or not keys:
            return Counter({ranges[0]: len(keys)} if keys else {})
        statement = statements.locate_keys(self.table, bounds=len(bounds), keys=len(keys))
        parameters: dict[str, object] = {}
        for prefix, places in (("bound", bounds), ("key", keys)):
            for row, place in enumerate(places):
                parameters |= bound_parameters(f"{prefix}_{row}", place)
        return Counter({ranges[place]: count for place, count in self._database.fetch(statement, parameters)})

    def split(self, key_range: KeyRange, slices: int) -> tuple[int, list[KeyRange]]:
        """How many rows of a key range are pending, and at most `slices` ranges that share them evenly.

        The ranges together are the key range itself, so a row that arrives in between belongs to one of them.
        """
        statement = statements.slice_bounds(self.table, self.spec, **_ends(key_range), waiting=self.some_wait())
        found = self._database.fetch(statement, {**self._seed, **range_parameters(key_range), "slices": max(1, slices)})
        if not found:
            return 0, []
        bounds: list[Bound | None] = [key_range.lower, *(row[1:] for row in found[1:]), key_range.upper]
        return int(found[0][0]), [KeyRange(low, high) for low, high in pairwise(bounds)]


def _ends(key_range: KeyRange) -> _Ends:
    return {"lower": key_range.lower is not None, "upper": key_range.upper is not None}
