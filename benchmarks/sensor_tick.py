"""What a tick of the follow sensor costs the database: 100 new rows among 100,000 embedded ones, and among 1,000,000.

The real sensor is evaluated against the embedded PostgreSQL, and the time of each statement that it sends is added up,
as the client sees it. Connecting and Dagster's own storage are not the table's affair and are left out.
"""

import argparse
import json
import statistics
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import dagster as dg
import psycopg
from psycopg import sql

from benchmarks.bench_tables import own_database, show, timed
from crdbvec_pipelines.config import ProjectConfig, VectorColumn, parse_config
from crdbvec_pipelines.database import row_statements
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.expressions import fingerprint_seed
from crdbvec_pipelines.database.introspect import Table, read_table
from crdbvec_pipelines.database.schema import ensure_schema, pending_index_name
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


class Bench:
    """One table on a database, and its sensor on an instance."""

    def __init__(self, url: str, folder: Path, instance: dg.DagsterInstance, rows: int) -> None:
        self.rows = rows
        self.table = f"rows_{rows}"
        column = {"table": self.table, "input": "body", "output": "v", "model": "bench", "updated_at": "updated"}
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
        sync_partitions(self._instance, database, self.spec, self._names)

    def tick(self, cursor: str | None) -> tuple[list[tuple[str, float]], str | None]:
        """Evaluates the sensor once: what it sent to the database, and its cursor."""
        sensor = self._definitions.resolve_sensor_def(self._names.job("follow_sensor"))
        resources = {"cockroach_for_ticks": (self._definitions.resources or {})["cockroach_for_ticks"]}
        with (
            dg.build_sensor_context(
                instance=self._instance, cursor=cursor, definitions=self._definitions, resources=resources
            ) as context,
            timed() as sent,
        ):
            data = sensor.evaluate_tick(context)
        assert [request.job_name for request in data.run_requests or []] == [self._names.job("follow")], data
        return sent, data.cursor


def index_used(connection: psycopg.Connection, table: Table, spec: VectorColumn) -> str:
    """The index through which the new rows are counted, as EXPLAIN tells it."""
    statement = row_statements.count_missing(table, spec, waiting=False)
    parameters = {"seed": fingerprint_seed("bench"), "limit": 100_000}
    ((plan,),) = connection.execute(b"EXPLAIN (FORMAT JSON) " + statement.query, parameters).fetchall()
    text = json.dumps(plan)
    assert "Seq Scan" not in text, text
    return pending_index_name(spec) if f'"Index Name": "{pending_index_name(spec)}"' in text else "another"


def measure(url: str, folder: Path, sizes: Sequence[int]) -> list[list[object]]:
    """Milliseconds of database time of a tick, at each size; in turn, so that whatever else runs disturbs all alike."""
    with (
        psycopg.connect(url, autocommit=True) as connection,
        Database(url) as database,
        dg.DagsterInstance.ephemeral() as instance,
    ):
        benches = [Bench(url, folder, instance, rows) for rows in sizes]
        for bench in benches:
            bench.prepare(connection, database)
        # The first tick also looks whether the table has outgrown its partitions, as one does every ten minutes.
        firsts = [bench.tick(None) for bench in benches]
        ticks = [
            [bench.tick(cursor)[0] for bench, (_, cursor) in zip(benches, firsts, strict=True)] for _ in range(_TICKS)
        ]
        used = [index_used(connection, read_table(database, bench.spec.table), bench.spec) for bench in benches]
    results: list[list[object]] = []
    for place, bench in enumerate(benches):
        totals = sorted(total(tick[place]) for tick in ticks)
        index = "yes" if used[place] == pending_index_name(bench.spec) else "no"
        numbers = [totals[0], statistics.median(totals), totals[-1], total(firsts[place][0])]
        results.append([f"{bench.rows:,}", len(ticks[0][place]), *numbers, index])
    return results


def total(sent: Sequence[tuple[str, float]]) -> float:
    """Milliseconds of some statements together."""
    return 1000 * sum(seconds for _, seconds in sent)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    # Dagster warns of a parameter of its own.
    warnings.simplefilter("ignore", dg.BetaWarning)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="*", default=[100_000, 1_000_000], help="embedded rows")
    sizes = parser.parse_args(arguments).rows
    with own_database() as url, tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "bench.py").write_text(_MODEL)
        results = measure(url, Path(folder), sizes)
    show(
        f"database time of a sensor tick in milliseconds, {_NEW_ROWS} new rows, {_TICKS} ticks",
        ["embedded rows", "statements", "best", "median", "worst", "first tick", "partial index"],
        results,
    )
    best = [float(str(row[2])) for row in results]
    print(f"from the smallest table to the largest: {best[-1] / best[0]:.2f} times (the best of each)")


if __name__ == "__main__":
    main()
