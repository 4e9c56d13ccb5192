"""Searches over 100,000 vectors: how fast, how many of the true nearest, and whether they are right at all.

The vectors have 384 dimensions and are made up: heaps in a space of a few dozen dimensions, as those of texts are, with
some noise, so that nothing has to be encoded. The rows belong to 1,000 tenants of uneven size. Distances and rows are
compared with a brute force in numpy; the tenants' searches also for rows of anybody else.

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
from crdbvec_pipelines.config import VectorColumn, vector_column
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.introspect import read_table
from crdbvec_pipelines.database.nearest import Nearest, Wish
from crdbvec_pipelines.database.vector_index import VectorIndex
from crdbvec_pipelines.recall import RecallCurve, measure_recall

_DIMENSIONS = 384
_TRUE_DIMENSIONS = 24
_HEAPS = 300
_TENANTS = 1_000
_QUERIES = 200
_WANTED = 0.95
K = 10

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Corpus:
    """Vectors of length one, and whose each is."""

    vectors: Vectors
    tenants: NDArray[np.int64]


def make(rows: int) -> Corpus:
    """The corpus; the same for the same number of rows."""
    random = np.random.default_rng(11)
    centres = random.normal(size=(_HEAPS, _TRUE_DIMENSIONS))
    inner = centres[random.integers(0, _HEAPS, rows)] + 0.6 * random.normal(size=(rows, _TRUE_DIMENSIONS))
    vectors = inner @ random.normal(size=(_TRUE_DIMENSIONS, _DIMENSIONS))
    vectors += 0.5 * random.normal(size=vectors.shape)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    weights = 1 / np.arange(1, _TENANTS + 1)
    return Corpus(vectors.astype(np.float32), random.choice(_TENANTS, rows, p=weights / weights.sum()))


def load(url: str, corpus: Corpus, memory: str) -> None:
    """The table, with its vectors, and room for the index to be built in."""
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


def build(url: str, spec: VectorColumn) -> None:
    """Builds the index, and says how long that took and how large it is."""
    with Database(url) as database:
        index = VectorIndex(database, read_table(database, spec.table), spec, "cosine", _DIMENSIONS)
        started = time.perf_counter()
        index.build()
        seconds = time.perf_counter() - started
        sizes = index.sizes()
    print(
        f"index built in {seconds:.0f} s: {(sizes.index or 0) / 1e6:,.0f} MB; "
        f"the vectors in full precision take {sizes.full_precision / 1e6:,.0f} MB"
    )


def check(nearest: Nearest, corpus: Corpus, effort: int | None) -> Sequence[Sequence[object]]:
    """Exact and index search against numpy: how many rows are the same, and how far the distances are apart."""
    random = np.random.default_rng(12)
    ends = random.integers(0, len(corpus.vectors), (_QUERIES, 2))
    queries = corpus.vectors[ends].mean(axis=1)
    precise = corpus.vectors.astype(np.float64)
    lines = []
    for way, wish in (("exact", Wish(limit=K, exact=True)), ("index", Wish(limit=K, effort=effort))):
        same, apart, seconds = [], 0.0, []
        for query in queries:
            distances = 1 - precise @ (query / np.linalg.norm(query)).astype(np.float64)
            # The query lies half-way between two rows, so that these are equally far: either is right.
            farthest = np.sort(distances)[K - 1] + 1e-6
            started = time.perf_counter()
            rows = nearest.rows(query, wish)
            seconds.append(time.perf_counter() - started)
            same.append(sum(distances[row[2]] <= farthest for row in rows) / K)
            apart = max(apart, max(abs(float(row[0]) - float(distances[row[2]])) for row in rows))
        p50, p95 = np.percentile(seconds, [50, 95]) * 1000
        lines.append([way, f"{np.mean(same):.4f}", f"{apart:.1e}", float(p50), float(p95)])
    return lines


def check_tenants(nearest: Nearest, corpus: Corpus, effort: int | None) -> Sequence[Sequence[object]]:
    """Searches within tenants of every size against numpy, and how each was answered."""
    random = np.random.default_rng(13)
    order = np.argsort(-np.bincount(corpus.tenants, minlength=_TENANTS))
    lines = []
    for title, chosen in (
        ("10 largest", order[:10]),
        ("10 in the middle", order[495:505]),
        ("10 smallest", order[-10:]),
    ):
        same, strangers, seconds, by_index = [], 0, [], 0
        for tenant in chosen.tolist():
            own = np.flatnonzero(corpus.tenants == tenant)
            query = corpus.vectors[random.integers(0, len(corpus.vectors), 2)].mean(axis=0)
            distances = 1 - corpus.vectors[own] @ (query / np.linalg.norm(query))
            truth = own[np.argsort(distances, kind="stable")[:K]].tolist()
            started = time.perf_counter()
            answer = nearest.find(query, Wish(limit=K, where={"tenant": [tenant]}, effort=effort))
            seconds.append(time.perf_counter() - started)
            found = [row[2] for row in answer.rows]
            strangers += sum(corpus.tenants[number] != tenant for number in found)
            same.append(len(set(found) & set(truth)) / len(truth) if truth else float(not found))
            by_index += answer.by_index
        sizes = np.bincount(corpus.tenants, minlength=_TENANTS)[chosen]
        rows_each, p50 = f"{sizes.min():,} to {sizes.max():,}", float(np.median(seconds)) * 1000
        lines.append([title, rows_each, f"{np.mean(same):.3f}", strangers, by_index, p50])
    return lines


def show_curve(curve: RecallCurve) -> None:
    """Prints what `crdbvec index tune` would."""
    show(
        f"{curve.queries} queries between rows of the table; an exact search takes {curve.exact_p50:.1f} ms",
        [curve.setting, f"recall@{curve.k}", "worst", "p50 ms", "p95 ms"],
        [[m.effort, f"{m.recall:.3f}", f"{m.worst:.1f}", m.p50, m.p95] for m in curve.measurements],
    )


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--maintenance-work-mem", default="512MB", help="what PostgreSQL builds the index in")
    options = parser.parse_args()
    corpus = make(options.rows)
    spec = vector_column(table="item", input="body", output="v", model="made_up", index=INDEX)
    with own_database() as url:
        load(url, corpus, options.maintenance_work_mem)
        build(url, spec)
        with Database(url) as database:
            table = read_table(database, spec.table)
            curve = measure_recall(database, table, spec, "cosine")
            show_curve(curve)
            tuned = curve.smallest(_WANTED)
            effort = tuned.effort if tuned else None
            nearest = Nearest(database, table, spec, "cosine")
            show(
                f"{_QUERIES} searches against numpy, {curve.setting} {effort or curve.default}",
                ["", "the same rows", "distances apart", "p50 ms", "p95 ms"],
                check(nearest, corpus, effort),
            )
            show(
                "searches within a tenant",
                ["tenants", "rows each", "the same rows", "rows of others", "of 10 by the index", "p50 ms"],
                check_tenants(nearest, corpus, effort),
            )


if __name__ == "__main__":
    main()
