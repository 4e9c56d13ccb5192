"""Search by vectors, by keywords and by both, for questions of several kinds (`question_kinds`).

The configuration is the default one. MRR@10, recall@10 and nDCG@10 do not depend on the machine, but on the version of
Python, from whose standard library the texts come.

    python -m benchmarks.search_modes                    # at most 100 questions of each kind
    python -m benchmarks.search_modes --questions 200
"""

import argparse
import statistics
import time
from collections.abc import Sequence

import psycopg

from benchmarks.bench_tables import MODEL, own_database, show
from benchmarks.question_kinds import Kind, all_kinds
from crdbvec_pipelines.config import vector_column
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.rows.vector_rows import VectorRows
from crdbvec_pipelines.database.schema.prepare import prepare_column
from crdbvec_pipelines.encoding.encoder import Encoder
from crdbvec_pipelines.encoding.registry import ModelRegistry
from crdbvec_pipelines.keyspace import KeyRange
from crdbvec_pipelines.refresh.engine import refresh
from crdbvec_pipelines.refresh.options import options_for
from crdbvec_pipelines.search.evaluation import MEASURES, Evaluation, Quality
from crdbvec_pipelines.search.index_build import build_text_index_when_covered
from crdbvec_pipelines.search.questions import Question
from crdbvec_pipelines.search.searcher import Searcher


def measure(database: Database, url: str, table: str, kind: Kind, encoder: Encoder) -> list[Quality]:
    """Create the table of a kind, embed and index it as `crdbvec` does, and evaluate its questions."""
    spec = vector_column(table=table, input="body", output="v", model=MODEL, text_index={})
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE TABLE {table} (id INT8 PRIMARY KEY, body TEXT)".encode())
        with connection.cursor().copy(f"COPY {table} FROM STDIN".encode()) as copy:
            for number, text in enumerate(kind.texts):
                copy.write_row((number, text))
        refresh(VectorRows(prepare_column(database, spec, encoder)), encoder, KeyRange(), options_for(spec))
        searcher = Searcher(database, spec, encoder)
        build_text_index_when_covered(searcher.column)
        connection.execute(f"VACUUM ANALYZE {table}".encode())
    by_text: dict[str, list[int]] = {}
    for number, text in enumerate(kind.texts):
        by_text.setdefault(text, []).append(number)
    questions = [
        # Of rows with equal texts, all are relevant.
        Question(each.query, tuple((str(number),) for number in by_text[kind.texts[each.relevant]]), kind="")
        for each in kind.questions
    ]
    return Evaluation(searcher, questions).qualities()


def rows(name: str, qualities: Sequence[Quality]) -> list[list[object]]:
    """Return the rows of the table of results for one kind."""
    return [[f"{name}: {each.mode}", each.questions, each.recall, each.mrr, each.ndcg] for each in qualities]


def mean_rows(qualities: Sequence[Quality]) -> list[list[object]]:
    """Return the mean of each measure over the kinds of questions, one row for each mode."""
    found: list[list[object]] = []
    for mode in dict.fromkeys(each.mode for each in qualities):
        of_mode = [each for each in qualities if each.mode == mode]
        columns = ([getattr(each, measure).value for each in of_mode] for measure in MEASURES)
        means = [f"{statistics.mean(values):.3f}" for values in columns]
        found.append([f"mean of the kinds: {mode}", sum(each.questions for each in of_mode), *means])
    return found


def main() -> None:
    """Print one line per kind and mode."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--questions", type=int, default=100, help="questions of each kind")
    parser.add_argument("--seed", type=int, default=7, help="the seed of the random choice of texts and questions")
    options = parser.parse_args()
    encoder = ModelRegistry().load(MODEL)
    table: list[list[object]] = []
    qualities: list[Quality] = []
    with own_database() as url, Database(url) as database:
        for number, kind in enumerate(all_kinds(options.questions, options.seed)):
            started = time.perf_counter()
            measured = measure(database, url, f"kind_{number}", kind, encoder)
            qualities += measured
            table += rows(kind.name, measured)
            print(f"{kind.name}: {len(kind.texts):,} texts, {time.perf_counter() - started:.0f} s", flush=True)
    table += mean_rows(qualities)
    show("search modes", ["", "questions", "recall@10", "MRR@10", "nDCG@10"], table)


if __name__ == "__main__":
    main()
