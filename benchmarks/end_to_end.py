"""`crdbvec embed` against encoding alone and against two loops that a person would write, in one run.

(a) encoding alone with the same engine, without any database; (b) the loop of the CockroachDB Vector Embedding Toolkit:
ids of rows without a vector, the rows by id list, `SentenceTransformer.encode` in worker processes behind a barrier,
UPDATE in pages of 100 with the vectors as arrays of text; (c) one `SentenceTransformer.encode` and one `executemany`.
Models are loaded before the clock starts, for all of them. The ways take turns, and ratios are taken within a round:
they are comparable, rates belong to the machine and the moment.
"""

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

from benchmarks.bench_tables import MODEL, fill, glosses, half_repeated, long_texts, own_database, reference_model, show
from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.rows import VectorRows
from crdbvec_pipelines.database.schema import ensure_schema
from crdbvec_pipelines.encoding.encoder import Encoder
from crdbvec_pipelines.encoding.registry import ModelRegistry
from crdbvec_pipelines.keyspace import KeyRange
from crdbvec_pipelines.refresh import refresh

_TOOLKIT_BATCH = 256
_TOOLKIT_WORKERS = 2
_TOOLKIT_PAGE = 100
_KEEPS_MODEL: list[object] = []


def ours(url: str, column: VectorColumn, encoder: Encoder, rows: int) -> float:
    """Rows a second of the refresh, from an open database to the last written row."""
    with Database(url) as database:
        table = ensure_schema(database, column, encoder.dim, encoder.model_id)
        vectors = VectorRows(database, table, column, encoder.model_id)
        started = time.perf_counter()
        report = refresh(vectors, encoder, KeyRange(), batch_size=column.batch_size, workers=column.workers)
        seconds = time.perf_counter() - started
    assert report.rows_embedded == rows, report
    return rows / seconds


def encoding_alone(encoder: Encoder, texts: Sequence[str], batch_size: int) -> float:
    """Rows a second of the engine by itself, given the same batches."""
    started = time.perf_counter()
    for start in range(0, len(texts), batch_size):
        encoder.encode(list(enumerate(texts[start : start + batch_size])))
    return len(texts) / (time.perf_counter() - started)


def load_model() -> None:
    """Loads the model into a worker process of the toolkit's loop."""
    import torch

    torch.set_num_threads(max(1, multiprocessing.cpu_count() // _TOOLKIT_WORKERS))
    _KEEPS_MODEL.append(reference_model())


def encode_in_worker(batch: list[tuple[object, str]]) -> list[tuple[object, list[float]]]:
    """What a worker of the toolkit's loop does with its part of a batch."""
    vectors = _KEEPS_MODEL[0].encode([text for _, text in batch], show_progress_bar=False)  # type: ignore[attr-defined]
    return [(key, vector.tolist()) for (key, _), vector in zip(batch, vectors, strict=True)]


def toolkit_loop(url: str, table: str, rows: int) -> float:
    """Rows a second of the toolkit's loop."""
    name = sql.Identifier(table)
    context = multiprocessing.get_context("spawn")
    with psycopg.connect(url, autocommit=True) as connection, context.Pool(_TOOLKIT_WORKERS, load_model) as pool:
        connection.execute(sql.SQL("ALTER TABLE {} ADD COLUMN IF NOT EXISTS w VECTOR(384)").format(name))
        warm: list[tuple[object, str]] = [(0, "warm")]
        pool.map(encode_in_worker, [warm] * _TOOLKIT_WORKERS, chunksize=1)
        started = time.perf_counter()
        while True:
            found = connection.execute(
                sql.SQL("SELECT id FROM {} WHERE w IS NULL LIMIT %s").format(name), (_TOOLKIT_BATCH,)
            ).fetchall()
            if not found:
                break
            batch = connection.execute(
                sql.SQL("SELECT id, body FROM {} WHERE id = ANY(%s)").format(name), ([key for (key,) in found],)
            ).fetchall()
            part = -(-len(batch) // _TOOLKIT_WORKERS)
            parts = pool.map(
                encode_in_worker, [batch[at : at + part] for at in range(0, len(batch), part)], chunksize=1
            )
            encoded = [pair for each in parts for pair in each]
            for at in range(0, len(encoded), _TOOLKIT_PAGE):
                page = encoded[at : at + _TOOLKIT_PAGE]
                values = sql.SQL(", ").join(
                    sql.SQL("({}, ARRAY[{}])").format(sql.Literal(key), sql.SQL(", ").join(map(sql.Literal, vector)))
                    for key, vector in page
                )
                connection.execute(
                    sql.SQL("UPDATE {} AS t SET w = d.v::vector FROM (VALUES {}) AS d(id, v) WHERE t.id = d.id").format(
                        name, values
                    )
                )
        return rows / (time.perf_counter() - started)


def by_hand(url: str, table: str, rows: int) -> float:
    """Rows a second of one `encode` over all texts and one `executemany`."""
    name = sql.Identifier(table)
    if not _KEEPS_MODEL:
        load_model()
        import torch

        torch.set_num_threads(multiprocessing.cpu_count())
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("ALTER TABLE {} ADD COLUMN IF NOT EXISTS h VECTOR(384)").format(name))
        started = time.perf_counter()
        pairs = connection.execute(sql.SQL("SELECT id, body FROM {} WHERE h IS NULL").format(name)).fetchall()
        vectors = _KEEPS_MODEL[0].encode([text for _, text in pairs], show_progress_bar=False)  # type: ignore[attr-defined]
        with connection.cursor() as cursor:
            cursor.executemany(
                sql.SQL("UPDATE {} SET h = %s::vector WHERE id = %s").format(name),
                [(str(vector.tolist()), key) for (key, _), vector in zip(pairs, vectors, strict=True)],
            )
        return rows / (time.perf_counter() - started)


@dataclass(frozen=True)
class Case:
    """One kind of text: its table, and how many rows our refresh and the slower loops get of it."""

    table: str
    make: Callable[[int], list[str]]
    rows: int
    rows_by_hand: int


@dataclass(frozen=True)
class Rates:
    """Rows a second of each way, measured one right after the other."""

    embed: float
    alone: float
    toolkit: float
    hand: float


def measure(url: str, case: Case, encoder: Encoder, ours_only: bool) -> Rates:
    """Each way once, in turns."""
    texts = case.make(case.rows)
    column = fill(url, case.table, texts)
    alone = encoding_alone(encoder, texts, column.batch_size)
    embed = ours(url, column, encoder, case.rows)
    if ours_only:
        return Rates(embed, alone, 0.0, 0.0)
    fill(url, case.table, case.make(case.rows_by_hand))
    toolkit = toolkit_loop(url, case.table, case.rows_by_hand)
    return Rates(embed, alone, toolkit, by_hand(url, case.table, case.rows_by_hand))


def median(rounds: Sequence[Rates], figure: Callable[[Rates], float]) -> float:
    """The median round's figure. Of a ratio, since a machine that others use too changes its pace between rounds."""
    return statistics.median(figure(each) for each in rounds)


def main() -> None:
    """Runs all loops over all kinds of text and prints rates and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--rows", type=int, default=6_000, help="rows of the tables of glosses; the slow loops get fewer"
    )
    parser.add_argument("--long-rows", type=int, default=400, help="rows of the table of long texts")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ours-only", action="store_true", help="leave out the two loops that a person would write")
    options = parser.parse_args()
    encoder = ModelRegistry().load(MODEL)
    cases = [
        Case("glosses", glosses, options.rows, options.rows // 6),
        Case("half_repeated", half_repeated, options.rows, options.rows // 6),
        Case("long_texts", long_texts, options.long_rows, options.long_rows // 4),
    ]
    for case in cases:
        # Kernels are made for each shape of batch once.
        encoding_alone(encoder, case.make(min(case.rows, 1_024)), 1_024)
    with own_database() as url:
        rounds = [
            {case.table: measure(url, case, encoder, options.ours_only) for case in cases}
            for _ in range(options.rounds)
        ]
    by_table = {case.table: [each[case.table] for each in rounds] for case in cases}
    show(
        f"rows a second, the median of {options.rounds} rounds",
        ["table", "embed", "(a) alone", "(b) toolkit", "(c) by hand"],
        [
            [
                table,
                median(rates, lambda each: each.embed),
                median(rates, lambda each: each.alone),
                median(rates, lambda each: each.toolkit),
                median(rates, lambda each: each.hand),
            ]
            for table, rates in by_table.items()
        ],
    )
    show(
        "how many times as fast, the median of the rounds' ratios",
        ["table", "embed/(a)", "embed/(b)", "embed/(c)"],
        [
            [
                table,
                median(rates, lambda each: each.embed / each.alone),
                median(rates, lambda each: each.embed / each.toolkit if each.toolkit else 0.0),
                median(rates, lambda each: each.embed / each.hand if each.hand else 0.0),
            ]
            for table, rates in by_table.items()
        ],
    )
    repeated = statistics.median(each["half_repeated"].embed / each["glosses"].embed for each in rounds)
    print(f"embed, the half repeated table against the glosses: {repeated:.2f} times")


if __name__ == "__main__":
    main()
