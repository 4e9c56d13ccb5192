"""The rows of one vector column, as the refresh loop sees them: pages of pending rows in, guarded writes out."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database import row_statements as statements
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.expressions import bound_parameters, fingerprint_seed, range_parameters
from crdbvec_pipelines.database.introspect import Table
from crdbvec_pipelines.database.row_statements import PendingKind
from crdbvec_pipelines.keyspace import Bound, KeyRange

_CLEAR_AT_ONCE = 1_000


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
        self._database = database
        self._seed = {"seed": fingerprint_seed(model_id)}
        self._write = statements.write_vector(table, spec)
        self._rows_per_write = database.dialect.rows_per_write

    @property
    def kinds(self) -> tuple[PendingKind, ...]:
        """The reasons to be pending that this column knows, in the order they are worked through."""
        return ("missing",) if self.spec.fingerprint_column is None else ("missing", "stale")

    @property
    def retries(self) -> int:
        """How many statements had to be sent again so far."""
        return self._database.retries

    def read(self, key_range: KeyRange, kind: PendingKind, after: Bound | None, limit: int) -> list[PendingRow]:
        """The next `limit` pending rows of a key range in key order, behind the key `after`."""
        statement = statements.read_pending(
            self.table,
            self.spec,
            kind,
            lower=key_range.lower is not None,
            upper=key_range.upper is not None,
            after=after is not None,
        )
        parameters = {**self._seed, **range_parameters(key_range), **bound_parameters("after", after), "limit": limit}
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
        size = self._rows_per_write
        return sum(
            self._database.execute_many(self._write, parameters[start : start + size])
            for start in range(0, len(parameters), size)
        )

    def clear(self, key_range: KeyRange) -> int:
        """Takes the vector from rows of a key range whose input is gone; returns how many rows that were."""
        if self.spec.fingerprint_column is None:
            return 0
        statement = statements.clear_vectors(self.table, self.spec, **_ends(key_range))
        parameters = {**range_parameters(key_range), "limit": _CLEAR_AT_ONCE}
        cleared = 0
        while touched := self._database.execute(statement, parameters):
            cleared += touched
        return cleared

    def count(self, key_range: KeyRange) -> RowCounts:
        """Counts the rows of a key range; reads the whole range on the server."""
        statement = statements.count_rows(self.table, self.spec, **_ends(key_range))
        return RowCounts(*self._database.fetch_one(statement, {**self._seed, **range_parameters(key_range)}))

    def split(self, key_range: KeyRange, slices: int) -> tuple[int, list[KeyRange]]:
        """How many rows of a key range are pending, and at most `slices` ranges that share them evenly.

        The ranges together are the key range itself, so a row that arrives in between belongs to one of them.
        """
        statement = statements.slice_bounds(self.table, self.spec, **_ends(key_range))
        found = self._database.fetch(statement, {**self._seed, **range_parameters(key_range), "slices": max(1, slices)})
        if not found:
            return 0, []
        bounds: list[Bound | None] = [key_range.lower, *(row[1:] for row in found[1:]), key_range.upper]
        return int(found[0][0]), [KeyRange(low, high) for low, high in pairwise(bounds)]


def _ends(key_range: KeyRange) -> dict[str, bool]:
    return {"lower": key_range.lower is not None, "upper": key_range.upper is not None}
