"""What a tick of the follow sensor costs: 100 new rows among 100,000 embedded ones, and among 1,000,000.

The real sensor is evaluated against the embedded PostgreSQL, with some 1,000 partitions a table. The time of each
statement that it sends to the table's database is added up, as the client sees it; the whole tick also asks Dagster's
storage, PostgreSQL as in production, what is at work on the partitions.
"""

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import psycopg
from psycopg import sql

from benchmarks.bench_tables import own_server, show, timed
from crdbvec_pipelines.config import ProjectConfig, VectorColumn, parse_config
from crdbvec_pipelines.database import row_statements
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.expressions import fingerprint_seed
from crdbvec_pipelines.database.introspect import Table, read_table
from crdbvec_pipelines.database.schema import ensure_schema, pending_index_name
from crdbvec_pipelines.embedded import EmbeddedServer
from crdbvec_pipelines.orchestration.build import build_definitions
from crdbvec_pipelines.orchestration.names import names_of
from crdbvec_pipelines.orchestration.partitions import sync_partitions
from crdbvec_pipelines.orchestration.storage import URL_VARIABLE, sqlalchemy_url

_DIMENSION = 8
_NEW_ROWS = 100
_TICKS = 30
_PARTITIONS = 1_000
_MODEL = f"""
def embedding_label(): return "none"
def embedding_description(): return "none"
def embedding_dim(): return {_DIMENSION}
def embedding_encode(input_data, verbose=False): return [1.0] * {_DIMENSION}
def embedding_encode_batch(index, batch, verbose=False): return [(key, embedding_encode(value)) for key, value in batch]
"""


def fill(connection: psycopg.Connection, name: str, rows: int) -> None:
    """A table of embedded rows under random keys, embedded as the product does it: first the row, then its vector."""
    table = sql.Identifier(name)
    connection.execute(
        sql.SQL(
            "INSERT INTO {} (id, body, updated) SELECT gen_random_uuid(), 'a text of middling length, number ' || n, "
            "now() - n * INTERVAL '1 second' - INTERVAL '1 day' FROM generate_series(1, %s) AS n"
        ).format(table),
        (rows,),
    )
    connection.execute(
        sql.SQL("UPDATE {} SET v = '[1,1,1,1,1,1,1,1]', v_fingerprint = md5(%s || body)").format(table),
        (fingerprint_seed("bench"),),
    )
    connection.execute(sql.SQL("VACUUM ANALYZE {}").format(table))
    connection.execute(
        sql.SQL(
            "INSERT INTO {} (id, body, updated) SELECT gen_random_uuid(), 'new ' || n, now() "
            "FROM generate_series(1, %s) AS n"
        ).format(table),
        (_NEW_ROWS,),
    )


@dataclass(frozen=True)
class Tick:
    """One evaluation of a sensor: how many statements it sent to the database, milliseconds, and its cursor."""

    statements: int
    database: float
    whole: float
    cursor: str | None


class Bench:
    """One table on a database, and its sensor on an instance."""

    def __init__(self, url: str, folder: Path, instance: dg.DagsterInstance, rows: int) -> None:
        self.rows = rows
        self.table = f"rows_{rows}"
        column = {
            "table": self.table,
            "input": "body",
            "output": "v",
            "model": "bench",
            "updated_at": "updated",
            "partitions": {"target_rows": rows // _PARTITIONS, "max_partitions": 4 * _PARTITIONS},
        }
        given = {"database": {"url": url}, "models": {"directories": [str(folder)]}, "vectors": [column]}
        self.config: ProjectConfig = parse_config(given, "the benchmark", folder)
        (self.spec,) = self.config.vectors
        self._names = names_of(self.config)[str(self.spec)]
        self._definitions = build_definitions(self.config)
        self._instance = instance

    def prepare(self, connection: psycopg.Connection, database: Database) -> None:
        """Makes and fills the table, and plans its partitions."""
        connection.execute(
            sql.SQL("CREATE TABLE {} (id UUID PRIMARY KEY, body TEXT, updated TIMESTAMPTZ)").format(
                sql.Identifier(self.table)
            )
        )
        ensure_schema(database, self.spec, _DIMENSION, "bench")
        fill(connection, self.table, self.rows)
        self.partitions = len(sync_partitions(self._instance, database, self.spec, self._names).keys)

    def tick(self, cursor: str | None) -> Tick:
        """Evaluates the sensor once."""
        sensor = self._definitions.resolve_sensor_def(self._names.job("follow_sensor"))
        resources = {"cockroach_for_ticks": (self._definitions.resources or {})["cockroach_for_ticks"]}
        with (
            dg.build_sensor_context(
                instance=self._instance, cursor=cursor, definitions=self._definitions, resources=resources
            ) as context,
            timed() as sent,
        ):
            started = time.perf_counter()
            data = sensor.evaluate_tick(context)
            seconds = time.perf_counter() - started
        assert [request.job_name for request in data.run_requests or []] == [self._names.job("follow")], data
        return Tick(len(sent), 1000 * sum(each for _, each in sent), 1000 * seconds, data.cursor)


def index_used(connection: psycopg.Connection, table: Table, spec: VectorColumn) -> str:
    """The index through which the new rows are counted, as EXPLAIN tells it."""
    statement = row_statements.count_missing(table, spec, waiting=False)
    parameters = {"seed": fingerprint_seed("bench"), "limit": 100_000}
    ((plan,),) = connection.execute(b"EXPLAIN (FORMAT JSON) " + statement.query, parameters).fetchall()
    text = json.dumps(plan)
    assert "Seq Scan" not in text, text
    return pending_index_name(spec) if f'"Index Name": "{pending_index_name(spec)}"' in text else "another"


def measure(server: EmbeddedServer, folder: Path, sizes: Sequence[int]) -> list[list[object]]:
    """Milliseconds of a tick, at each size; in turn, so that whatever else runs disturbs all alike."""
    url = server.ensure_database("bench")
    shutil.copy(Path(__file__).parents[1] / "dagster.yaml", folder)
    os.environ.update({"DAGSTER_HOME": str(folder), URL_VARIABLE: sqlalchemy_url(server.ensure_database("dagster"))})
    with (
        psycopg.connect(url, autocommit=True) as connection,
        Database(url) as database,
        dg.DagsterInstance.get() as instance,
    ):
        benches = [Bench(url, folder, instance, rows) for rows in sizes]
        for bench in benches:
            bench.prepare(connection, database)
        # The first tick also looks whether the table has outgrown its partitions, as one does every ten minutes.
        firsts = [bench.tick(None) for bench in benches]
        ticks = [
            [bench.tick(first.cursor) for bench, first in zip(benches, firsts, strict=True)] for _ in range(_TICKS)
        ]
        used = [index_used(connection, read_table(database, bench.spec.table), bench.spec) for bench in benches]
    results: list[list[object]] = []
    for place, bench in enumerate(benches):
        times = sorted(each[place].database for each in ticks)
        results.append(
            [
                f"{bench.rows:,}",
                f"{bench.partitions:,}",
                ticks[0][place].statements,
                times[0],
                statistics.median(times),
                times[-1],
                firsts[place].database,
                statistics.median(each[place].whole for each in ticks),
                "yes" if used[place] == pending_index_name(bench.spec) else "no",
            ]
        )
    return results


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    # Dagster warns of a parameter of its own.
    warnings.simplefilter("ignore", dg.BetaWarning)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="*", default=[100_000, 1_000_000], help="embedded rows")
    sizes = parser.parse_args(arguments).rows
    with own_server() as server, tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "bench.py").write_text(_MODEL)
        results = measure(server, Path(folder), sizes)
    show(
        f"database time of a sensor tick in milliseconds, {_NEW_ROWS} new rows, {_TICKS} ticks",
        ["embedded rows", "partitions", "statements", "best", "median", "worst", "first", "whole tick", "by index"],
        results,
    )
    best = [float(str(row[3])) for row in results]
    print(f"from the smallest table to the largest: {best[-1] / best[0]:.2f} times (the best of each)")


if __name__ == "__main__":
    main()
