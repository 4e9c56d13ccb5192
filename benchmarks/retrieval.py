"""How good the answers are: the words of WordNet's synsets as queries, their gloss as the one right answer.

Three ways in one run: an exact search; a search by the vector index, at the server's default effort and at the smallest
ones that reach a recall of 0.95 and 0.99; the reference, plain sentence-transformers in float32 and numpy.
MRR@10 and recall@10 do not depend on the machine; latencies do.

    python -m benchmarks.retrieval                          # 20,000 glosses, 2,000 queries
    python -m benchmarks.retrieval --glosses FILE --rows N  # another file of the same form
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
from crdbvec_pipelines.config import VectorColumn, vector_column
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.introspect import Table, read_table
from crdbvec_pipelines.database.nearest import Nearest, Wish
from crdbvec_pipelines.database.rows import VectorRows
from crdbvec_pipelines.database.schema import ensure_schema
from crdbvec_pipelines.encoding.encoder import Encoder
from crdbvec_pipelines.encoding.registry import ModelRegistry
from crdbvec_pipelines.indexing import build_when_covered
from crdbvec_pipelines.keyspace import KeyRange
from crdbvec_pipelines.recall import measure_recall
from crdbvec_pipelines.refresh import refresh

K = 10
_WANTED_RECALLS = (0.95, 0.99)

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Synset:
    """A gloss and the words that it explains."""

    words: str
    gloss: str


@dataclass(frozen=True)
class Quality:
    """Of the queries of one way: how high the right answer stands, how often it is there, and the time of one."""

    way: str
    mrr: float
    recall: float
    p50: float


def read_synsets(file: Path, rows: int) -> list[Synset]:
    """The first `rows` synsets of a file, in an order without meaning."""
    synsets = [Synset(row["lemmas"].replace(";", ","), row["gloss"]) for row in read_rows(file)]
    random.Random(7).shuffle(synsets)
    return synsets[:rows]


def quality(way: str, answers: Sequence[Sequence[str]], right: Sequence[str], seconds: Sequence[float]) -> Quality:
    """Scores the glosses that each query found; two synsets with one gloss are each other's right answer."""
    ranks = [
        next((1 / place for place, gloss in enumerate(found[:K], start=1) if gloss == wanted), 0.0)
        for found, wanted in zip(answers, right, strict=True)
    ]
    found_at_all = [rank > 0 for rank in ranks]
    return Quality(way, float(np.mean(ranks)), float(np.mean(found_at_all)), float(np.median(seconds)) * 1000)


def prepare(database: Database, url: str, synsets: Sequence[Synset], encoder: Encoder) -> tuple[Table, VectorColumn]:
    """The table of glosses with vectors and index, made as `crdbvec embed` and `crdbvec index build` do."""
    spec = vector_column(table="gloss", input="gloss", output="v", model=MODEL, index=INDEX)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE gloss (id INT8 PRIMARY KEY, gloss TEXT)")
        with connection.cursor().copy("COPY gloss FROM STDIN") as copy:
            for number, synset in enumerate(synsets):
                copy.write_row((number, synset.gloss))
        table = ensure_schema(database, spec, encoder.dim, encoder.model_id)
        rows = VectorRows(database, table, spec, encoder.model_id)
        report = refresh(rows, encoder, KeyRange(), batch_size=512, workers=2)
        started = time.perf_counter()
        build_when_covered(database, spec, encoder)
        built = time.perf_counter() - started
        connection.execute("VACUUM ANALYZE gloss")
    print(f"{report.rows_embedded:,} glosses embedded in {report.seconds:.1f} s, indexed in {built:.1f} s")
    return read_table(database, spec.table), spec


def by_database(nearest: Nearest, way: str, queries: Sequence[Vectors], right: Sequence[str], wish: Wish) -> Quality:
    """Searches for each query as the product does."""
    answers, seconds = [], []
    for query in queries:
        started = time.perf_counter()
        rows = nearest.rows(query, wish)
        seconds.append(time.perf_counter() - started)
        answers.append([str(row[1]) for row in rows])
    return quality(way, answers, right, seconds)


def by_reference(synsets: Sequence[Synset], queries: Sequence[Synset]) -> Quality:
    """What a notebook would do: encode all, multiply, sort."""
    model = reference_model()
    started = time.perf_counter()
    corpus = model.encode([each.gloss for each in synsets], normalize_embeddings=True, show_progress_bar=False)
    seconds_of_corpus = time.perf_counter() - started
    asked = model.encode([each.words for each in queries], normalize_embeddings=True, show_progress_bar=False)
    print(f"sentence-transformers encoded the {len(synsets):,} glosses in {seconds_of_corpus:.1f} s")
    answers, seconds = [], []
    for query in asked:
        started = time.perf_counter()
        similarities = corpus @ query
        nearest = np.argpartition(-similarities, K)[:K]
        ordered = nearest[np.argsort(-similarities[nearest], kind="stable")]
        seconds.append(time.perf_counter() - started)
        answers.append([synsets[number].gloss for number in ordered])
    return quality("sentence-transformers, numpy", answers, [each.gloss for each in queries], seconds)


def main() -> None:
    """Prints a line a way."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=20_000, help="glosses")
    parser.add_argument("--queries", type=int, default=2_000, help="synsets whose words are searched for")
    parser.add_argument("--glosses", type=Path, default=GLOSSES, help="the file of synsets")
    options = parser.parse_args()
    synsets = read_synsets(options.glosses, options.rows)
    queries = synsets[: options.queries]
    right = [each.gloss for each in queries]
    encoder = ModelRegistry().load(MODEL)
    with own_database() as url, Database(url) as database:
        table, spec = prepare(database, url, synsets, encoder)
        vectors = [encoder.encode_query(each.words) for each in queries]
        nearest = Nearest(database, table, spec, "cosine")
        curve = measure_recall(database, table, spec, "cosine")
        found = [
            by_database(nearest, "exact", vectors, right, Wish(limit=K, exact=True)),
            by_database(nearest, f"index, {curve.setting} {curve.default}", vectors, right, Wish(limit=K)),
        ]
        for wanted in _WANTED_RECALLS:
            if (tuned := curve.smallest(wanted)) is not None:
                way, wish = f"index, {curve.setting} {tuned.effort} (for {wanted})", Wish(limit=K, effort=tuned.effort)
                found.append(by_database(nearest, way, vectors, right, wish))
    found.append(by_reference(synsets, queries))
    show(
        f"{len(synsets):,} glosses, {len(queries):,} queries",
        ["", f"MRR@{K}", f"recall@{K}", "p50 ms"],
        [[each.way, f"{each.mrr:.4f}", f"{each.recall:.4f}", each.p50] for each in found],
    )
    show(
        f"recall of the index against the exact search, {curve.queries} points between rows of the table",
        [curve.setting, f"recall@{K}", "worst", "p50 ms", "p95 ms"],
        [[m.effort, f"{m.recall:.3f}", f"{m.worst:.1f}", m.p50, m.p95] for m in curve.measurements],
    )


if __name__ == "__main__":
    main()
