"""Searches over 100,000 vectors: latency, recall, and correctness compared with a brute force in numpy.

The vectors have 384 dimensions and are generated: clusters in a space of 24 dimensions, as vectors of texts form them,
with some noise, so that no model is needed. The rows belong to 1,000 tenants of uneven size. Distances and rows are
compared with numpy; searches within a tenant are also checked for rows of other tenants.

    python -m benchmarks.nearest [--rows N] [--maintenance-work-mem 512MB]
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import psycopg
from numpy.typing import NDArray
from pgvector.psycopg import register_vector
from psycopg import sql

from benchmarks.bench_tables import INDEX, own_database, show
from crdbvec_pipelines.config import IndexSpec, Metric, vector_column
from crdbvec_pipelines.database.column import BoundColumn, bind_column
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.index.vector_index import VectorIndex
from crdbvec_pipelines.database.search.nearest import NearestNeighbors
from crdbvec_pipelines.database.search.query import SearchQuery
from crdbvec_pipelines.search.recall import RecallCurve, measure_recall

_DIMENSIONS = 384
_CLUSTER_DIMENSIONS = 24
_CLUSTERS = 300
_TENANTS = 1_000
_QUERIES = 200
K = 10

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class GeneratedModel:
    """The identity of the model that the generated vectors stand for."""

    model_id: str = "generated"
    dim: int = _DIMENSIONS
    metric: Metric = "cosine"


@dataclass(frozen=True)
class Corpus:
    """Vectors of length one, and the tenant of each."""

    vectors: Vectors
    tenants: NDArray[np.int64]


def generate(rows: int) -> Corpus:
    """Return the corpus, which is the same for the same number of rows."""
    random = np.random.default_rng(11)
    centers = random.normal(size=(_CLUSTERS, _CLUSTER_DIMENSIONS))
    inner = centers[random.integers(0, _CLUSTERS, rows)] + 0.6 * random.normal(size=(rows, _CLUSTER_DIMENSIONS))
    vectors = inner @ random.normal(size=(_CLUSTER_DIMENSIONS, _DIMENSIONS))
    vectors += 0.5 * random.normal(size=vectors.shape)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    weights = 1 / np.arange(1, _TENANTS + 1)
    return Corpus(vectors.astype(np.float32), random.choice(_TENANTS, rows, p=weights / weights.sum()))


def load(url: str, corpus: Corpus, memory: str) -> None:
    """Create and fill the table, and set the memory for the index build."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        register_vector(connection)
        connection.execute(
            sql.SQL("CREATE TABLE item (id INT8 PRIMARY KEY, tenant INT8, body TEXT, v VECTOR({}))").format(_DIMENSIONS)
        )
        with connection.cursor().copy("COPY item (id, tenant, v) FROM STDIN WITH (FORMAT BINARY)") as copy:
            copy.set_types(["int8", "int8", "vector"])
            for number, (vector, tenant) in enumerate(zip(corpus.vectors, corpus.tenants.tolist(), strict=True)):
                copy.write_row((number, tenant, vector))
        connection.execute("CREATE INDEX ON item (tenant)")
        connection.execute("VACUUM ANALYZE item")
        name = sql.Identifier(connection.info.dbname)
        connection.execute(sql.SQL("ALTER DATABASE {} SET maintenance_work_mem = {}").format(name, sql.Literal(memory)))


def build(column: BoundColumn) -> None:
    """Build the index, and print its build time and its size."""
    index = VectorIndex(column)
    started = time.perf_counter()
    index.build()
    seconds = time.perf_counter() - started
    sizes = index.sizes()
    print(
        f"index built in {seconds:.0f} s: {(sizes.index_bytes or 0) / 1e6:,.0f} MB; "
        f"vectors in full precision: {sizes.full_precision_bytes / 1e6:,.0f} MB"
    )


def check(nearest: NearestNeighbors, corpus: Corpus, effort: int | None) -> Sequence[Sequence[object]]:
    """Compare exact scan and index scan with numpy: the share of equal rows and the largest difference of distances."""
    random = np.random.default_rng(12)
    ends = random.integers(0, len(corpus.vectors), (_QUERIES, 2))
    vectors = corpus.vectors[ends].mean(axis=1)
    precise = corpus.vectors.astype(np.float64)
    lines = []
    for name, query in (("exact", SearchQuery(limit=K, exact=True)), ("index", SearchQuery(limit=K, effort=effort))):
        equal, largest_difference, seconds = [], 0.0, []
        for vector in vectors:
            distances = 1 - precise @ (vector / np.linalg.norm(vector)).astype(np.float64)
            # The query is the midpoint between two rows, which are therefore equally near: either is correct.
            farthest = np.sort(distances)[K - 1] + 1e-6
            started = time.perf_counter()
            rows = nearest.find_once(vector, query)
            seconds.append(time.perf_counter() - started)
            equal.append(sum(distances[row[2]] <= farthest for row in rows) / K)
            differences = [abs(float(row[0]) - float(distances[row[2]])) for row in rows]
            largest_difference = max(largest_difference, *differences)
        p50, p95 = np.percentile(seconds, [50, 95]) * 1000
        lines.append([name, f"{np.mean(equal):.4f}", f"{largest_difference:.1e}", float(p50), float(p95)])
    return lines


def check_tenants(nearest: NearestNeighbors, corpus: Corpus, effort: int | None) -> Sequence[Sequence[object]]:
    """Compare searches within tenants of several sizes with numpy, and count the index scans."""
    random = np.random.default_rng(13)
    order = np.argsort(-np.bincount(corpus.tenants, minlength=_TENANTS))
    lines = []
    for title, chosen in (
        ("10 largest", order[:10]),
        ("10 in the middle", order[495:505]),
        ("10 smallest", order[-10:]),
    ):
        equal, foreign_rows, seconds, index_scans = [], 0, [], 0
        for tenant in chosen.tolist():
            own = np.flatnonzero(corpus.tenants == tenant)
            vector = corpus.vectors[random.integers(0, len(corpus.vectors), 2)].mean(axis=0)
            distances = 1 - corpus.vectors[own] @ (vector / np.linalg.norm(vector))
            truth = own[np.argsort(distances, kind="stable")[:K]].tolist()
            started = time.perf_counter()
            result = nearest.find(vector, SearchQuery(limit=K, filters={"tenant": [tenant]}, effort=effort))
            seconds.append(time.perf_counter() - started)
            found = [row[2] for row in result.rows]
            foreign_rows += sum(corpus.tenants[number] != tenant for number in found)
            equal.append(len(set(found) & set(truth)) / len(truth) if truth else float(not found))
            index_scans += result.strategy == "index_scan"
        sizes = np.bincount(corpus.tenants, minlength=_TENANTS)[chosen]
        rows_each, p50 = f"{sizes.min():,} to {sizes.max():,}", float(np.median(seconds)) * 1000
        lines.append([title, rows_each, f"{np.mean(equal):.3f}", foreign_rows, index_scans, p50])
    return lines


def show_curve(curve: RecallCurve) -> None:
    """Print the measurements as `crdbvec index tune` does."""
    show(
        f"{curve.queries} queries between rows of the table; an exact scan takes {curve.exact_p50_ms:.1f} ms",
        [curve.setting, f"recall@{curve.k}", "worst", "p50 ms", "p95 ms"],
        [[m.effort, f"{m.recall:.3f}", f"{m.worst_recall:.1f}", m.p50_ms, m.p95_ms] for m in curve.measurements],
    )


def main() -> None:
    """Print the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--maintenance-work-mem", default="512MB", help="PostgreSQL's memory for the index build")
    options = parser.parse_args()
    corpus = generate(options.rows)
    spec = vector_column(table="item", input="body", output="v", model="generated", index=INDEX)
    with own_database() as url:
        load(url, corpus, options.maintenance_work_mem)
        with Database(url) as database:
            column = bind_column(database, spec, GeneratedModel())
            build(column)
            curve = measure_recall(column)
            show_curve(curve)
            smallest = curve.smallest_effort_with_recall(IndexSpec().wanted_recall)
            effort = smallest.effort if smallest else None
            nearest = NearestNeighbors(column)
            show(
                f"{_QUERIES} searches compared with numpy, {curve.setting} {effort or curve.default}",
                ["", "equal rows", "difference of distances", "p50 ms", "p95 ms"],
                check(nearest, corpus, effort),
            )
            show(
                "searches within a tenant",
                ["tenants", "rows each", "equal rows", "rows of other tenants", "index scans of 10", "p50 ms"],
                check_tenants(nearest, corpus, effort),
            )


if __name__ == "__main__":
    main()
