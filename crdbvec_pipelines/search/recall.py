"""Recall and latency of the vector index at several search efforts, measured on the rows of the table.

Recall at k is the share of the exact k nearest rows that the index scan returns. Each query is the midpoint between two
sampled rows, with the prefix values of one of them if the index has a prefix. The rows themselves would be too easy as
queries, because the index contains them and finds their neighbors directly; a text that a user types lies between rows.
"""

import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crdbvec_pipelines.database.chunks.table import vectors_of
from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.database.search.nearest import NearestNeighbors
from crdbvec_pipelines.database.search.query import Filters, SearchQuery
from crdbvec_pipelines.database.search.statements import sample_vectors

DEFAULT_K = 10
# The standard error of the mean is a seventh of the spread of single queries; more queries take proportionally longer.
DEFAULT_QUERIES = 50


@dataclass(frozen=True)
class Measurement:
    """The measured values of one search effort.

    Attributes:
        effort: Beam size or ef_search.
        recall: The mean recall at k over the queries.
        worst_recall: The lowest recall of a query.
        p50_ms: The median latency of the index scan in milliseconds, including the transfer of the rows.
        p95_ms: Its 95th percentile.
        used_index: Whether the server used the index for all queries; otherwise the values do not describe the index.
    """

    effort: int
    recall: float
    worst_recall: float
    p50_ms: float
    p95_ms: float
    used_index: bool


@dataclass(frozen=True)
class RecallCurve:
    """Measurements by increasing effort.

    Attributes:
        setting: The server's name of the search effort.
        default: The server's default effort.
        k: The number of nearest rows that each query requested.
        queries: The number of queries.
        exact_p50_ms: The median latency of the exact scan in milliseconds.
        measurements: One measurement per effort.
    """

    setting: str
    default: int
    k: int
    queries: int
    exact_p50_ms: float
    measurements: tuple[Measurement, ...]

    def smallest_effort_with_recall(self, target_recall: float) -> Measurement | None:
        """Return the measurement of the smallest effort at which the index reaches a recall."""
        return next((each for each in self.measurements if each.used_index and each.recall >= target_recall), None)

    def at(self, effort: int | None) -> Measurement | None:
        """Return the measurement of an effort, or of the largest measured effort below it; None is the default."""
        limit = effort or self.default
        return next((each for each in reversed(self.measurements) if each.effort <= limit), None)

    def verdict(self, effort: int | None, wanted_recall: float) -> str:
        """Return what the measurements say about the index, in one or two sentences.

        Args:
            effort: The effort of the searches; None is the default.
            wanted_recall: The recall that the index should reach.
        """
        if not self.queries:
            return "No row has a vector."
        measured = self.at(effort) or self.measurements[0]
        if not measured.used_index:
            return (
                "The server did not use the index for all of these searches, so that they do not measure it. It scans "
                "small tables, because that is faster."
            )
        setting = f"{self.setting} = {measured.effort}"
        text = f"Recall at {self.k} is {measured.recall:.3f} with {setting}; {wanted_recall:g} is wanted."
        if measured.recall >= wanted_recall:
            return text
        smallest = self.smallest_effort_with_recall(wanted_recall)
        if smallest is None:
            return f"{text} No measured value reaches it."
        return f"{text} The smallest measured value that reaches it is {smallest.effort}; set index.effort to it."


def measure_recall(
    column: BoundColumn,
    *,
    queries: int = DEFAULT_QUERIES,
    k: int = DEFAULT_K,
    efforts: Sequence[int] = (),
    index: str | None = None,
) -> RecallCurve:
    """Compare index scan and exact scan at several efforts.

    Args:
        column: The vector column, with its index.
        queries: The number of queries.
        k: The number of nearest rows that each query requests.
        efforts: Beam sizes or values of ef_search; by default those suited to the server and the configured one.
        index: The only index to measure; None for the one that searches use.

    Raises:
        DatabaseError: The server rejected a search.
    """
    column = vectors_of(column)
    nearest = NearestNeighbors(column, index)
    effort_setting = nearest.effort
    sampled = sample_queries(column, queries)
    exact = [
        _timed_search(nearest, vector, SearchQuery(limit=k, filters=filters, exact=True)) for vector, filters in sampled
    ]
    configured = column.spec.index.effort if column.spec.index else None
    measurements = []
    for effort in sorted(set(efforts)) or effort_setting.measured(configured):
        found = [
            _timed_search(nearest, vector, SearchQuery(limit=k, filters=filters, effort=effort))
            for vector, filters in sampled
        ]
        measurements.append(_measurement(effort, found, exact))
    milliseconds = [each.milliseconds for each in exact]
    return RecallCurve(
        effort_setting.setting,
        effort_setting.default,
        k,
        len(sampled),
        float(np.median(milliseconds)) if milliseconds else 0.0,
        tuple(measurements),
    )


def sample_queries(column: BoundColumn, size: int) -> list[tuple[NDArray[np.float32], Filters]]:
    """Return the midpoints between sampled rows, each with a filter for the prefix values of one of the two rows."""
    prefix = [column.table.columns[name] for name in (column.spec.index.prefix if column.spec.index else ())]
    statement = sample_vectors(column, prefix, has_lower=False, has_upper=False).as_of("follower_read")
    sampled = column.database.fetch(statement, {"size": size})
    vectors = [np.asarray(vector, np.float32) for vector, *_ in sampled]
    # Rows with neighboring keys may have similar inputs, so each row is paired with one half the sample later.
    half = len(vectors) // 2
    partners = vectors[half:] + vectors[:half]
    # The values of the prefix columns are followed by the key.
    filters = [{part.name: [value] for part, value in zip(prefix, row[1:], strict=False)} for row in sampled]
    midpoints = [(one + other) * np.float32(0.5) for one, other in zip(vectors, partners, strict=True)]
    return list(zip(midpoints, filters, strict=True))


@dataclass(frozen=True)
class _TimedSearch:
    rows: list[tuple[Hashable, float]]
    milliseconds: float
    used_index: bool


def _timed_search(nearest: NearestNeighbors, vector: NDArray[np.float32], query: SearchQuery) -> _TimedSearch:
    started = time.perf_counter()
    rows = nearest.find_once(vector, query)
    milliseconds = (time.perf_counter() - started) * 1000
    used_index = not query.exact and nearest.uses_index(vector, query)
    return _TimedSearch([(tuple(row[2:]), float(row[0])) for row in rows], milliseconds, used_index)


def _measurement(effort: int, found: Sequence[_TimedSearch], exact: Sequence[_TimedSearch]) -> Measurement:
    recalls = [nearest_share(each.rows, truth.rows) for each, truth in zip(found, exact, strict=True)] or [0.0]
    p50, p95 = np.percentile([each.milliseconds for each in found] or [0.0], [50, 95])
    used_index = bool(found) and all(each.used_index for each in found)
    return Measurement(effort, float(np.mean(recalls)), float(min(recalls)), float(p50), float(p95), used_index)


def nearest_share(found: Sequence[tuple[Hashable, float]], nearest: Sequence[tuple[Hashable, float]]) -> float:
    """Return the share of the nearest rows that a search found; 1 if there are none.

    A row as near as the farthest of the nearest rows counts as one of them.

    Args:
        found: The key and the distance of each row that the search found.
        nearest: Those of the rows of an exact scan, nearest first.
    """
    if not nearest:
        return 1.0
    keys, farthest = {key for key, _ in nearest}, nearest[-1][1] + 1e-6
    hits = sum(key in keys or distance <= farthest for key, distance in found)
    return min(1.0, hits / len(nearest))
