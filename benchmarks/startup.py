"""The start-up time of short runs: from launch to the first written row, or to the result of a search.

`crdbvec search` and `crdbvec embed` run as processes. The follow run is launched by Dagster's daemon after its sensor
has found new rows, with the dagster.yaml and workspace.yaml of the project. Its launch is the event RUN_STARTING, which
precedes its process. The converted model is in the cache, as after a first run. The reference is a process that only
imports Dagster; it shows the current speed of the machine.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import psycopg
from psycopg import sql

from benchmarks.bench_tables import MODEL, fill, glosses, own_server, show
from benchmarks.dagster_project import ROOT, WORKSPACE, DagsterProject, make_project
from benchmarks.processes import set_signal_handlers
from crdbvec_pipelines.encoding.registry import ModelRegistry

_LOCATION = "crdbvec_pipelines"
_TABLE = "startup"
_ENTRY = {"table": _TABLE, "input": "body", "output": "v", "model": MODEL, "follow": {"interval_seconds": 5}}
_ROWS = 2_000
_NEW_ROWS = 20
# A start takes a few seconds; after this time the benchmark fails.
_WAIT_LIMIT_SECONDS = 180


class FilledTable:
    """The filled table of a project."""

    def __init__(self, project: DagsterProject, url: str) -> None:
        self.project = project
        self._connection = psycopg.connect(url, autocommit=True)

    def unembedded(self) -> int:
        """Return the number of rows without a vector."""
        found = self._connection.execute(
            sql.SQL("SELECT count(*) FROM {} WHERE v IS NULL").format(sql.Identifier(_TABLE))
        ).fetchone()
        assert found is not None
        return int(found[0])

    def insert(self, rows: int) -> None:
        """Insert new rows in one transaction."""
        self._connection.execute(
            sql.SQL(
                "INSERT INTO {} (body) SELECT 'news number ' || n || ' of ' || now() FROM generate_series(1, %s) n"
            ).format(sql.Identifier(_TABLE)),
            (rows,),
        )

    def wait_until(self, is_reached: Callable[[], bool]) -> float:
        """Wait for a state of the table and return the time at which it was reached."""
        deadline = time.monotonic() + _WAIT_LIMIT_SECONDS
        while not is_reached():
            assert time.monotonic() < deadline, self.project.end_of_log()
            time.sleep(0.01)
        return time.time()


def searches(project: DagsterProject, times: int) -> list[float]:
    """Return the seconds of `crdbvec search` as a process, from its start to its end."""
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        project.run("crdbvec", "search", "how bright a star is")
        seconds.append(time.perf_counter() - started)
    return seconds


def imports(project: DagsterProject, times: int) -> list[float]:
    """Return the seconds of a process that imports Dagster and its storage."""
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        project.run("python", "-c", "import dagster, dagster._grpc.server, dagster_postgres")
        seconds.append(time.perf_counter() - started)
    return seconds


def embeds(table: FilledTable, times: int) -> list[float]:
    """Return the seconds from the start of `crdbvec embed` as a process to its first written row."""
    seconds = []
    for _ in range(times):
        table.insert(_NEW_ROWS)
        started = time.time()
        with table.project.started("crdbvec", "embed") as process:
            seconds.append(table.wait_until(lambda: table.unembedded() < _NEW_ROWS) - started)
            process.wait(_WAIT_LIMIT_SECONDS)
    return seconds


def follow_runs(table: FilledTable, times: int) -> list[float]:
    """Return the seconds from the launch of a follow run by the daemon to its first written row."""
    seconds = []
    project = table.project
    project.run("dagster", "sensor", "start", project.names.job("follow_sensor"), *WORKSPACE, "-l", _LOCATION)
    with project.started("dagster-daemon", "run", *WORKSPACE), dg.DagsterInstance.get() as instance:
        for _ in range(times):
            table.insert(_NEW_ROWS)
            written = table.wait_until(lambda: table.unembedded() < _NEW_ROWS)
            (latest,) = instance.get_run_records(limit=1)
            seconds.append(written - launched_at(instance, latest.dagster_run.run_id))
            table.wait_until(lambda: not instance.get_run_records(_UNFINISHED))
    return seconds


def launched_at(instance: dg.DagsterInstance, run_id: str) -> float:
    """Return the time of the event RUN_STARTING of a run."""
    records = instance.fetch_run_status_changes(dg.DagsterEventType.RUN_STARTING, limit=20).records
    return next(each.timestamp for each in records if each.run_id == run_id)


_UNFINISHED = dg.RunsFilter(
    statuses=[
        dg.DagsterRunStatus.QUEUED,
        dg.DagsterRunStatus.NOT_STARTED,
        dg.DagsterRunStatus.STARTING,
        dg.DagsterRunStatus.STARTED,
    ]
)


def main() -> None:
    """Measure and print the seconds."""
    set_signal_handlers()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--times", type=int, default=5, help="how many times each command is started")
    options = parser.parse_args()
    # Converts the model if it is not in the cache.
    ModelRegistry().load(MODEL).load()
    with own_server() as server, tempfile.TemporaryDirectory(prefix="crdbvec-bench-") as folder:
        url = server.ensure_database("bench")
        fill(url, _TABLE, glosses(_ROWS))
        project = make_project(Path(folder), url, server.ensure_database("dagster"), _ENTRY, ROOT / "models")
        table = FilledTable(project, url)
        os.environ.update(project.environment)
        project.run("crdbvec", "embed")
        figures = {
            "reference: import Dagster": imports(project, options.times),
            "crdbvec search, whole process": searches(project, options.times),
            "crdbvec embed, to the first row": embeds(table, options.times),
            "follow run, from launch to the first row": follow_runs(table, options.times),
        }
    show(
        f"seconds, {options.times} starts each",
        ["command", "best", "median", "worst"],
        [[name, min(found), statistics.median(found), max(found)] for name, found in figures.items()],
    )


if __name__ == "__main__":
    main()
