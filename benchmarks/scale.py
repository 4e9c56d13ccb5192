"""Whether cost a row stays flat from 10,000 to 1,000,000 rows, with a model of a small fixed cost.

Each size runs in a process of its own, so that its peak memory is its own. The model sleeps for 20 microseconds a row
and returns zeros but for one number, so what is measured is reading, feeding and writing. Database time is that of all
statements, as their threads wait for them; several do so at once. Also: planning partitions, and loading the
definitions of 100 vector columns.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psycopg

from benchmarks.bench_tables import own_database, show, timed
from crdbvec_pipelines.config import PartitionsSpec, parse_config, vector_column
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.introspect import read_table
from crdbvec_pipelines.database.keys import TableKeys
from crdbvec_pipelines.database.rows import VectorRows
from crdbvec_pipelines.database.schema import ensure_schema
from crdbvec_pipelines.encoding.encoder import EncodedBatch
from crdbvec_pipelines.keyspace import KeyRange
from crdbvec_pipelines.partitioning import plan_partitions
from crdbvec_pipelines.refresh import refresh

_DIMENSION = 384
_SECONDS_A_ROW = 20e-6


class QuickEncoder:
    """A model of fixed cost: the vector says how long the input is."""

    def encode(self, batch: Sequence[tuple[object, object]], batch_index: int = 0) -> EncodedBatch:
        """Vectors of zeros but for the first number."""
        time.sleep(_SECONDS_A_ROW * len(batch))
        vectors = np.zeros((len(batch), _DIMENSION), np.float32)
        vectors[:, 0] = [len(str(value)) + 1 for _, value in batch]
        return EncodedBatch(vectors, np.zeros(len(batch), np.bool_))


def one_size(url: str, rows: int) -> dict[str, float]:
    """Fills and embeds a table of so many rows; rates in rows a second, memory in megabytes."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS scaled")
        connection.execute("CREATE TABLE scaled (id BIGINT PRIMARY KEY, body TEXT)")
        connection.execute(
            "INSERT INTO scaled SELECT n, 'a text of middling length, number ' || n FROM generate_series(1, %s) AS n",
            (rows,),
        )
        connection.execute("VACUUM ANALYZE scaled")
    column = vector_column(table="scaled", input="body", output="v", model="quick")
    with Database(url) as database:
        table = ensure_schema(database, column, _DIMENSION, "quick")
        before = _peak_megabytes()
        started = time.perf_counter()
        with timed() as sent:
            report = refresh(
                VectorRows(database, table, column, "quick"), QuickEncoder(), KeyRange(), batch_size=column.batch_size
            )
        seconds = time.perf_counter() - started
        assert report.rows_embedded == rows, report
        started = time.perf_counter()
        plan = plan_partitions(
            TableKeys(database, read_table(database, column.table)), PartitionsSpec(target_rows=max(1, rows // 100))
        )
        planning = time.perf_counter() - started
    return {
        "rows": rows,
        "rows_per_s": rows / seconds,
        "us_a_row": seconds / rows * 1e6,
        "database_us_a_row": sum(each for _, each in sent) / rows * 1e6,
        "peak_mb": _peak_megabytes(),
        "peak_before_mb": before,
        "partitions": len(plan.keys),
        "planning_us_a_row": planning / rows * 1e6,
    }


def definitions_seconds(columns: int) -> float:
    """Seconds to build the definitions of so many vector columns."""
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
    """Seconds to plan and register so many partitions of one vector column in a Dagster instance, and to look again."""
    import dagster as dg

    from crdbvec_pipelines.orchestration.names import names_of
    from crdbvec_pipelines.orchestration.partitions import sync_partitions

    config = parse_config(
        {
            "vectors": [
                {
                    "table": "scaled",
                    "input": "body",
                    "output": "v",
                    "model": "quick",
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
        started = time.perf_counter()
        plan = sync_partitions(instance, database, column, names_of(config)[str(column)])
        seconds = time.perf_counter() - started
    print(f"{len(plan.keys)} partitions planned and registered in {seconds:.2f} s")
    return seconds


def main() -> None:
    """Runs each size in a process of its own, and prints figures and ratios."""
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
            figures.append(json.loads(subprocess.run(child, check=True, capture_output=True, text=True).stdout))
        show("one refresh, a process each", list(figures[0]), [list(figure.values()) for figure in figures])
        first, last = figures[0], figures[-1]
        print(
            f"from {first['rows']:,.0f} to {last['rows']:,.0f} rows: "
            f"time a row x{last['us_a_row'] / first['us_a_row']:.2f}, "
            f"database time a row x{last['database_us_a_row'] / first['database_us_a_row']:.2f}, "
            f"peak memory x{last['peak_mb'] / first['peak_mb']:.2f}"
        )
        partitions_seconds(url, 1_000)
    one, hundred = definitions_seconds(1), definitions_seconds(100)
    print(f"definitions of 1 vector column {one:.2f} s, of 100 {hundred:.2f} s ({hundred / one:.0f} times)")


def _peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
