"""The rate of concurrent Dagster runs of one table together, with `max_rows_per_second`.

A backfill with one partition per run is launched in `dagster dev`; the model is a stub that takes no time. The rate is
measured while all runs are in progress, with the clock of the server.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import dagster as dg
import psycopg

from benchmarks.bench_tables import own_server, show
from benchmarks.dagster_project import ROOT, DagsterProject, RunningDagster, make_project
from benchmarks.limits import embedded, fill, owners
from benchmarks.processes import set_signal_handlers

_SETTLE_SECONDS = 3.0
"""Not measured: each run first writes what it was assigned at its start."""
_LIMIT_SECONDS = 300
_IN_PROGRESS = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])


def measure(project: DagsterProject, running: RunningDagster, url: str, runs: int, seconds: float) -> float:
    """Return the rows per second of a backfill, while all of its runs are in progress."""
    with dg.DagsterInstance.from_config(str(project.folder)) as instance, psycopg.connect(url, autocommit=True) as rows:
        partitions = list(instance.get_dynamic_partitions(project.names.partitions))[:runs]
        running.launch_backfill(partitions)
        deadline = time.monotonic() + _LIMIT_SECONDS
        while instance.get_runs_count(_IN_PROGRESS) < runs or owners(rows) < runs:
            if time.monotonic() > deadline:
                raise TimeoutError(project.end_of_log())
            time.sleep(0.2)
        time.sleep(_SETTLE_SECONDS)
        before, started = embedded(rows)
        time.sleep(seconds)
        after, ended = embedded(rows)
        if instance.get_runs_count(_IN_PROGRESS) < runs:
            raise RuntimeError("A run has ended before the end of the measurement. Use more rows.")
        # The runs end after their current batch, so that Dagster can be stopped.
        project.run("crdbvec", "suspend")
        while instance.get_runs_count(_IN_PROGRESS):
            time.sleep(0.5)
        return (after - before) / (ended - started)


def main() -> None:
    """Measure and print."""
    set_signal_handlers()
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--runs", type=int, default=4)
    parser.add_argument("--rate", type=int, default=500)
    options = parser.parse_args()
    with own_server() as server, tempfile.TemporaryDirectory(prefix="crdbvec-bench-") as folder:
        url, storage = server.ensure_database("bench"), server.ensure_database("dagster")
        fill(url, options.rows)
        entry = {
            "table": "limited",
            "input": "body",
            "output": "v",
            "model": "stub_hash",
            "batch_size": 512,
            "max_rows_per_second": options.rate,
            "max_connections": 2 * options.runs,
            "partitions": {"target_rows": options.rows // options.runs, "max_per_run": 1},
        }
        project = make_project(Path(folder), url, storage, entry, ROOT / "tests" / "wrappers")
        os.environ.update(project.environment)
        job = project.names.job("sync_partitions")
        project.run("dagster", "job", "execute", "-m", "crdbvec_pipelines.definitions", "-j", job)
        with project.dagster_dev() as running:
            rate = measure(project, running, url, options.runs, options.seconds)
    show(
        f"{options.runs} Dagster runs, {options.rows:,} rows, {options.seconds:g} s",
        ("max_rows_per_second", "rows/s", "share of the limit"),
        [[options.rate, rate, rate / options.rate]],
    )


if __name__ == "__main__":
    main()
