"""The cost of a tick of the follow sensor: 100 new rows in a table with 100,000 embedded rows, and with 1,000,000.

The real sensor is evaluated against the embedded PostgreSQL, with about 1,000 partitions per table. The times of all
statements that it sends to the table's database are added, as the client measures them. The whole tick also reads from
Dagster's storage (PostgreSQL, as in production) which runs are in progress.
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
from crdbvec_pipelines.config import ProjectConfig, parse_config
from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.rows import count_statements
from crdbvec_pipelines.database.schema.prepare import prepare_column
from crdbvec_pipelines.database.schema.statements import pending_index_name
from crdbvec_pipelines.embedded import EmbeddedServer
from crdbvec_pipelines.encoding.registry import ModelRegistry
from crdbvec_pipelines.orchestration.asset_names import asset_names
from crdbvec_pipelines.orchestration.build import build_definitions
from crdbvec_pipelines.orchestration.instance.storage import URL_VARIABLE, sqlalchemy_url
from crdbvec_pipelines.orchestration.partitions.sync import sync_partitions

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


def fill(connection: psycopg.Connection, column: BoundColumn, rows: int) -> None:
    """Fill a table with embedded rows with random keys. As in production, the row is inserted before its vector."""
    table = column.table.identifier
    connection.execute(
        sql.SQL(
            "INSERT INTO {} (id, body, updated) SELECT gen_random_uuid(), 'a text of average length, number ' || n, "
            "now() - n * INTERVAL '1 second' - INTERVAL '1 day' FROM generate_series(1, %s) AS n"
        ).format(table),
        (rows,),
    )
    connection.execute(
        sql.SQL("UPDATE {} SET v = '[1,1,1,1,1,1,1,1]', v_fingerprint = md5(%s || body)").format(table),
        (column.seed["seed"],),
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
    """One evaluation of a sensor.

    Attributes:
        statements: The number of statements sent to the table's database.
        database_ms: The time of these statements.
        whole_ms: The time of the evaluation.
        cursor: The cursor that the sensor returned.
    """

    statements: int
    database_ms: float
    whole_ms: float
    cursor: str | None


class Bench:
    """One table and its sensor on a Dagster instance."""

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
        self.config: ProjectConfig = parse_config(given, "benchmark", folder)
        (self.spec,) = self.config.vectors
        self._names = asset_names(self.config)[str(self.spec)]
        self._definitions = build_definitions(self.config)
        self._instance = instance

    def prepare(self, connection: psycopg.Connection, database: Database) -> None:
        """Create and fill the table, and register its partitions."""
        connection.execute(
            sql.SQL("CREATE TABLE {} (id UUID PRIMARY KEY, body TEXT, updated TIMESTAMPTZ)").format(
                sql.Identifier(self.table)
            )
        )
        model = ModelRegistry(self.config.models.directories).load(self.spec.model)
        self.column = prepare_column(database, self.spec, model)
        fill(connection, self.column, self.rows)
        self.partitions = len(sync_partitions(self._instance, self.column, self._names).keys)

    def tick(self, cursor: str | None) -> Tick:
        """Evaluate the sensor once."""
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


def uses_pending_index(connection: psycopg.Connection, column: BoundColumn) -> bool:
    """Return whether the query plan of the count of new rows uses the partial index."""
    statement = count_statements.count_unembedded(column, exclude_deferred=False)
    parameters = {**column.seed, "limit": 100_000}
    ((query_plan,),) = connection.execute(b"EXPLAIN (FORMAT JSON) " + statement.query, parameters).fetchall()
    text = json.dumps(query_plan)
    assert "Seq Scan" not in text, text
    return f'"Index Name": "{pending_index_name(column.spec)}"' in text


def measure(server: EmbeddedServer, folder: Path, sizes: Sequence[int]) -> list[list[object]]:
    """Return one row of results per table size. The tables alternate, so that other load affects them equally."""
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
        # The first tick also checks whether the last partition must be split, which one tick does every ten minutes.
        firsts = [bench.tick(None) for bench in benches]
        ticks = [
            [bench.tick(first.cursor) for bench, first in zip(benches, firsts, strict=True)] for _ in range(_TICKS)
        ]
        used = [uses_pending_index(connection, bench.column) for bench in benches]
    results: list[list[object]] = []
    for place, bench in enumerate(benches):
        times = sorted(each[place].database_ms for each in ticks)
        results.append(
            [
                f"{bench.rows:,}",
                f"{bench.partitions:,}",
                ticks[0][place].statements,
                times[0],
                statistics.median(times),
                times[-1],
                firsts[place].database_ms,
                statistics.median(each[place].whole_ms for each in ticks),
                "used" if used[place] else "not used",
            ]
        )
    return results


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the results."""
    # Dagster emits this warning about one of its own parameters.
    warnings.simplefilter("ignore", dg.BetaWarning)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="*", default=[100_000, 1_000_000], help="embedded rows")
    sizes = parser.parse_args(arguments).rows
    with own_server() as server, tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "bench.py").write_text(_MODEL)
        results = measure(server, Path(folder), sizes)
    show(
        f"database time of a sensor tick in ms, {_NEW_ROWS} new rows, {_TICKS} ticks",
        ["embedded rows", "partitions", "statements", "best", "median", "worst", "first", "whole tick", "index"],
        results,
    )
    best = [float(str(row[3])) for row in results]
    print(f"ratio of the best times, largest to smallest table: {best[-1] / best[0]:.2f}")


if __name__ == "__main__":
    main()
