"""How long the switch of a model migration locks the table, and how long searches and writes of applications wait.

One connection searches and one writes without a pause, while the two vector columns of a table are exchanged several
times, without chunks and with them. A third one reads when the exclusive lock of the table that is locked longest is
held. The longest wait of a statement during an exchange is compared with the longest one without exchanges.
"""

import argparse
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import psycopg

from benchmarks.bench_tables import own_database, show
from benchmarks.table_locks import LockWatch
from crdbvec_pipelines.chunk_set import ChunkSet
from crdbvec_pipelines.config import Metric, VectorColumn, vector_column
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.rows.vector_rows import VectorRows
from crdbvec_pipelines.database.schema.exchange import exchange_columns, start_migration
from crdbvec_pipelines.database.schema.migrations import find_migration
from crdbvec_pipelines.database.schema.prepare import prepare_column
from crdbvec_pipelines.encoding.encoder import EncodedBatch
from crdbvec_pipelines.keyspace import KeyRange
from crdbvec_pipelines.refresh.engine import refresh
from crdbvec_pipelines.refresh.options import options_for


@dataclass
class RandomModel:
    """A model that needs almost no time, with as many chunks for each text as are wanted; None for one vector a row."""

    model_id: str
    dim: int
    chunks: int | None = None
    metric: Metric = "cosine"

    def encode(self, batch: list[tuple[object, object]], batch_index: int = 0) -> EncodedBatch:
        """Return random vectors."""
        shape = (len(batch), self.chunks or 1, self.dim)
        vectors = np.random.default_rng(len(batch)).standard_normal(shape).astype(np.float32)
        if self.chunks is None:
            return EncodedBatch(vectors[:, 0], np.zeros(len(batch), bool))
        spans = np.tile(np.array([0, 4]), (self.chunks, 1))
        return EncodedBatch(
            np.empty((len(batch), 0), np.float32),
            np.zeros(len(batch), bool),
            chunks=tuple(ChunkSet(spans, each) for each in vectors),
        )


def _embed(database: Database, spec: VectorColumn, model: RandomModel) -> None:
    rows = VectorRows(prepare_column(database, spec, model))
    refresh(rows, model, KeyRange(), options_for(spec))  # type: ignore[arg-type]


def _repeat(url: str, statement: str, stop: threading.Event, waits: list[float]) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        while not stop.is_set():
            started = time.perf_counter()
            connection.execute(statement.encode())
            waits.append(time.perf_counter() - started)


def _during(url: str, search: str, work: Callable[[], None]) -> tuple[list[float], list[float]]:
    """Return the seconds of each search and of each write of an application while something is done."""
    stop = threading.Event()
    searches: list[float] = []
    writes: list[float] = []
    threads = [
        threading.Thread(target=_repeat, args=(url, statement, stop, waits))
        for statement, waits in (
            (search, searches),
            ("UPDATE passage SET views = views + 1 WHERE id = 1", writes),
        )
    ]
    for thread in threads:
        thread.start()
    try:
        work()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    return searches, writes


def _measure(rows: int, exchanges: int, chunks: int | None) -> None:
    """Measure the exchanges of a table whose rows have one vector, or several chunks, and print them."""
    first, second = (RandomModel(name, dim, chunks) for name, dim in (("first", 384), ("second", 768)))
    long_inputs = None if chunks is None else "chunks"
    spec = vector_column(
        table="passage", input="passage", output="passage_vector", model="first", long_inputs=long_inputs
    )
    # The table that is locked longest, and a search that needs it.
    locked, search = "passage", "SELECT id FROM passage WHERE passage_vector IS NOT NULL LIMIT 10"
    if chunks is not None:
        locked = "passage_passage_vector_chunks"
        search = f"SELECT id FROM {locked} JOIN passage USING (id) WHERE passage.passage_vector IS NOT NULL LIMIT 10"
    other = spec.model_copy(update={"output": "passage_vector_second", "model": "second"})
    with own_database() as url, psycopg.connect(url, autocommit=True) as connection, Database(url) as database:
        connection.execute("CREATE TABLE passage (id INT8 PRIMARY KEY, passage TEXT, views INT8 DEFAULT 0)")
        connection.execute(
            "INSERT INTO passage (id, passage) SELECT n, 'text ' || n FROM generate_series(1, %s) AS n", (rows,)
        )
        _embed(database, spec, first)
        start_migration(prepare_column(database, spec, first), other, second)
        _embed(database, other, second)
        seconds: list[float] = []

        def exchange() -> None:
            for number in range(exchanges):
                migration = find_migration(database, spec.table, spec.output)
                assert migration is not None
                seconds.append(exchange_columns(database, migration, back=bool(number % 2)).seconds)
                time.sleep(0.1)

        idle = _during(url, search, lambda: time.sleep(0.1 * exchanges))
        locks = LockWatch(url, locked)
        locks.start()
        try:
            busy = _during(url, search, exchange)
        finally:
            locks.end()
    show(
        f"{len(seconds)} exchanges of a table of {rows:,} rows" + (f" with {chunks} chunks each" if chunks else ""),
        ["with chunks" if chunks else "without chunks", "p50 ms", "max ms"],
        [
            [name, f"{statistics.median(values) * 1_000:.2f}", f"{max(values) * 1_000:.2f}"]
            for name, values in (
                ("transaction of the switch", seconds),
                (f"exclusive lock of {locked}", [each.seconds for each in locks.held] or [0.0]),
                ("search, no switch", idle[0]),
                ("search, during switches", busy[0]),
                ("write, no switch", idle[1]),
                ("write, during switches", busy[1]),
            )
        ],
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--exchanges", type=int, default=20)
    parser.add_argument("--chunks", type=int, default=5, help="chunks of each row in the second measurement")
    arguments = parser.parse_args()
    for chunks in (None, arguments.chunks):
        _measure(arguments.rows, arguments.exchanges, chunks)


if __name__ == "__main__":
    main()
