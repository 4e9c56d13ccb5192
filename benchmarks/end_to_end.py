"""`crdbvec embed` compared with encoding alone and with two simple loops, in one run.

(a) encoding alone with the same backend, without a database; (b) the loop of the CockroachDB Vector Embedding Toolkit:
ids of rows without a vector, the rows by id list, `SentenceTransformer.encode` in worker processes with a barrier after
each batch, UPDATE in pages of 100 with the vectors as SQL arrays; (c) one `SentenceTransformer.encode` and one
`executemany`. All models are loaded before the measurement. The methods alternate, and ratios are computed within a
round: ratios are comparable between machines, rates are not.
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
from benchmarks.processes import set_signal_handlers, worker_pool
from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.rows.vector_rows import VectorRows
from crdbvec_pipelines.database.schema.prepare import prepare_column
from crdbvec_pipelines.encoding.encoder import Encoder
from crdbvec_pipelines.encoding.registry import ModelRegistry
from crdbvec_pipelines.keyspace import KeyRange
from crdbvec_pipelines.refresh.engine import refresh
from crdbvec_pipelines.refresh.options import options_for

# Of the toolkit's loop: rows per batch, worker processes, rows per UPDATE.
_TOOLKIT_BATCH_ROWS = 256
_TOOLKIT_WORKERS = 2
_TOOLKIT_PAGE_ROWS = 100
# The model of this process, loaded once.
_LOADED: list[object] = []


def ours(url: str, column: VectorColumn, encoder: Encoder, rows: int) -> float:
    """Return the rows per second of the refresh, from an open database to the last written row."""
    with Database(url) as database:
        vectors = VectorRows(prepare_column(database, column, encoder))
        started = time.perf_counter()
        report = refresh(vectors, encoder, KeyRange(), options_for(column))
        seconds = time.perf_counter() - started
    assert report.rows_embedded == rows, report
    return rows / seconds


def encoding_alone(encoder: Encoder, texts: Sequence[str], batch_size: int) -> float:
    """Return the rows per second of the backend alone, with the same batches."""
    started = time.perf_counter()
    for start in range(0, len(texts), batch_size):
        encoder.encode(list(enumerate(texts[start : start + batch_size])))
    return len(texts) / (time.perf_counter() - started)


def load_model() -> None:
    """Load the model into a worker process of the toolkit's loop."""
    import torch

    torch.set_num_threads(max(1, multiprocessing.cpu_count() // _TOOLKIT_WORKERS))
    _LOADED.append(reference_model())


def encode_in_worker(batch: list[tuple[object, str]]) -> list[tuple[object, list[float]]]:
    """Encode one part of a batch, in a worker process of the toolkit's loop."""
    vectors = _LOADED[0].encode([text for _, text in batch], show_progress_bar=False)  # type: ignore[attr-defined]
    return [(key, vector.tolist()) for (key, _), vector in zip(batch, vectors, strict=True)]


def toolkit_loop(url: str, table: str, rows: int) -> float:
    """Return the rows per second of the toolkit's loop."""
    name = sql.Identifier(table)
    with psycopg.connect(url, autocommit=True) as connection, worker_pool(_TOOLKIT_WORKERS, load_model) as pool:
        connection.execute(sql.SQL("ALTER TABLE {} ADD COLUMN IF NOT EXISTS w VECTOR(384)").format(name))
        warm: list[tuple[object, str]] = [(0, "warm")]
        pool.map(encode_in_worker, [warm] * _TOOLKIT_WORKERS)
        started = time.perf_counter()
        while True:
            found = connection.execute(
                sql.SQL("SELECT id FROM {} WHERE w IS NULL LIMIT %s").format(name), (_TOOLKIT_BATCH_ROWS,)
            ).fetchall()
            if not found:
                break
            batch = connection.execute(
                sql.SQL("SELECT id, body FROM {} WHERE id = ANY(%s)").format(name), ([key for (key,) in found],)
            ).fetchall()
            part = -(-len(batch) // _TOOLKIT_WORKERS)
            parts = pool.map(encode_in_worker, [batch[at : at + part] for at in range(0, len(batch), part)])
            encoded = [pair for each in parts for pair in each]
            for at in range(0, len(encoded), _TOOLKIT_PAGE_ROWS):
                page = encoded[at : at + _TOOLKIT_PAGE_ROWS]
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
    """Return the rows per second of one `encode` over all texts and one `executemany`."""
    name = sql.Identifier(table)
    if not _LOADED:
        load_model()
        import torch

        torch.set_num_threads(multiprocessing.cpu_count())
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("ALTER TABLE {} ADD COLUMN IF NOT EXISTS h VECTOR(384)").format(name))
        started = time.perf_counter()
        pairs = connection.execute(sql.SQL("SELECT id, body FROM {} WHERE h IS NULL").format(name)).fetchall()
        vectors = _LOADED[0].encode([text for _, text in pairs], show_progress_bar=False)  # type: ignore[attr-defined]
        with connection.cursor() as cursor:
            cursor.executemany(
                sql.SQL("UPDATE {} SET h = %s::vector WHERE id = %s").format(name),
                [(str(vector.tolist()), key) for (key, _), vector in zip(pairs, vectors, strict=True)],
            )
        return rows / (time.perf_counter() - started)


@dataclass(frozen=True)
class Case:
    """One kind of text: its table, and the number of rows for the refresh and for the slower loops."""

    table: str
    make: Callable[[int], list[str]]
    rows: int
    rows_by_hand: int


@dataclass(frozen=True)
class Rates:
    """The rows per second of each method, measured in immediate succession."""

    embed: float
    alone: float
    toolkit: float
    hand: float


def measure(url: str, case: Case, encoder: Encoder, ours_only: bool) -> Rates:
    """Measure each method once."""
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
    """Return the median over the rounds. Ratios use it too, because the speed of a shared machine varies."""
    return statistics.median(figure(each) for each in rounds)


def main() -> None:
    """Run all methods on all kinds of text, and print rates and ratios."""
    set_signal_handlers()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--rows", type=int, default=6_000, help="rows of the tables of glosses; a sixth for the slow loops"
    )
    parser.add_argument(
        "--long-rows", type=int, default=400, help="rows of the table of long texts; a quarter for the slow loops"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ours-only", action="store_true", help="omit the two simple loops")
    options = parser.parse_args()
    encoder = ModelRegistry().load(MODEL)
    cases = [
        Case("glosses", glosses, options.rows, options.rows // 6),
        Case("half_repeated", half_repeated, options.rows, options.rows // 6),
        Case("long_texts", long_texts, options.long_rows, options.long_rows // 4),
    ]
    for case in cases:
        # Kernels are compiled once for each batch shape.
        encoding_alone(encoder, case.make(min(case.rows, 1_024)), 1_024)
    with own_database() as url:
        rounds = [
            {case.table: measure(url, case, encoder, options.ours_only) for case in cases}
            for _ in range(options.rounds)
        ]
    by_table = {case.table: [each[case.table] for each in rounds] for case in cases}
    show(
        f"rows per second, median of {options.rounds} rounds",
        ["table", "embed", "(a) encoding alone", "(b) toolkit", "(c) by hand"],
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
        "speed ratios, median of the ratios within a round",
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
    print(f"embed, half_repeated/glosses: {repeated:.2f}")


if __name__ == "__main__":
    main()
