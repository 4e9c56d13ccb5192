"""A backfill through Dagster against `crdbvec embed` on the same rows, in one run.

`dagster dev` runs on the project's dagster.yaml, and the backfill of all partitions is launched by GraphQL as the UI
does. Its time is that from the start of the first run to the last materialization; the interval of the backfill daemon
before it is shown separately. With `--stub` the encoder costs almost nothing, which shows what partitions cost.
"""

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import dagster as dg
import psutil
import psycopg
from psycopg import sql

from benchmarks.bench_tables import MODEL, glosses, own_server, show
from benchmarks.dagster_project import ROOT, DagsterProject, make_project
from benchmarks.processes import set_signal_handlers
from crdbvec_pipelines.embedded import EmbeddedServer
from crdbvec_pipelines.encoding.registry import ModelRegistry

_TABLE = "backfill"
_STUB = "stub_hash"
_LIMIT_SECONDS = 3_600
_SAMPLE_SECONDS = 0.2


@dataclass
class Measured:
    """What one way of embedding all rows took."""

    seconds: float = 0.0
    seconds_before: float = 0.0
    processes: int = 1
    runs: int = 0
    rows_read: int = 0
    statements: int = 0
    database_seconds: float = 0.0
    peak_bytes: int = 0
    peaks: dict[int, int] = field(default_factory=dict)


def fill_table(url: str, rows: int) -> None:
    """Create a table of different texts."""
    texts = glosses(min(rows, 20_000))
    name = sql.Identifier(_TABLE)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(name))
        connection.execute(sql.SQL("CREATE TABLE {} (id BIGINT PRIMARY KEY, body TEXT)").format(name))
        with connection.cursor().copy(sql.SQL("COPY {} (id, body) FROM STDIN").format(name)) as copy:
            for number in range(rows):
                text = texts[number % len(texts)]
                copy.write_row((number, text if number < len(texts) else f"{number // len(texts)}: {text}"))
        connection.execute(sql.SQL("VACUUM ANALYZE {}").format(name))


def reset(url: str) -> "Counters":
    """Remove all vectors, and return what the server has counted so far."""
    name = sql.Identifier(_TABLE)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("UPDATE {} SET v = NULL, v_fingerprint = NULL").format(name))
        connection.execute(sql.SQL("VACUUM FULL {}").format(name))
        connection.execute(sql.SQL("VACUUM ANALYZE {}").format(name))
    return read_counters(url)


class Counters(NamedTuple):
    """What the server has counted: rows of the table read, statements of the database, and its active time."""

    rows_read: int
    statements: int
    database_seconds: float


def read_counters(url: str) -> Counters:
    """Return the counters. A session reports its counts at its end, or within a second."""
    time.sleep(1.5)
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute(
            "SELECT t.seq_tup_read + t.idx_tup_fetch, d.xact_commit, d.active_time / 1000 "
            "FROM pg_stat_user_tables AS t, pg_stat_database AS d "
            "WHERE t.relname = %s AND d.datname = current_database()",
            (_TABLE,),
        ).fetchone()
    assert found is not None
    return Counters(int(found[0]), int(found[1]), float(found[2]))


def add_counters(url: str, measured: Measured, before: Counters) -> None:
    """Store what the server has counted since `reset`, and check that all rows are embedded."""
    after = read_counters(url)
    with psycopg.connect(url, autocommit=True) as connection:
        left = connection.execute(
            sql.SQL("SELECT count(*) FROM {} WHERE v IS NULL").format(sql.Identifier(_TABLE))
        ).fetchone()
    assert left == (0,), f"{left} rows were not embedded"
    measured.rows_read = after.rows_read - before.rows_read
    measured.statements = after.statements - before.statements
    measured.database_seconds = after.database_seconds - before.database_seconds


@contextmanager
def watched(measured: Measured, parent: int, marker: str) -> Iterator[None]:
    """Count the processes below a parent whose command line contains a marker, and take their peak memory."""
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(_SAMPLE_SECONDS):
            for child in psutil.Process(parent).children(recursive=True):
                try:
                    if marker in " ".join(child.cmdline()):
                        size = child.memory_info().rss
                        measured.peaks[child.pid] = max(measured.peaks.get(child.pid, 0), size)
                except psutil.Error:
                    continue

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()
        measured.processes = max(1, len(measured.peaks))
        measured.peak_bytes = max(measured.peaks.values(), default=0)


def embed(project: DagsterProject, url: str) -> Measured:
    """Embed all rows with `crdbvec embed`."""
    measured = Measured()
    before = reset(url)
    with watched(measured, os.getpid(), "crdbvec embed"):
        started = time.perf_counter()
        project.run("crdbvec", "embed", "--json")
        measured.seconds = time.perf_counter() - started
    add_counters(url, measured, before)
    return measured


def backfill(project: DagsterProject, url: str) -> Measured:
    """Embed all rows with a backfill."""
    measured = Measured()
    asset = dg.AssetKey(project.names.asset)
    with project.dagster_dev() as running, dg.DagsterInstance.from_config(str(project.folder)) as instance:
        partitions = list(instance.get_dynamic_partitions(project.names.partitions))
        before = reset(url)
        instance.wipe_assets([asset])
        with watched(measured, running.process.pid, "--multiprocessing-fork"):
            launched = time.time()
            backfill_id = running.launch_backfill(partitions)
            status = running.wait_for_backfill(instance, backfill_id, _LIMIT_SECONDS)
        assert status in ("COMPLETED_SUCCESS", "COMPLETED"), status
        records = instance.get_run_records(dg.RunsFilter(tags={"dagster/backfill": backfill_id}))
        first = min(record.start_time for record in records if record.start_time)
        events = instance.fetch_materializations(asset, limit=1).records
        measured.seconds = events[0].timestamp - first
        measured.seconds_before = first - launched
        measured.runs = len(records)
        assert len(instance.get_materialized_partitions(asset)) == len(partitions)
    add_counters(url, measured, before)
    return measured


def measure(server: EmbeddedServer, rows: int, partitions: int, model: str) -> dict[str, Measured]:
    """Measure both ways on one table."""
    url = server.ensure_database("bench")
    fill_table(url, rows)
    entry = {
        "table": _TABLE,
        "input": "body",
        "output": "v",
        "model": model,
        "partitions": {"target_rows": rows // partitions, "max_partitions": max(partitions, 2)},
    }
    with tempfile.TemporaryDirectory(prefix="crdbvec-bench-") as folder:
        storage = server.ensure_database(f"dagster_{rows}_{partitions}")
        project = make_project(Path(folder), url, storage, entry, ROOT / "tests" / "wrappers")
        os.environ.update(project.environment)
        job = project.names.job("sync_partitions")
        project.run("dagster", "job", "execute", "-m", "crdbvec_pipelines.definitions", "-j", job)
        return {"crdbvec embed": embed(project, url), "Dagster backfill": backfill(project, url)}


def main() -> None:
    """Measure and print."""
    set_signal_handlers()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--case", nargs=2, type=int, action="append", metavar=("ROWS", "PARTITIONS"), help="rows and partitions"
    )
    parser.add_argument("--stub", action="store_true", help="use an encoder that costs almost nothing")
    options = parser.parse_args()
    model = _STUB if options.stub else MODEL
    default = [(1_000_000, 10), (1_000_000, 1_000)] if options.stub else [(16_000, 8), (100_000, 8), (100_000, 100)]
    if not options.stub:
        # Converts the model if it is not in the cache.
        ModelRegistry().load(MODEL).load()
    table, ratios = [], []
    with own_server() as server:
        for rows, partitions in options.case or default:
            found = measure(server, rows, partitions, model)
            for way, each in found.items():
                table.append(
                    [
                        f"{rows:,} / {partitions:,}",
                        way,
                        each.seconds,
                        rows / each.seconds,
                        each.runs,
                        each.processes,
                        each.statements,
                        each.rows_read / rows,
                        each.database_seconds,
                        each.peak_bytes / 1e6,
                    ]
                )
            first, second = found.values()
            ratios.append([f"{rows:,} / {partitions:,}", first.seconds / second.seconds, second.seconds_before])
    show(
        f"embedding all rows, model {model}",
        (
            "rows / partitions",
            "way",
            "seconds",
            "rows/s",
            "runs",
            "processes",
            "statements",
            "rows read per row",
            "database s",
            "peak MB",
        ),
        table,
    )
    show(
        "rate of the backfill relative to `crdbvec embed`",
        ("rows / partitions", "backfill/embed", "seconds before the first run"),
        ratios,
    )


if __name__ == "__main__":
    main()
