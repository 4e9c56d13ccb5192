"""How long an application waits for its updates, with and without a refresh, while transactions hold row locks.

Some of the application's connections lock a few rows and hold the locks for seconds. The others update single rows, and
never one of those rows, so they wait only for a refresh. The table is small and is embedded again and again, so that
most updates are of rows near those that the refresh writes.
"""

import argparse
import itertools
import random
import statistics
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import psycopg

from benchmarks.bench_tables import own_database, show
from crdbvec_pipelines.config import Metric, VectorColumn, vector_column
from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.rows.vector_rows import VectorRows
from crdbvec_pipelines.database.schema.prepare import prepare_column
from crdbvec_pipelines.encoding.encoder import EncodedBatch
from crdbvec_pipelines.keyspace import KeyRange
from crdbvec_pipelines.refresh.engine import refresh
from crdbvec_pipelines.refresh.options import options_for
from crdbvec_pipelines.refresh.report import RefreshReport

_TABLE = "passage"
_DIM = 384
# Every row whose id is a multiple of this is one that only the transactions lock that hold their locks for seconds.
_HELD_EVERY = 50
_HELD_AT_ONCE = 5
_HOLD_SECONDS = 2.0
_HOLDERS, _WRITERS = 4, 4
_PAUSE_SECONDS = 0.002


class RandomModel:
    """A model that needs almost no time, so that the refresh writes as fast as it can."""

    dim = _DIM
    metric: Metric = "cosine"

    def __init__(self, revision: int = 0) -> None:
        self.model_id = f"random {revision}"
        self._vectors = np.random.default_rng(7).standard_normal((1_024, _DIM)).astype(np.float32)

    def encode(self, batch: Sequence[tuple[object, object]], batch_index: int = 0) -> EncodedBatch:
        """Return random vectors."""
        return EncodedBatch(self._vectors[: len(batch)], np.zeros(len(batch), bool))


def hold_locks(url: str, rows: int, seed: int, stop: threading.Event) -> None:
    """Lock a few rows and hold the locks for seconds, again and again."""
    choose = random.Random(seed)
    with psycopg.connect(url) as connection:
        while not stop.is_set():
            ids = [_HELD_EVERY * choose.randrange(rows // _HELD_EVERY) for _ in range(_HELD_AT_ONCE)]
            connection.execute(f"UPDATE {_TABLE} SET views = views + 1 WHERE id = ANY(%s)".encode(), (sorted(ids),))
            stop.wait(_HOLD_SECONDS)
            connection.commit()


def update_rows(url: str, rows: int, seed: int, stop: threading.Event) -> list[float]:
    """Update single rows, and return the seconds that each update took."""
    choose = random.Random(seed)
    seconds = []
    with psycopg.connect(url, autocommit=True) as connection:
        while not stop.is_set():
            row = _HELD_EVERY * choose.randrange(rows // _HELD_EVERY) + 1 + choose.randrange(_HELD_EVERY - 1)
            started = time.perf_counter()
            connection.execute(f"UPDATE {_TABLE} SET views = views + 1 WHERE id = %s".encode(), (row,))
            seconds.append(time.perf_counter() - started)
            time.sleep(_PAUSE_SECONDS)
    return seconds


def measure(url: str, rows: int, seconds: float, column: BoundColumn | None) -> tuple[list[float], RefreshReport]:
    """Return the seconds of the application's updates, and what the refresh did, if there is one."""
    stop = threading.Event()
    with ThreadPoolExecutor(_HOLDERS + _WRITERS + 1) as pool:
        holding = [pool.submit(hold_locks, url, rows, seed, stop) for seed in range(_HOLDERS)]
        # The first locks are held before the refresh starts.
        time.sleep(0.5)
        writing = [pool.submit(update_rows, url, rows, seed, stop) for seed in range(_WRITERS)]
        embedding = None if column is None else pool.submit(embed, column, stop)
        stop.wait(seconds)
        stop.set()
        for future in holding:
            future.result()
        waits = [wait for future in writing for wait in future.result()]
        return waits, RefreshReport() if embedding is None else embedding.result()


def embed(column: BoundColumn, stop: threading.Event) -> RefreshReport:
    """Embed all rows of the table with one revision of the model after the other until stopped."""
    report = RefreshReport()
    for revision in itertools.count(1):
        model = RandomModel(revision)
        options = replace(options_for(column.spec), stop=stop)
        report += refresh(VectorRows(prepare_column(column.database, column.spec, model)), model, KeyRange(), options)
        if stop.is_set():
            break
    return report


def create(url: str, rows: int) -> VectorColumn:
    """Create the table and return the vector column to fill."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"DROP TABLE IF EXISTS {_TABLE}".encode())
        connection.execute(f"CREATE TABLE {_TABLE} (id INT8 PRIMARY KEY, body TEXT, views INT8 DEFAULT 0)".encode())
        connection.execute(
            f"INSERT INTO {_TABLE} SELECT n, 'text number ' || n FROM generate_series(0, %s) AS n".encode(), (rows,)
        )
        connection.execute(f"VACUUM ANALYZE {_TABLE}".encode())
    return vector_column(table=_TABLE, input="body", output="v", model="random")


def percentile(values: Sequence[float], share: float) -> float:
    """Return a percentile in milliseconds."""
    return float(np.percentile(values, share)) * 1_000


def main() -> None:
    """Measure the application alone and next to a refresh in each round, and print the percentiles."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    results: dict[str, list[list[float]]] = {"alone": [], "next to a refresh": []}
    reports = []
    with own_database() as url, Database(url) as database:
        for _ in range(options.rounds):
            spec = create(url, options.rows)
            column = prepare_column(database, spec, RandomModel())
            results["alone"].append(measure(url, options.rows, options.seconds, None)[0])
            waits, report = measure(url, options.rows, options.seconds, column)
            results["next to a refresh"].append(waits)
            reports.append(report)
    show(
        f"updates of an application in ms, medians of {options.rounds} rounds of {options.seconds:.0f} s",
        ["application", "updates", "p50", "p99", "longest"],
        [
            [
                name,
                int(statistics.median(map(len, rounds))),
                *(statistics.median(percentile(waits, share) for waits in rounds) for share in (50, 99, 100)),
            ]
            for name, rounds in results.items()
        ],
    )
    alone, together = (statistics.median(percentile(waits, 99) for waits in rounds) for rounds in results.values())
    print(f"p99 next to a refresh minus alone: {together - alone:.1f} ms")
    print(f"rows embedded next to the application: {statistics.median(each.rows_embedded for each in reports):,.0f}")


if __name__ == "__main__":
    main()
