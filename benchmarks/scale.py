"""The cost per row from 10,000 to 1,000,000 rows, with a model of a small fixed cost.

Each size runs in its own process, which makes its peak memory measurable. The model sleeps for 20 microseconds per row
and returns almost constant vectors, so the benchmark measures reading, queueing and writing. Database time is the sum
over all statements, several of which run at the same time. The benchmark also measures partition planning and the
loading of the definitions of 100 vector columns.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psycopg

from benchmarks.bench_tables import own_database, show, timed
from benchmarks.processes import run_child, set_signal_handlers
from crdbvec_pipelines.config import Metric, PartitionsSpec, parse_config, vector_column
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.rows.keys import TableKeys
from crdbvec_pipelines.database.rows.vector_rows import VectorRows
from crdbvec_pipelines.database.schema.prepare import prepare_column
from crdbvec_pipelines.encoding.encoder import EncodedBatch
from crdbvec_pipelines.keyspace import KeyRange
from crdbvec_pipelines.partitioning import plan_partitions
from crdbvec_pipelines.refresh.engine import refresh
from crdbvec_pipelines.refresh.options import options_for

# That of all-MiniLM-L6-v2.
_DIMENSION = 384
# Small against the cost of reading and writing a row, which this benchmark measures.
_ENCODE_SECONDS_PER_ROW = 20e-6


class FixedCostEncoder:
    """A model of fixed cost, whose vectors contain the length of the input."""

    model_id = "fixed_cost"
    dim = _DIMENSION
    metric: Metric = "cosine"

    def encode(self, batch: Sequence[tuple[object, object]], batch_index: int = 0) -> EncodedBatch:
        """Return vectors of which only the first element is not zero."""
        time.sleep(_ENCODE_SECONDS_PER_ROW * len(batch))
        vectors = np.zeros((len(batch), _DIMENSION), np.float32)
        vectors[:, 0] = [len(str(value)) + 1 for _, value in batch]
        return EncodedBatch(vectors, np.zeros(len(batch), np.bool_))


def one_size(url: str, rows: int) -> dict[str, float]:
    """Fill and embed a table of a given size, and return its results by column heading."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS scaled")
        connection.execute("CREATE TABLE scaled (id BIGINT PRIMARY KEY, body TEXT)")
        connection.execute(
            "INSERT INTO scaled SELECT n, 'a text of average length, number ' || n FROM generate_series(1, %s) AS n",
            (rows,),
        )
        connection.execute("VACUUM ANALYZE scaled")
    column = vector_column(table="scaled", input="body", output="v", model="fixed_cost")
    encoder = FixedCostEncoder()
    with Database(url) as database:
        bound = prepare_column(database, column, encoder)
        before = _peak_megabytes()
        started = time.perf_counter()
        with timed() as sent:
            report = refresh(VectorRows(bound), encoder, KeyRange(), options_for(column, workers=1))
        seconds = time.perf_counter() - started
        assert report.rows_embedded == rows, report
        started = time.perf_counter()
        plan = plan_partitions(TableKeys(database, bound.table), PartitionsSpec(target_rows=max(1, rows // 100)))
        planning = time.perf_counter() - started
    return {
        "rows": rows,
        "rows/s": rows / seconds,
        "us/row": seconds / rows * 1e6,
        "database us/row": sum(each for _, each in sent) / rows * 1e6,
        "peak MB": _peak_megabytes(),
        "MB before": before,
        "partitions": len(plan.keys),
        "planning us/row": planning / rows * 1e6,
    }


def definitions_seconds(columns: int) -> float:
    """Return the seconds that building the definitions of a number of vector columns takes."""
    from crdbvec_pipelines.orchestration.build import build_definitions

    vectors = [
        {"table": f"t{number}", "input": "body", "output": "v", "model": "hf_st_all_minilm_l6"}
        for number in range(columns)
    ]
    config = parse_config({"vectors": vectors}, "benchmark", Path())
    started = time.perf_counter()
    build_definitions(config).get_repository_def().get_all_jobs()
    return time.perf_counter() - started


def partitions_seconds(url: str, partitions: int) -> float:
    """Return the seconds that planning and registering the partitions of one vector column in Dagster takes."""
    import dagster as dg

    from crdbvec_pipelines.orchestration.asset_names import asset_names
    from crdbvec_pipelines.orchestration.partitions.sync import sync_partitions

    config = parse_config(
        {
            "vectors": [
                {
                    "table": "scaled",
                    "input": "body",
                    "output": "v",
                    "model": "fixed_cost",
                    "partitions": {"target_rows": 1_000_000 // partitions, "max_partitions": 4_096},
                }
            ]
        },
        "benchmark",
        Path(),
    )
    (column,) = config.vectors
    with (
        tempfile.TemporaryDirectory() as home,
        dg.DagsterInstance.local_temp(home) as instance,
        Database(url) as database,
    ):
        bound = prepare_column(database, column, FixedCostEncoder())
        started = time.perf_counter()
        plan = sync_partitions(instance, bound, asset_names(config)[str(column)])
        seconds = time.perf_counter() - started
    print(f"{len(plan.keys)} partitions planned and registered in {seconds:.2f} s")
    return seconds


def main() -> None:
    """Run each size in its own process, and print results and ratios."""
    set_signal_handlers()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one_size(options.one, options.rows[0])))
        return
    figures = []
    with own_database() as url:
        for rows in options.rows:
            child = [sys.executable, "-m", "benchmarks.scale", "--one", url, "--rows", str(rows)]
            figures.append(json.loads(run_child(child)))
        show("one refresh per process", list(figures[0]), [list(figure.values()) for figure in figures])
        first, last = figures[0], figures[-1]
        print(
            f"ratios of {last['rows']:,.0f} to {first['rows']:,.0f} rows: "
            f"time per row {last['us/row'] / first['us/row']:.2f}, "
            f"database time per row {last['database us/row'] / first['database us/row']:.2f}, "
            f"peak memory {last['peak MB'] / first['peak MB']:.2f}"
        )
        partitions_seconds(url, 1_000)
    one, hundred = definitions_seconds(1), definitions_seconds(100)
    print(f"definitions of 1 vector column: {one:.2f} s, of 100: {hundred:.2f} s, ratio {hundred / one:.0f}")


def _peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
