"""What a tick of the follow sensor costs the database: 100 new rows in tables of embedded ones, each ten times the last.

The real sensor is evaluated against the embedded PostgreSQL, and the time of each statement that it sends is added up,
as the client sees it. Connecting and Dagster's own storage are not the table's affair and are left out.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import dagster as dg
import psycopg
from psycopg import sql

from benchmarks.bench_tables import own_database, show
from crdbvec_pipelines.config import ProjectConfig, VectorColumn, parse_config
from crdbvec_pipelines.database import row_statements
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.expressions import fingerprint_seed
from crdbvec_pipelines.database.introspect import Table, read_table
from crdbvec_pipelines.database.schema import ensure_schema, pending_index_name
from crdbvec_pipelines.database.statement import Statement
from crdbvec_pipelines.orchestration.build import build_definitions
from crdbvec_pipelines.orchestration.names import names_of
from crdbvec_pipelines.orchestration.partitions import sync_partitions

_DIMENSION = 8
_NEW_ROWS = 100
_TICKS = 30
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


@contextmanager
def timed() -> Iterator[list[tuple[str, float]]]:
    """The name of each statement that is sent meanwhile, and its seconds."""
    sent: list[tuple[str, float]] = []
    run = Database._run

    def measured(self: Database, work: Any, statement: Statement) -> Any:
        started = time.perf_counter()
        try:
            return run(self, work, statement)
        finally:
            sent.append((statement.name, time.perf_counter() - started))

    with patch.object(Database, "_run", measured):
        yield sent


class Bench:
    """One table on a database, and its sensor on an instance."""

    def __init__(self, url: str, folder: Path, name: str) -> None:
        self.config: ProjectConfig = parse_config(
            {
                "database": {"url": url},
                "models": {"directories": [str(folder)]},
                "vectors": [{"table": name, "input": "body", "output": "v", "model": "bench", "updated_at": "updated"}],
            },
            "the benchmark",
            folder,
        )
        (self.spec,) = self.config.vectors
        self.names = names_of(self.config)[str(self.spec)]
        self.definitions = build_definitions(self.config)

    def tick(self, instance: dg.DagsterInstance, cursor: str | None) -> tuple[list[tuple[str, float]], str | None]:
        """Evaluates the sensor once: what it sent to the database, and its cursor."""
        sensor = self.definitions.resolve_sensor_def(self.names.job("follow_sensor"))
        resources = {"cockroach_for_ticks": (self.definitions.resources or {})["cockroach_for_ticks"]}
        with (
            dg.build_sensor_context(
                instance=instance, cursor=cursor, definitions=self.definitions, resources=resources
            ) as context,
            timed() as sent,
        ):
            data = sensor.evaluate_tick(context)
        assert [request.job_name for request in data.run_requests or []] == [self.names.job("follow")], data
        return sent, data.cursor


def index_used(connection: psycopg.Connection, table: Table, spec: VectorColumn) -> str:
    """The index through which the new rows are counted, as EXPLAIN tells it."""
    statement = row_statements.count_missing(table, spec, waiting=False)
    parameters = {"seed": fingerprint_seed("bench"), "limit": 100_000}
    ((plan,),) = connection.execute(b"EXPLAIN (FORMAT JSON) " + statement.query, parameters).fetchall()
    text = json.dumps(plan)
    assert "Seq Scan" not in text, text
    return pending_index_name(spec) if f'"Index Name": "{pending_index_name(spec)}"' in text else "another"


def one_size(url: str, folder: Path, rows: int) -> list[object]:
    """Milliseconds of database time of a tick, at one size."""
    name = f"rows_{rows}"
    bench = Bench(url, folder, name)
    with (
        psycopg.connect(url, autocommit=True) as connection,
        Database(url) as database,
        dg.DagsterInstance.ephemeral() as instance,
    ):
        connection.execute(
            sql.SQL("CREATE TABLE {} (id UUID PRIMARY KEY, body TEXT, updated TIMESTAMPTZ)").format(
                sql.Identifier(name)
            )
        )
        ensure_schema(database, bench.spec, _DIMENSION, "bench")
        fill(connection, name, rows)
        sync_partitions(instance, database, bench.spec, bench.names)
        # The first tick also looks whether the table has outgrown its partitions, as one does every ten minutes.
        first, cursor = bench.tick(instance, None)
        ticks = [bench.tick(instance, cursor)[0] for _ in range(_TICKS)]
        used = index_used(connection, read_table(database, bench.spec.table), bench.spec)
    totals = [1000 * sum(seconds for _, seconds in sent) for sent in ticks]
    slowest = max(ticks[len(ticks) // 2], key=lambda entry: entry[1])
    return [
        f"{rows:,}",
        len(ticks[0]),
        statistics.median(totals),
        max(totals),
        1000 * sum(seconds for _, seconds in first),
        f"{slowest[0]} ({1000 * slowest[1]:.2f} ms)",
        "yes" if used == pending_index_name(bench.spec) else "no",
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="*", default=[100_000, 1_000_000], help="embedded rows")
    sizes = parser.parse_args(arguments).rows
    with own_database() as url, tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "bench.py").write_text(_MODEL)
        results = [one_size(url, Path(folder), rows) for rows in sizes]
    show(
        f"database time of a sensor tick, {_NEW_ROWS} new rows",
        ["embedded rows", "statements", "median ms", "worst ms", "first ms", "slowest statement", "partial index"],
        results,
    )
    medians = [float(str(row[2])) for row in results]
    if len(medians) > 1:
        print(f"from the smallest table to the largest: {medians[-1] / medians[0]:.2f} times")


if __name__ == "__main__":
    main()
