"""Peak memory and rate of a refresh whose inputs have 1 kB, 1 MB and 20 MB, with a model that needs none itself."""

import argparse
import json
import resource
import statistics
import sys
import time
from collections.abc import Sequence

import numpy as np
import psycopg
from psycopg import sql

from benchmarks.bench_tables import own_database, show
from benchmarks.processes import run_child
from crdbvec_pipelines.config import Metric, VectorColumn, vector_column
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.rows.vector_rows import VectorRows
from crdbvec_pipelines.database.schema.prepare import prepare_column
from crdbvec_pipelines.encoding.encoder import EncodedBatch
from crdbvec_pipelines.keyspace import KeyRange
from crdbvec_pipelines.refresh.engine import refresh
from crdbvec_pipelines.refresh.options import options_for

_DIM = 384
_KILOBYTE, _MEGABYTE = 1_000, 1_000_000
# The inputs of each table: their type, their length in bytes, and how many there are.
_TABLES = {
    "1 kB": ("text", _KILOBYTE, 100_000),
    "1 MB": ("text", _MEGABYTE, 1_000),
    "20 MB": ("bytea", 20 * _MEGABYTE, 50),
}
# How long the model takes for a batch, so that the queues before it fill up.
_ENCODING_SECONDS = 0.2


class SlowModel:
    """A model that returns the same vector for every input, after a pause."""

    model_id = "slow"
    dim = _DIM
    metric: Metric = "cosine"

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def encode(self, batch: Sequence[tuple[object, object]], batch_index: int = 0) -> EncodedBatch:
        """Return a vector for each input."""
        time.sleep(self._seconds)
        return EncodedBatch(np.ones((len(batch), _DIM), np.float32), np.zeros(len(batch), bool))


def column(name: str) -> VectorColumn:
    """Return the vector column of a table."""
    return vector_column(table=name, input="body", output="v", model="slow")


def create(url: str, name: str, kind: str, length: int, rows: int) -> None:
    """Create a table whose inputs differ from each other."""
    with psycopg.connect(url, autocommit=True) as connection:
        table, copies = sql.Identifier(name), length // 32
        connection.execute(sql.SQL("CREATE TABLE {} (id INT8 PRIMARY KEY, body {})").format(table, sql.SQL(kind)))
        body = sql.SQL(
            "repeat(md5(n::text), %(copies)s)"
            if kind == "text"
            else "decode(repeat(md5(n::text), 2 * %(copies)s), 'hex')"
        )
        connection.execute(
            sql.SQL("INSERT INTO {} SELECT n, {} FROM generate_series(1, %(rows)s) AS n").format(table, body),
            {"copies": copies, "rows": rows},
        )
        connection.execute(sql.SQL("VACUUM ANALYZE {}").format(table))


def embed(url: str, name: str, seconds: float) -> dict[str, float]:
    """Embed a table in this process and return the peak memory in MB and the rate."""
    with Database(url) as database:
        model = SlowModel(seconds)
        rows = VectorRows(prepare_column(database, column(name), model))
        report = refresh(rows, model, KeyRange(), options_for(rows.spec))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1_024 / 1e6
    return {"peak": peak, "rate": report.rows_per_second, "rows": report.rows_embedded}


def main() -> None:
    """Embed each table in a process of its own, in each round, and print peak memory and rate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="the rows of each table, as a share of the default")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", nargs=3, metavar=("URL", "TABLE", "SECONDS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        url, name, seconds = options.child
        print(json.dumps(embed(url, name, float(seconds))))
        return
    results: dict[str, list[dict[str, float]]] = {name: [] for name in _TABLES}
    rates = []
    with own_database() as url:
        for round_ in range(options.rounds):
            for name, (kind, length, rows) in _TABLES.items():
                table = f"t{length}_{round_}"
                create(url, table, kind, length, max(2, round(rows * options.scale)))
                results[name].append(run(url, table, _ENCODING_SECONDS))
            create(url, f"rate_{round_}", *_TABLES["1 kB"][:2], max(2, round(_TABLES["1 kB"][2] * options.scale)))
            rates.append(run(url, f"rate_{round_}", 0.0)["rate"])
    base = statistics.median(each["peak"] for each in results["1 kB"])
    show(
        f"peak memory, medians of {options.rounds} rounds",
        ["inputs", "rows", "peak MB", "above 1 kB"],
        [
            [name, int(each[0]["rows"]), peak, peak - base]
            for name, each in results.items()
            for peak in [statistics.median(one["peak"] for one in each)]
        ],
    )
    print(f"rows/s with inputs of 1 kB and a model that takes no time: {statistics.median(rates):,.0f}")


def run(url: str, table: str, seconds: float) -> dict[str, float]:
    """Embed a table in a child process."""
    printed = run_child([sys.executable, "-m", "benchmarks.memory", "--child", url, table, str(seconds)])
    measured: dict[str, float] = json.loads(printed)
    return measured


if __name__ == "__main__":
    main()
