"""Retrieval quality: the words of WordNet's synsets as queries, their gloss as the one correct result.

One run compares an exact scan, an index scan with the server's default search effort and with the smallest efforts that
reach a recall of 0.95 and 0.99, and the reference: sentence-transformers in float32 and numpy. MRR@10 and recall@10 do
not depend on the machine; latencies do.

    python -m benchmarks.retrieval                          # 20,000 glosses, 2,000 queries
    python -m benchmarks.retrieval --glosses FILE --rows N  # another file in the same format
"""

import argparse
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psycopg
from numpy.typing import NDArray

from benchmarks.bench_tables import GLOSSES, INDEX, MODEL, own_database, read_rows, reference_model, show
from crdbvec_pipelines.config import vector_column
from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.rows.vector_rows import VectorRows
from crdbvec_pipelines.database.schema.prepare import prepare_column
from crdbvec_pipelines.database.search.nearest import NearestNeighbors
from crdbvec_pipelines.database.search.query import SearchQuery
from crdbvec_pipelines.encoding.encoder import Encoder
from crdbvec_pipelines.encoding.registry import ModelRegistry
from crdbvec_pipelines.keyspace import KeyRange
from crdbvec_pipelines.refresh.engine import refresh
from crdbvec_pipelines.refresh.options import options_for
from crdbvec_pipelines.search.index_build import build_when_covered
from crdbvec_pipelines.search.recall import measure_recall

K = 10
_TARGET_RECALLS = (0.95, 0.99)

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Synset:
    """A gloss and the words that it defines."""

    words: str
    gloss: str


@dataclass(frozen=True)
class Quality:
    """The quality of one search method over all queries.

    Attributes:
        method: The method.
        mrr: The mean reciprocal rank of the correct gloss among the first ten rows.
        recall: The share of queries with the correct gloss among the first ten rows.
        p50_ms: The median latency in milliseconds.
    """

    method: str
    mrr: float
    recall: float
    p50_ms: float


def read_synsets(file: Path, rows: int) -> list[Synset]:
    """Return `rows` synsets of a file in a reproducible random order."""
    synsets = [Synset(row["lemmas"].replace(";", ","), row["gloss"]) for row in read_rows(file)]
    random.Random(7).shuffle(synsets)
    return synsets[:rows]


def quality(method: str, results: Sequence[Sequence[str]], correct: Sequence[str], seconds: Sequence[float]) -> Quality:
    """Return the quality of the glosses found by each query. Of synsets with equal glosses, either is correct."""
    reciprocal_ranks = [
        next((1 / rank for rank, gloss in enumerate(found[:K], start=1) if gloss == expected), 0.0)
        for found, expected in zip(results, correct, strict=True)
    ]
    is_found = [reciprocal_rank > 0 for reciprocal_rank in reciprocal_ranks]
    p50_ms = float(np.median(seconds)) * 1000
    return Quality(method, float(np.mean(reciprocal_ranks)), float(np.mean(is_found)), p50_ms)


def prepare(database: Database, url: str, synsets: Sequence[Synset], encoder: Encoder) -> BoundColumn:
    """Create the table of glosses, and embed and index it as `crdbvec embed` and `crdbvec index build` do."""
    spec = vector_column(table="gloss", input="gloss", output="v", model=MODEL, index=INDEX)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE gloss (id INT8 PRIMARY KEY, gloss TEXT)")
        with connection.cursor().copy("COPY gloss FROM STDIN") as copy:
            for number, synset in enumerate(synsets):
                copy.write_row((number, synset.gloss))
        column = prepare_column(database, spec, encoder)
        report = refresh(VectorRows(column), encoder, KeyRange(), options_for(spec, batch_size=512, workers=2))
        started = time.perf_counter()
        build_when_covered(column)
        build_seconds = time.perf_counter() - started
        connection.execute("VACUUM ANALYZE gloss")
    print(f"{report.rows_embedded:,} glosses embedded in {report.seconds:.1f} s, indexed in {build_seconds:.1f} s")
    return column


def by_database(
    nearest: NearestNeighbors, method: str, vectors: Sequence[Vectors], correct: Sequence[str], query: SearchQuery
) -> Quality:
    """Return the quality of searches in the database."""
    results, seconds = [], []
    for vector in vectors:
        started = time.perf_counter()
        rows = nearest.find_once(vector, query)
        seconds.append(time.perf_counter() - started)
        results.append([str(row[1]) for row in rows])
    return quality(method, results, correct, seconds)


def by_reference(synsets: Sequence[Synset], queries: Sequence[Synset]) -> Quality:
    """Return the quality of a search in memory: encode all texts, multiply, sort."""
    model = reference_model()
    started = time.perf_counter()
    corpus = model.encode([each.gloss for each in synsets], normalize_embeddings=True, show_progress_bar=False)
    corpus_seconds = time.perf_counter() - started
    vectors = model.encode([each.words for each in queries], normalize_embeddings=True, show_progress_bar=False)
    print(f"sentence-transformers encoded the {len(synsets):,} glosses in {corpus_seconds:.1f} s")
    results, seconds = [], []
    for vector in vectors:
        started = time.perf_counter()
        similarities = corpus @ vector
        nearest = np.argpartition(-similarities, K)[:K]
        ordered = nearest[np.argsort(-similarities[nearest], kind="stable")]
        seconds.append(time.perf_counter() - started)
        results.append([synsets[number].gloss for number in ordered])
    return quality("sentence-transformers and numpy", results, [each.gloss for each in queries], seconds)


def main() -> None:
    """Print one line per method."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=20_000, help="glosses")
    parser.add_argument("--queries", type=int, default=2_000, help="synsets whose words are the queries")
    parser.add_argument("--glosses", type=Path, default=GLOSSES, help="the file of synsets")
    options = parser.parse_args()
    synsets = read_synsets(options.glosses, options.rows)
    queries = synsets[: options.queries]
    correct = [each.gloss for each in queries]
    encoder = ModelRegistry().load(MODEL)
    with own_database() as url, Database(url) as database:
        column = prepare(database, url, synsets, encoder)
        vectors = [encoder.encode_query(each.words) for each in queries]
        nearest = NearestNeighbors(column)
        curve = measure_recall(column)
        measured = [
            by_database(nearest, "exact", vectors, correct, SearchQuery(limit=K, exact=True)),
            by_database(nearest, f"index, {curve.setting} {curve.default}", vectors, correct, SearchQuery(limit=K)),
        ]
        for target_recall in _TARGET_RECALLS:
            if (smallest := curve.smallest_effort_with_recall(target_recall)) is not None:
                method = f"index, {curve.setting} {smallest.effort} (for {target_recall})"
                query = SearchQuery(limit=K, effort=smallest.effort)
                measured.append(by_database(nearest, method, vectors, correct, query))
    measured.append(by_reference(synsets, queries))
    show(
        f"{len(synsets):,} glosses, {len(queries):,} queries",
        ["", f"MRR@{K}", f"recall@{K}", "p50 ms"],
        [[each.method, f"{each.mrr:.4f}", f"{each.recall:.4f}", each.p50_ms] for each in measured],
    )
    show(
        f"recall of the index compared with the exact scan, {curve.queries} queries between rows of the table",
        [curve.setting, f"recall@{K}", "worst", "p50 ms", "p95 ms"],
        [[m.effort, f"{m.recall:.3f}", f"{m.worst_recall:.1f}", m.p50_ms, m.p95_ms] for m in curve.measurements],
    )


if __name__ == "__main__":
    main()
