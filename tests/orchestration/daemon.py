"""Dagster's daemon with its code server, and vector columns whose backfills it runs.

The daemon is started on the project's own dagster.yaml and workspace.yaml.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import psutil
import psycopg
import yaml
from dagster._core.execution.backfill import BulkActionStatus

from crdbvec_pipelines.orchestration.instance.storage import URL_VARIABLE, sqlalchemy_url
from tests.orchestration.columns import ENDED, BackfilledColumn
from tests.support.models import CALLS_VARIABLE, CallLog
from tests.support.processes import ROOT

WORKSPACE = ("-w", str(ROOT / "workspace.yaml"))
# A tick and a run each start a process or two, which takes long on a busy machine.
TIMEOUT_SECONDS = 240
_STOP_SECONDS = 30
_LOG_CHARACTERS = 5_000

# The daemon's own entry point, with another interval between two looks at backfills; Dagster has no setting for it.
_WITH_INTERVAL = (
    "from dagster._daemon import cli, controller; controller.DEFAULT_DAEMON_INTERVAL_SECONDS = {seconds}; cli.main()"
)


@dataclass(frozen=True)
class Daemon:
    """A running daemon, and the file to which it and its runs write."""

    process: "subprocess.Popen[bytes]"
    log: Path

    def wait_until(self, condition: Callable[[], bool], poll_seconds: float = 0.5) -> None:
        """Wait until the ticks and runs of the daemon fulfil a condition; fail with the end of its log."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not condition():
            assert self.process.poll() is None, self._end_of_log()
            assert time.monotonic() < deadline, self._end_of_log()
            time.sleep(poll_seconds)

    def kill_with_all_processes(self) -> None:
        """Kill the daemon, the code server and the processes of runs at the same moment, as a reboot does."""
        processes = [psutil.Process(self.process.pid), *self._descendants()]
        # None of them may see another one's end.
        for process in processes:
            process.suspend()
        for process in processes:
            process.kill()
        psutil.wait_procs(processes)
        self.process.wait()

    def kill_code_server(self) -> None:
        """Kill the code servers and not the processes of runs that they have started."""
        servers = [process for process in self._descendants() if "grpc" in process.cmdline()]
        assert servers
        for server in servers:
            server.kill()
        psutil.wait_procs(servers)

    def _descendants(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def _end_of_log(self) -> str:
        return self.log.read_text(errors="replace")[-_LOG_CHARACTERS:]


def prepare_home(home: Path, config: Path, url: str, storage: str) -> dict[str, str]:
    """Copy the project's dagster.yaml into $DAGSTER_HOME, and return the environment of the project's processes.

    Args:
        home: The folder.
        config: The configuration file.
        url: The database with the tables.
        storage: The database for Dagster's storage.
    """
    shutil.copy(ROOT / "dagster.yaml", home)
    return {
        "DAGSTER_HOME": str(home),
        URL_VARIABLE: sqlalchemy_url(storage),
        "CRDBVEC_URL": url,
        "CRDBVEC_CONFIG": str(config),
    }


def change_settings(home: Path, **sections: Mapping[str, object]) -> None:
    """Set values in sections of the dagster.yaml in $DAGSTER_HOME; the other values of the sections stay."""
    file = home / "dagster.yaml"
    settings = yaml.safe_load(file.read_text(encoding="utf-8"))
    for name, values in sections.items():
        settings[name] = {**settings.get(name, {}), **values}
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")


def daemon_command(workspace: Sequence[str], interval_seconds: int | None = None) -> list[str]:
    """Return the command that runs Dagster's daemon.

    Args:
        workspace: The options that name the workspace.
        interval_seconds: How often the daemon looks at backfills; None for Dagster's 30 s.
    """
    entry = ["-m", "dagster._daemon"]
    if interval_seconds is not None:
        entry = ["-c", _WITH_INTERVAL.format(seconds=interval_seconds)]
    return [sys.executable, *entry, "run", *workspace]


@contextmanager
def running_daemon(home: Path, *, interval_seconds: int | None = None) -> Iterator[Daemon]:
    """Start Dagster's daemon with its code server, and stop both at the end.

    Args:
        home: $DAGSTER_HOME, which is also the working directory.
        interval_seconds: How often the daemon looks at backfills; None for Dagster's 30 s.
    """
    path = home / "daemon.log"
    with path.open("wb") as log:
        process = subprocess.Popen(
            daemon_command(WORKSPACE, interval_seconds),
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield Daemon(process, path)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_STOP_SECONDS)
        finally:
            # Processes that the daemon has started and not stopped, if any.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def start_sensor(name: str, home: Path) -> None:
    """Switch a sensor on, as a person does on the command line."""
    started = subprocess.run(
        [sys.executable, "-m", "dagster", "sensor", "start", name, *WORKSPACE, "-l", "crdbvec_pipelines"],
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert started.returncode == 0, started.stderr


@dataclass(frozen=True)
class RunningProject:
    """A project, its Dagster instance, and the running daemon."""

    config: Path
    variables: Mapping[str, str]
    instance: dg.DagsterInstance
    daemon: Daemon

    @property
    def url(self) -> str:
        return self.variables["CRDBVEC_URL"]

    @property
    def calls(self) -> CallLog:
        return CallLog(Path(self.variables[CALLS_VARIABLE]))


class ObservedColumn(BackfilledColumn):
    """A vector column with pending rows, whose invariants are asserted whenever something is waited for.

    Args:
        running: The project.
        connection: A connection to the database.
        output: The name of the column.
    """

    def __init__(self, running: RunningProject, connection: psycopg.Connection, output: str) -> None:
        super().__init__(running.config, running.instance, connection, running.calls, output)
        self.running = running
        self._seen: set[str] = set()

    def materialized(self) -> set[str]:
        """Return the materialized partitions, and assert that they are complete and were not lost."""
        materialized = self.instance.get_materialized_partitions(self.project.asset)
        assert materialized >= self._seen
        self._seen = materialized
        pending = self.pending()
        assert {key: pending[key] for key in materialized if pending[key]} == {}
        return materialized

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition; at every poll, assert that the materialized partitions are complete."""

        def is_fulfilled() -> bool:
            self.materialized()
            return condition()

        self.running.daemon.wait_until(is_fulfilled, poll_seconds=0.1)
        self.materialized()

    def wait_for(self, *backfill_ids: str) -> None:
        """Wait for the success of backfills, and assert that each row has its vector."""
        self.wait_until(lambda: all(self.status(backfill_id) in ENDED for backfill_id in backfill_ids))
        assert {self.status(backfill_id) for backfill_id in backfill_ids} == {BulkActionStatus.COMPLETED_SUCCESS}
        assert self.materialized() == set(self.partitions)
        self.assert_each_row_has_its_vector()
