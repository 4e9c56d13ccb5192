"""Similarity searches over a chunk table: each row is found by its nearest chunk, and the limit counts rows."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from crdbvec_pipelines.database.chunks.table import bind_chunks
from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.database.connection import Row
from crdbvec_pipelines.database.errors import TableError
from crdbvec_pipelines.database.expressions import bound_parameters
from crdbvec_pipelines.database.search.chunk_statements import (
    nearest_chunks_exact,
    nearest_chunks_indexed,
    vectors_of_row,
)
from crdbvec_pipelines.database.search.invalid_filters import check_columns, translate_invalid_values
from crdbvec_pipelines.database.search.nearest import NearestNeighbors, NearestResult, within_distance
from crdbvec_pipelines.database.search.query import SearchQuery
from crdbvec_pipelines.database.search.statements import SearchClauses
from crdbvec_pipelines.database.search.strategy import SearchDecision
from crdbvec_pipelines.database.statement import Statement

CHUNK_FIELDS = 4
"""The values after those of a row: number, start, end and stored text of its nearest chunk."""

# An index scan returns this many times as many chunks as rows are requested, because several may be of one row, and
# filters apply to their rows. If they are too few, it returns more, and at the end every chunk is compared.
_FACTORS = (10, 40, 160)
_MAX_CHUNKS = 10_000
# Rows more than requested: those that were edited and not yet embedded again are left out.
_SPARE_ROWS = 10
_GROWTH = 4


class ChunkNeighbors(NearestNeighbors):
    """Similarity searches over one vector column with chunks on an open database.

    The rows of a result have the fields of `CHUNK_FIELDS` at their end. A row that was edited and not yet embedded
    again is not found, because its chunks are not those of its input.
    """

    def _column_with_vectors(self) -> BoundColumn:
        return bind_chunks(self._column)

    def find(self, vector: NDArray[np.float32], query: SearchQuery) -> NearestResult:
        """Return the rows nearest to a vector; see `NearestNeighbors.find`."""
        check_columns(self._table, query)
        choice = self._choice(replace(query, max_distance=None))
        decision = choice.decision
        if decision.strategy == "exact_scan":
            return _result(decision, self._find_exact(vector, query, decision))
        for factor in _FACTORS:
            fetch = min(_MAX_CHUNKS, factor * query.limit)
            decision = replace(decision, fetch=fetch)
            search = self._build(vector, _limited(query, fetch), replace(choice, decision=decision))
            rows = _current(self._fetch(search))
            near = within_distance(rows, query)
            # A row that is too far shows that all nearer ones have been found.
            if len(near) >= query.limit or len(near) < len(rows):
                used = self._used_index(search)
                if used is None:
                    why = f"Exact scan: the server estimated it to be cheaper than the index {decision.index}."
                    decision = replace(decision, strategy="exact_scan", index=None, reason=why)
                return _result(decision, near[: query.limit])
            if fetch == _MAX_CHUNKS:
                break
        why = f"Exact scan: the index {decision.index} returned only {len(near):,} of {query.limit:,} rows."
        decision = replace(self._choose(replace(query, exact=True)), reason=why)
        return _result(decision, self._find_exact(vector, query, decision))

    def find_once(self, vector: NDArray[np.float32], query: SearchQuery) -> list[Row]:
        """Return the rows of the chosen strategy; see `NearestNeighbors.find_once`."""
        return within_distance(_current(super().find_once(vector, query)), query)

    def read_vector(self, key: Sequence[object]) -> NDArray[np.float32]:
        """Return the mean of the vectors of the chunks of the row with a key; see `NearestNeighbors.read_vector`."""
        self._check_key(key)
        with translate_invalid_values():
            found = self._database.fetch(vectors_of_row(self._column), bound_parameters("key", key))
        vectors = [vector for (vector,) in found if vector is not None]
        if not vectors:
            raise TableError(self._without_vector(key, exists=bool(found)))
        mean: NDArray[np.float32] = np.asarray(vectors, np.float32).mean(axis=0)
        return mean

    def _find_exact(self, vector: NDArray[np.float32], query: SearchQuery, decision: SearchDecision) -> list[Row]:
        fetch = query.limit + _SPARE_ROWS
        while True:
            choice = replace(self._choice(replace(query, exact=True)), decision=decision)
            found = self._fetch(self._build(vector, _limited(query, fetch), choice))
            near = within_distance(_current(found), query)
            if len(near) >= query.limit or len(found) < fetch:
                return near[: query.limit]
            fetch *= _GROWTH

    def _statement(self, decision: SearchDecision, clauses: SearchClauses) -> tuple[Statement, Mapping[str, object]]:
        build = nearest_chunks_exact if decision.strategy == "exact_scan" else nearest_chunks_indexed
        return build(self._column, clauses), self._column.seed

    def _choose(self, query: SearchQuery, known_values: Mapping[str, int] | None = None) -> SearchDecision:
        """Return how a search is executed: only the prefix columns are part of a scan of the index of the chunks."""
        decision = super()._choose(query, known_values)
        if decision.index is None:
            return decision
        prefix = self._indexes[decision.index].prefix
        others = tuple(name for name in query.filters or {} if name not in prefix)
        fetch = min(_MAX_CHUNKS, _FACTORS[0] * query.limit)
        return replace(decision, filters_inside=tuple(prefix), filters_outside=others, fetch=fetch, is_iterative=True)


def neighbors_of(column: BoundColumn) -> NearestNeighbors:
    """Return the similarity searches over a column, by chunks if its entry says so.

    Raises:
        TableError: The entry has chunks, and there is no chunk table yet.
    """
    return NearestNeighbors(column) if column.spec.chunking is None else ChunkNeighbors(column)


def _limited(query: SearchQuery, limit: int) -> SearchQuery:
    return replace(query, limit=limit, max_distance=None)


def _current(rows: Sequence[Row]) -> list[Row]:
    """Return the rows whose input is the one that the chunks were made from, without this field."""
    return [row[:-1] for row in rows if row[-1]]


def _result(decision: SearchDecision, rows: list[Row]) -> NearestResult:
    return NearestResult(rows, decision.strategy, decision.reason, decision.index)
