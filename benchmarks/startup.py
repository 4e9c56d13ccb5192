"""From a launch to the first written row, and to the answer of a search: what short runs spend on starting.

`crdbvec search` and `crdbvec embed` are started as processes. The follow run is launched by Dagster's daemon because
its sensor saw new rows, on the project's own dagster.yaml and workspace.yaml; its launch is the moment at which Dagster
notes the run as starting, before any process exists for it. The converted model is in its cache, as after a first run.
How fast the machine is just now shows in the yardstick, a process that imports Dagster and does nothing.
"""

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import psycopg
import yaml
from psycopg import sql

from benchmarks.bench_tables import MODEL, fill, glosses, own_server, show
from crdbvec_pipelines.config import parse_config
from crdbvec_pipelines.encoding.registry import ModelRegistry
from crdbvec_pipelines.orchestration.names import names_of
from crdbvec_pipelines.orchestration.storage import URL_VARIABLE, sqlalchemy_url

_ROOT = Path(__file__).parents[1]
_TABLE = "startup"
_ROWS = 2_000
_NEW_ROWS = 20
_PATIENCE_SECONDS = 180


class Project:
    """A configuration for one filled table, with Dagster's home beside it."""

    def __init__(self, folder: Path, url: str, storage: str) -> None:
        self.url = url
        self._folder = folder
        self._connection = psycopg.connect(url, autocommit=True)
        given = {
            "database": {"url": url},
            "models": {"directories": [str(_ROOT / "models")]},
            "vectors": [
                {"table": _TABLE, "input": "body", "output": "v", "model": MODEL, "follow": {"interval_seconds": 5}}
            ],
        }
        file = folder / "crdbvec.yaml"
        file.write_text(yaml.safe_dump(given), encoding="utf-8")
        shutil.copy(_ROOT / "dagster.yaml", folder)
        config = parse_config(given, str(file), folder)
        self.names = names_of(config)[str(config.vectors[0])]
        self.environment: Mapping[str, str] = {
            **os.environ,
            "CRDBVEC_CONFIG": str(file),
            "DAGSTER_HOME": str(folder),
            URL_VARIABLE: sqlalchemy_url(storage),
        }

    def run(self, *command: str) -> None:
        """Runs a command of the project to its end."""
        done = subprocess.run(
            self.line(*command), cwd=self._folder, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-3_000:]

    def line(self, *command: str) -> list[str]:
        """The command line of `crdbvec` or `dagster`."""
        return [str(Path(sys.executable).with_name(command[0])), *command[1:]]

    @contextmanager
    def started(self, *command: str) -> Iterator["subprocess.Popen[bytes]"]:
        """A command of the project running meanwhile."""
        with (self._folder / "log").open("wb") as log:
            process = subprocess.Popen(
                self.line(*command),
                cwd=self._folder,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)

    def missing(self) -> int:
        """How many rows have no vector."""
        found = self._connection.execute(
            sql.SQL("SELECT count(*) FROM {} WHERE v IS NULL").format(sql.Identifier(_TABLE))
        ).fetchone()
        assert found is not None
        return int(found[0])

    def insert(self, rows: int) -> None:
        """New rows, in one transaction."""
        self._connection.execute(
            sql.SQL(
                "INSERT INTO {} (body) SELECT 'news number ' || n || ' of ' || now() FROM generate_series(1, %s) n"
            ).format(sql.Identifier(_TABLE)),
            (rows,),
        )

    def wait_until(self, happened: Callable[[], bool]) -> float:
        """Waits for something to be seen in the table, and returns the moment."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not happened():
            assert time.monotonic() < deadline, (self._folder / "log").read_text(errors="replace")[-3_000:]
            time.sleep(0.01)
        return time.time()


def searches(project: Project, times: int) -> list[float]:
    """Seconds of `crdbvec search` as a process, from its start to its end."""
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        project.run("crdbvec", "search", "how bright a star is")
        seconds.append(time.perf_counter() - started)
    return seconds


def imports(project: Project, times: int) -> list[float]:
    """Seconds of a process that imports Dagster and its storage."""
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        project.run("python", "-c", "import dagster, dagster._grpc.server, dagster_postgres")
        seconds.append(time.perf_counter() - started)
    return seconds


def embeds(project: Project, times: int) -> list[float]:
    """Seconds from the start of `crdbvec embed` as a process to its first written row."""
    seconds = []
    for _ in range(times):
        project.insert(_NEW_ROWS)
        started = time.time()
        with project.started("crdbvec", "embed") as process:
            seconds.append(project.wait_until(lambda: project.missing() < _NEW_ROWS) - started)
            process.wait(_PATIENCE_SECONDS)
    return seconds


def follow_runs(project: Project, times: int) -> list[float]:
    """Seconds from the launch of a follow run by the daemon to its first written row."""
    seconds = []
    project.run("dagster", "sensor", "start", project.names.job("follow_sensor"), *_WORKSPACE)
    with project.started("dagster-daemon", "run", *_WORKSPACE[:2]), dg.DagsterInstance.get() as instance:
        for _ in range(times):
            project.insert(_NEW_ROWS)
            written = project.wait_until(lambda: project.missing() < _NEW_ROWS)
            (latest,) = instance.get_run_records(limit=1)
            seconds.append(written - launched_at(instance, latest.dagster_run.run_id))
            project.wait_until(lambda: not instance.get_run_records(_UNFINISHED))
    return seconds


def launched_at(instance: dg.DagsterInstance, run_id: str) -> float:
    """When Dagster noted a run as starting."""
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
_WORKSPACE = ("-w", str(_ROOT / "workspace.yaml"), "-l", "crdbvec_pipelines")


def main() -> None:
    """Prints the seconds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--times", type=int, default=5, help="how often each is started")
    options = parser.parse_args()
    # Converts the model if nobody has.
    ModelRegistry().load(MODEL).warm_up()
    with own_server() as server, tempfile.TemporaryDirectory(prefix="crdbvec-bench-") as folder:
        url = server.ensure_database("bench")
        fill(url, _TABLE, glosses(_ROWS))
        project = Project(Path(folder), url, server.ensure_database("dagster"))
        os.environ.update(project.environment)
        project.run("crdbvec", "embed")
        figures = {
            "yardstick: import Dagster": imports(project, options.times),
            "crdbvec search, the whole process": searches(project, options.times),
            "crdbvec embed, to the first row": embeds(project, options.times),
            "follow run, from its launch to the first row": follow_runs(project, options.times),
        }
    show(
        f"seconds, {options.times} times",
        ["", "best", "median", "worst"],
        [[name, min(found), statistics.median(found), max(found)] for name, found in figures.items()],
    )


if __name__ == "__main__":
    main()
