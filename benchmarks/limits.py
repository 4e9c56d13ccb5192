"""What the limits of a table do: the rate of several processes together, and how long an application waits.

Several processes embed one table with an encoder that takes no time, so that the database is what they load. An
application updates and reads single rows of the same table: without a refresh, next to one without limits, and next to
one with `max_rows_per_second` and `max_connections`. The server counts the vectors and says what time it is.
"""

import argparse
import math
import multiprocessing
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psycopg

from benchmarks.bench_tables import own_database, show
from crdbvec_pipelines.config import VectorColumn, vector_column
from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.rows.vector_rows import VectorRows
from crdbvec_pipelines.database.schema.prepare import prepare_column
from crdbvec_pipelines.encoding.encoder import EncodedBatch
from crdbvec_pipelines.keyspace import KeyRange
from crdbvec_pipelines.refresh.engine import refresh
from crdbvec_pipelines.refresh.options import options_for

DIM = 384
_TABLE = "limited"
_CLIENTS, _PAUSE_SECONDS = 4, 0.01
_SETTLE_SECONDS = 2.0
"""Not measured: the processes start, and each writes what it was first assigned."""


class InstantEncoder:
    """A model of random vectors, which takes no time."""

    model_id, dim, metric = "instant", DIM, "cosine"

    def __init__(self) -> None:
        self._vectors = np.random.default_rng(1).standard_normal((10_000, DIM)).astype(np.float32)

    def encode(self, batch: object, batch_index: int = 0) -> EncodedBatch:
        """Return random vectors."""
        rows = len(batch)  # type: ignore[arg-type]
        return EncodedBatch(self._vectors[:rows], np.zeros(rows, bool))


def entry(limits: dict[str, object]) -> VectorColumn:
    """Return the entry of the table with limits."""
    return vector_column(table=_TABLE, input="body", output="v", model="instant", batch_size=512, **limits)


def fill(url: str, rows: int) -> None:
    """Create the table."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE TABLE {_TABLE} (id INT PRIMARY KEY, body TEXT, views INT DEFAULT 0)".encode())
        connection.execute(f"INSERT INTO {_TABLE} SELECT i, 'text ' || i FROM generate_series(1, {rows}) AS i".encode())
        connection.execute(f"VACUUM ANALYZE {_TABLE}".encode())


def prepared(database: Database, limits: dict[str, object]) -> BoundColumn:
    """Prepare the table."""
    return prepare_column(database, entry(limits), InstantEncoder())  # type: ignore[arg-type]


def embed(url: str, limits: dict[str, object], part: int, parts: int, rows: int) -> None:
    """Embed a part of the table, without limits again and again, until this process is ended."""
    own = KeyRange((rows * part // parts + 1,), (rows * (part + 1) // parts + 1,))
    with Database(url) as database:
        column = prepared(database, limits)
        vector_rows = VectorRows(column)
        while True:
            refresh(vector_rows, InstantEncoder(), own, options_for(column.spec))
            if limits:
                # The vectors are counted, and there are more rows than are embedded in the time.
                time.sleep(1)
                continue
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(
                    f"UPDATE {_TABLE} SET v = NULL WHERE id >= %s AND id < %s".encode(),
                    (own.lower[0], own.upper[0]),  # type: ignore[index]
                )


def use(url: str, rows: int, seed: int, stop: threading.Event) -> list[float]:
    """Read and update single rows, and return the seconds that each took."""
    choose = random.Random(seed)
    seconds = []
    with psycopg.connect(url, autocommit=True) as connection:
        while not stop.is_set():
            row = choose.randrange(rows) + 1
            started = time.perf_counter()
            if choose.random() < 0.5:
                connection.execute(f"SELECT body, views FROM {_TABLE} WHERE id = %s".encode(), (row,)).fetchone()
            else:
                connection.execute(f"UPDATE {_TABLE} SET views = views + 1 WHERE id = %s".encode(), (row,))
            seconds.append(time.perf_counter() - started)
            time.sleep(_PAUSE_SECONDS)
    return seconds


def application(url: str, rows: int, seconds: float) -> list[float]:
    """Return the seconds of each statement of the application, which runs for a time."""
    stop = threading.Event()
    with ThreadPoolExecutor(_CLIENTS) as pool:
        using = [pool.submit(use, url, rows, seed, stop) for seed in range(_CLIENTS)]
        time.sleep(seconds)
        stop.set()
        return [each for future in using for each in future.result()]


def embedded(connection: psycopg.Connection) -> tuple[int, float]:
    """Return how many rows have a vector, and the time of the server in seconds."""
    row = connection.execute(f"SELECT count(v), extract(epoch FROM clock_timestamp())::float8 FROM {_TABLE}".encode())
    found = row.fetchone()
    assert found is not None
    return int(found[0]), float(found[1])


def owners(connection: psycopg.Connection) -> int:
    """Return how many processes have a connection of the table's limit."""
    found = connection.execute("SELECT count(DISTINCT owner) FROM crdbvec_connections").fetchone()
    assert found is not None
    return int(found[0])


def measure(
    url: str, rows: int, seconds: float, processes: int, limits: dict[str, object]
) -> tuple[float, list[float]]:
    """Return the rows per second that the processes embed together, and the seconds of the application's statements."""
    start = multiprocessing.get_context("forkserver")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"UPDATE {_TABLE} SET v = NULL".encode())
        connection.execute(f"VACUUM {_TABLE}".encode())
        workers = [start.Process(target=embed, args=(url, limits, part, processes, rows)) for part in range(processes)]
        for worker in workers:
            worker.start()
        try:
            while not embedded(connection)[0]:
                time.sleep(0.1)
            while limits and owners(connection) < processes:
                time.sleep(0.1)
            time.sleep(_SETTLE_SECONDS)
            before, started = embedded(connection)
            statements = application(url, rows, seconds)
            after, ended = embedded(connection)
        finally:
            for worker in workers:
                worker.terminate()
                worker.join()
    # Without limits, rows are embedded again and again, so their vectors are not counted.
    return (after - before) / (ended - started) if limits else math.nan, statements


def percentile(values: list[float], share: float) -> float:
    """Return a percentile in milliseconds."""
    return float(np.quantile(values, share)) * 1_000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--rate", type=int, default=500)
    parser.add_argument("--url", help="A database to use instead of an own server.")
    options = parser.parse_args()
    with own_database() as own:
        url = options.url or own
        fill(url, options.rows)
        with Database(url) as database:
            prepared(database, {})
        limits = {"max_rows_per_second": options.rate, "max_connections": 2 * options.processes}
        idle = application(url, options.rows, options.seconds)
        limited_rate, limited = measure(url, options.rows, options.seconds, options.processes, limits)
        idle_again = application(url, options.rows, options.seconds)
        unlimited_rate, unlimited = measure(url, options.rows, options.seconds, options.processes, {})
    idle_p99 = percentile(idle + idle_again, 0.99)
    show(
        f"{options.processes} processes, {options.rows:,} rows, {options.seconds:g} s each",
        ["", "rows/s", "share of the limit", "application p50 ms", "p99 ms", "p99 / idle"],
        [
            [
                name,
                rate,
                rate / options.rate,
                percentile(seconds, 0.5),
                percentile(seconds, 0.99),
                percentile(seconds, 0.99) / idle_p99,
            ]
            for name, rate, seconds in (
                ("idle", 0.0, idle),
                (f"max_rows_per_second: {options.rate}", limited_rate, limited),
                ("idle again", 0.0, idle_again),
                ("no limit", unlimited_rate, unlimited),
            )
        ],
    )


if __name__ == "__main__":
    main()
