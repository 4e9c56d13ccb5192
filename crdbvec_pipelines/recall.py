"""How well the vector index answers on the user's own rows: recall and latency at several efforts.

The queries lie half-way between sampled rows, each searched within a row's own prefix values where the index has a
prefix. Rows themselves would be too easy: they are in the index, and lead to their neighbours at once, where a text
that somebody types lies between them. Recall at k is the share of the exact k nearest rows that the index finds too.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.introspect import Table
from crdbvec_pipelines.database.nearest import Nearest, Where, Wish
from crdbvec_pipelines.database.similarity import sample_vectors
from crdbvec_pipelines.encoding.contract import Metric

K = 10
QUERIES = 50


@dataclass(frozen=True)
class Measurement:
    """What one effort gives.

    Attributes:
        effort: beam size or ef_search.
        recall: mean recall at k over the queries.
        worst: the smallest recall of a query.
        p50: median latency of the index search in milliseconds, the database's answer included.
        p95: its 95th percentile.
        by_index: whether the server answered all queries by the index; where it did not, the figures are of no use.
    """

    effort: int
    recall: float
    worst: float
    p50: float
    p95: float
    by_index: bool


@dataclass(frozen=True)
class RecallCurve:
    """Measurements by rising effort.

    Attributes:
        setting: what the effort is called on the server.
        default: its default there.
        k: how many nearest rows each query wanted.
        queries: how many were asked.
        exact_p50: the exact search's median latency in milliseconds.
        measurements: one an effort.
    """

    setting: str
    default: int
    k: int
    queries: int
    exact_p50: float
    measurements: tuple[Measurement, ...]

    def smallest(self, wanted: float) -> Measurement | None:
        """The measurement of the smallest effort whose recall, by the index, is at least `wanted`."""
        return next((each for each in self.measurements if each.by_index and each.recall >= wanted), None)

    def at(self, effort: int | None) -> Measurement | None:
        """The measurement of an effort, or of the nearest measured one below it."""
        asked = effort or self.default
        return next((each for each in reversed(self.measurements) if each.effort <= asked), None)


def measure_recall(
    database: Database,
    table: Table,
    spec: VectorColumn,
    metric: Metric,
    *,
    queries: int = QUERIES,
    k: int = K,
    efforts: Sequence[int] = (),
) -> RecallCurve:
    """Compares index and exact search on sampled rows at several efforts.

    Args:
        database: an open connection.
        table: the table, with the vector column and its index.
        spec: what the configuration says.
        metric: the column's metric.
        queries: how many to ask.
        k: how many nearest rows each query wants.
        efforts: beam sizes or values of ef_search, rising; those worth trying on the server if empty.

    Raises:
        DatabaseError: the server refused a search.
    """
    nearest = Nearest(database, table, spec, metric)
    support = database.dialect.vectors
    sampled = sample_queries(database, table, spec, queries)
    exact = [_ask(nearest, vector, Wish(limit=k, where=where, exact=True)) for vector, where in sampled]
    configured = spec.index.effort if spec.index else None
    tried = sorted({*(efforts or support.effort.choices), *([configured] if configured and not efforts else [])})
    measurements = []
    for effort in tried:
        found = [_ask(nearest, vector, Wish(limit=k, where=where, effort=effort)) for vector, where in sampled]
        measurements.append(_measurement(effort, found, exact))
    milliseconds = [each.milliseconds for each in exact]
    return RecallCurve(
        support.effort.setting,
        support.effort.default,
        k,
        len(sampled),
        float(np.median(milliseconds)) if milliseconds else 0.0,
        tuple(measurements),
    )


def sample_queries(
    database: Database, table: Table, spec: VectorColumn, size: int
) -> list[tuple[NDArray[np.float32], Where]]:
    """Queries half-way between sampled rows, and the filter that keeps each among the rows of one row's prefix."""
    prefix = [table.columns[name] for name in (spec.index.prefix if spec.index else ())]
    sampled = database.fetch(sample_vectors(table, spec, prefix), {"size": size})
    vectors = [np.asarray(vector, np.float32) for vector, *_ in sampled]
    # Keys that follow one another may belong together; half the sample apart they hardly do.
    half = len(vectors) // 2
    others = vectors[half:] + vectors[:half]
    filters = [{column.name: [value] for column, value in zip(prefix, row[1:], strict=True)} for row in sampled]
    middles = [(one + other) * np.float32(0.5) for one, other in zip(vectors, others, strict=True)]
    return list(zip(middles, filters, strict=True))


@dataclass(frozen=True)
class _Asked:
    keys: list[tuple[Any, ...]]
    distances: list[float]
    milliseconds: float
    by_index: bool


def _ask(nearest: Nearest, vector: NDArray[np.float32], wish: Wish) -> _Asked:
    started = time.perf_counter()
    rows = nearest.rows(vector, wish)
    milliseconds = (time.perf_counter() - started) * 1000
    by_index = not wish.exact and nearest.would_use_index(vector, wish)
    return _Asked([tuple(row[2:]) for row in rows], [float(row[0]) for row in rows], milliseconds, by_index)


def _measurement(effort: int, found: Sequence[_Asked], exact: Sequence[_Asked]) -> Measurement:
    recalls = [_recall(each, truth) for each, truth in zip(found, exact, strict=True)] or [0.0]
    milliseconds = [each.milliseconds for each in found] or [0.0]
    p50, p95 = np.percentile(milliseconds, [50, 95])
    by_index = bool(found) and all(each.by_index for each in found)
    return Measurement(effort, float(np.mean(recalls)), float(min(recalls)), float(p50), float(p95), by_index)


def _recall(found: _Asked, truth: _Asked) -> float:
    """The share of the true rows that were found; a row exactly as near as the farthest true one counts as true."""
    if not truth.keys:
        return 1.0
    true, farthest = set(truth.keys), truth.distances[-1] + 1e-6
    hits = sum(key in true or distance <= farthest for key, distance in zip(found.keys, found.distances, strict=True))
    return min(1.0, hits / len(truth.keys))


def picture(curve: RecallCurve, title: str, wanted: float) -> bytes:
    """The curve of recall over latency as a small PNG (under 50 kB)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 3.4), dpi=90, layout="constrained")
    axes = figure.subplots()
    latencies = [each.p50 for each in curve.measurements]
    recalls = [each.recall for each in curve.measurements]
    axes.plot(latencies, recalls, marker="o", color="#4f43dd")
    for each in curve.measurements:
        axes.annotate(
            str(each.effort), (each.p50, each.recall), textcoords="offset points", xytext=(4, -11), fontsize=8
        )
    axes.axhline(wanted, color="#c0392b", linewidth=1, linestyle="--", label=f"wanted {wanted:g}")
    axes.set(xlabel=f"median latency, ms (labels: {curve.setting})", ylabel=f"recall at {curve.k}", title=title)
    axes.set_ylim(min([*recalls, wanted]) - 0.05, 1.02)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", fontsize=8)
    stream = BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()
