"""Two vector columns of one table compared: their neighbors of rows or of questions, latency and storage."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crdbvec_pipelines.database.chunks.table import vectors_of
from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.database.index.vector_index import VectorIndex
from crdbvec_pipelines.database.rows.embedded_sample import sample_keys
from crdbvec_pipelines.database.search.chunk_neighbors import neighbors_of
from crdbvec_pipelines.database.search.nearest import NearestNeighbors
from crdbvec_pipelines.database.search.query import SearchQuery
from crdbvec_pipelines.encoding.encoder import Encoder

DEFAULT_K = 10
DEFAULT_SAMPLE = 50
# The width of the interval changes little with more; the seed makes it the same in each run.
_RESAMPLES = 1_000
_CONFIDENCE_PERCENT = 95


@dataclass(frozen=True)
class Interval:
    """A mean, and its 95% confidence interval (percentile bootstrap over the queries)."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class ComparedQuery:
    """The neighbors of one query in both columns.

    Attributes:
        query: The key of the row, or the question.
        overlap: The share of common rows among the nearest ones of both.
        rank_correlation: Spearman's correlation of their ranks.
        first: The keys of the nearest rows in the first column.
        second: Those in the second column.
    """

    query: Any
    overlap: float
    rank_correlation: float
    first: list[tuple[Any, ...]]
    second: list[tuple[Any, ...]]


@dataclass(frozen=True)
class ColumnMeasures:
    """What searches of one column cost.

    Attributes:
        p50_ms: The median latency in milliseconds.
        p95_ms: Its 95th percentile.
        mean_distance: The mean distance of the nearest rows.
        index_bytes: The size of its index; None without one, or if the role may not read it.
        vector_bytes: The size of its vectors in full precision.
    """

    p50_ms: float
    p95_ms: float
    mean_distance: float
    index_bytes: int | None
    vector_bytes: int


@dataclass(frozen=True)
class Comparison:
    """Two columns compared.

    Attributes:
        k: The number of nearest rows that were compared.
        queries: The number of queries.
        overlap: The overlap at k.
        rank_correlation: Spearman's correlation of the ranks; a row that only one column found has the rank k + 1.
        first: The measures of the first column.
        second: Those of the second column.
        overlaps: The overlap of each query.
        most_different: The queries with the lowest overlap.
        inputs: The inputs of the rows that these queries found, by key.
    """

    k: int
    queries: int
    overlap: Interval
    rank_correlation: Interval
    first: ColumnMeasures
    second: ColumnMeasures
    overlaps: list[float] = field(repr=False)
    most_different: list[ComparedQuery]
    inputs: dict[tuple[Any, ...], Any] = field(repr=False)


@dataclass(frozen=True)
class _Found:
    inputs: dict[tuple[Any, ...], Any]
    distances: list[float]
    milliseconds: float

    @property
    def keys(self) -> list[tuple[Any, ...]]:
        return list(self.inputs)


Ask = Callable[[NearestNeighbors, Encoder, Any, int], _Found]


def compare_columns(
    columns: tuple[BoundColumn, BoundColumn],
    encoders: tuple[Encoder, Encoder],
    *,
    questions: Sequence[str] = (),
    sample: int = DEFAULT_SAMPLE,
    k: int = DEFAULT_K,
    examples: int = 5,
) -> Comparison:
    """Compare the nearest rows that searches find in two columns.

    Args:
        columns: The column that applications use, and the other one.
        encoders: Their models.
        questions: Texts to search for; without any, the rows nearest to rows of a sample are compared.
        sample: The number of rows of the sample.
        k: The number of nearest rows.
        examples: The number of queries to return, those with the lowest overlap.

    Raises:
        DatabaseError: The server rejected a search.
    """
    nearest = [neighbors_of(column) for column in columns]
    queries: Sequence[Any] = questions or sample_keys(columns[1], columns[0].spec.output, sample)
    ask: Ask = _ask_question if questions else _ask_row
    found = [
        [ask(searches, encoder, query, k) for query in queries]
        for searches, encoder in zip(nearest, encoders, strict=True)
    ]
    compared = [
        ComparedQuery(query, _overlap(one, other), _rank_correlation(one.keys, other.keys), one.keys, other.keys)
        for query, one, other in zip(queries, *found, strict=True)
    ]
    different = sorted(range(len(compared)), key=lambda number: compared[number].overlap)[:examples]
    first, second = (_measures(column, each) for column, each in zip(columns, found, strict=True))
    return Comparison(
        k,
        len(queries),
        _interval([each.overlap for each in compared]),
        _interval([each.rank_correlation for each in compared]),
        first,
        second,
        [each.overlap for each in compared],
        [compared[number] for number in different],
        {key: value for number in different for of_column in found for key, value in of_column[number].inputs.items()},
    )


def _ask_question(nearest: NearestNeighbors, encoder: Encoder, text: str, k: int) -> _Found:
    return _timed(nearest, encoder.encode_query(text), SearchQuery(limit=k))


def _ask_row(nearest: NearestNeighbors, encoder: Encoder, key: tuple[Any, ...], k: int) -> _Found:
    prefix = nearest.read_prefix(key)
    query = SearchQuery(limit=k, exclude_key=key, filters=prefix or None)
    return _timed(nearest, nearest.read_vector(key), query)


def _timed(nearest: NearestNeighbors, vector: NDArray[np.float32], query: SearchQuery) -> _Found:
    started = time.perf_counter()
    rows = nearest.find_once(vector, query)
    milliseconds = (time.perf_counter() - started) * 1_000
    # After the key, rows with chunks have the place of the nearest one.
    end = 2 + nearest.key_columns
    return _Found({tuple(row[2:end]): row[1] for row in rows}, [float(row[0]) for row in rows], milliseconds)


def _overlap(one: _Found, other: _Found) -> float:
    largest = max(len(one.keys), len(other.keys))
    return len(set(one.keys) & set(other.keys)) / largest if largest else 1.0


def _rank_correlation(one: Sequence[tuple[Any, ...]], other: Sequence[tuple[Any, ...]]) -> float:
    """Return Spearman's correlation of the ranks of the rows that either column found."""
    rows = list(dict.fromkeys([*one, *other]))
    if len(rows) < 2:
        return 1.0
    ranks = np.array([[_rank(row, found) for row in rows] for found in (one, other)], float)
    if (ranks.std(axis=1) == 0).any():
        return 1.0 if list(one) == list(other) else 0.0
    return float(np.corrcoef(ranks)[0, 1])


def _rank(row: tuple[Any, ...], found: Sequence[tuple[Any, ...]]) -> int:
    return found.index(row) + 1 if row in found else len(found) + 1


def _measures(column: BoundColumn, found: Sequence[_Found]) -> ColumnMeasures:
    p50, p95 = np.percentile([each.milliseconds for each in found] or [0.0], [50, 95])
    distances = [distance for each in found for distance in each.distances]
    sizes = VectorIndex(vectors_of(column)).sizes()
    return ColumnMeasures(
        float(p50),
        float(p95),
        float(np.mean(distances)) if distances else 0.0,
        sizes.index_bytes,
        sizes.full_precision_bytes,
    )


def _interval(values: Sequence[float]) -> Interval:
    if not values:
        return Interval(0.0, 0.0, 0.0)
    random = np.random.default_rng(0)
    means = np.asarray(values)[random.integers(0, len(values), (_RESAMPLES, len(values)))].mean(axis=1)
    tail = (100 - _CONFIDENCE_PERCENT) / 2
    low, high = np.percentile(means, [tail, 100 - tail])
    return Interval(float(np.mean(values)), float(low), float(high))
