"""`crdbvec ui` as a process: stopped in the middle of runs, killed, and started again. Row locks hold runs."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import dagster as dg
import httpx
import psutil
import psycopg
import pytest
import yaml
from dagster._core.execution.backfill import BulkActionStatus
from psycopg import sql

from crdbvec_pipelines.embedded import EmbeddedServer
from crdbvec_pipelines.orchestration.instance.storage import URL_VARIABLE, sqlalchemy_url
from tests.orchestration.daemon import Daemon, ObservedColumn, RunningProject
from tests.support.long_form import long_form
from tests.support.models import CALLS_VARIABLE, CallLog
from tests.support.processes import LIMIT_SECONDS, ROOT, run
from tests.support.projects import write_config
from tests.support.tables import INT_SHAPE, create_table
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(900)

PARTITIONS = 8
PER_RUN = 4
BATCH_ROWS = 5
PARTITION_ROWS = 20
ROWS = PARTITIONS * PARTITION_ROWS
TEXTS = [f"passage {number}" for number in range(ROWS)]
ENTRY = {
    "model": "stub_slow",
    "batch_size": BATCH_ROWS,
    "partitions": {"target_rows": PARTITION_ROWS, "max_per_run": PER_RUN},
}
FINISHED = (
    dg.DagsterRunStatus.SUCCESS,
    dg.DagsterRunStatus.FAILURE,
    dg.DagsterRunStatus.CANCELED,
)

# The command line with the files of the test instead of those of the demo.
_SOURCE = """
import sys
from pathlib import Path
from crdbvec_pipelines.cli import home, main
folder = Path(sys.argv.pop(1))
bundled = home.bundled
home.bundled = lambda name: folder / name if (folder / name).exists() else bundled(name)
main()
"""
_LOCATIONS = "{ repositoriesOrError { ... on RepositoryConnection { nodes { location { name } } } } }"
_LAUNCH = """
mutation($parameters: ExecutionParams!) {
  launchPipelineExecution(executionParams: $parameters) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  }
}
"""


class Ui:
    """`crdbvec ui` in a folder with the table of the tests, and the observation of its processes.

    Args:
        folder: The folder with the configuration; the folder of the demo is inside.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "here"
        self.log = folder / "log"
        self.port = _free_port()
        self._seen: set[psutil.Process] = set()

    @property
    def command(self) -> list[str]:
        options = ["--demo", "--folder", str(self.home), "--port", str(self.port)]
        return [sys.executable, "-c", _SOURCE, str(self.folder), "ui", *options]

    def url(self, database: str = "crdbvec_demo") -> str:
        return f"postgresql://postgres@/{database}?host={self.home / 'postgres'}"

    def variables(self) -> Mapping[str, str]:
        """Return the environment in which the instance and the project of the demo are opened."""
        return {
            "DAGSTER_HOME": str(self.home / "dagster"),
            URL_VARIABLE: sqlalchemy_url(self.url("dagster")),
            "CRDBVEC_URL": self.url(),
            "CRDBVEC_CONFIG": str(self.folder / "crdbvec.yaml"),
            CALLS_VARIABLE: str(self.folder / "calls.jsonl"),
        }

    @contextmanager
    def running(self) -> Iterator[Daemon]:
        """Start the command, and wait until its webserver has loaded the definitions; kill all processes at the end."""
        with self.started() as daemon:
            daemon.wait_until(self.is_serving)
            yield daemon

    @contextmanager
    def started(self) -> Iterator[Daemon]:
        """Start the command without waiting; kill all processes at the end."""
        environment = {
            **os.environ,
            CALLS_VARIABLE: str(self.folder / "calls.jsonl"),
            "DAGSTER_EVENT_LOG_CONSUMER_DAEMON_INTERVAL_SECONDS": "1",
        }
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                self.command, cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            yield Daemon(process, self.log)
        finally:
            self.kill_all(process.pid)
            process.wait()

    def is_serving(self) -> bool:
        with suppress(httpx.HTTPError):
            return "crdbvec_pipelines" in self.query(_LOCATIONS)
        return False

    def query(self, query: str, **variables: object) -> str:
        """Return the answer of the webserver to a GraphQL query."""
        data = {"query": query, "variables": variables}
        return httpx.post(f"http://127.0.0.1:{self.port}/graphql", json=data, timeout=60).text

    def launch(self, partition: str) -> str:
        """Launch a run of one partition, as the UI does, and return its id."""
        selector = {
            "repositoryName": "__repository__",
            "repositoryLocationName": "crdbvec_pipelines",
            "pipelineName": "passage_vector__encode",
        }
        parameters = {
            "selector": selector,
            "mode": "default",
            "runConfigData": {},
            "executionMetadata": {"tags": [{"key": "dagster/partition", "value": partition}]},
        }
        answer = json.loads(self.query(_LAUNCH, parameters=parameters))
        run_id: str = answer["data"]["launchPipelineExecution"]["run"]["runId"]
        return run_id

    def processes(self, pid: int) -> list[psutil.Process]:
        """Return all processes that the command has started until now and that have not ended, including PostgreSQL."""
        with suppress(psutil.NoSuchProcess):
            self._see(psutil.Process(pid))
        with suppress(FileNotFoundError, psutil.NoSuchProcess):
            lines = (self.home / "postgres" / "postmaster.pid").read_text(encoding="utf-8").splitlines()
            self._see(psutil.Process(int(lines[0])))
        return [process for process in self._seen if _is_running(process)]

    def _see(self, process: psutil.Process) -> None:
        self._seen.update((process, *process.children(recursive=True)))

    def kill_all(self, pid: int) -> None:
        """Kill all processes at once, as the loss of power does."""
        for process in self.processes(pid):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        wait_until(lambda: self.processes(pid) == [])

    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    @contextmanager
    def column(self, daemon: Daemon) -> Iterator[ObservedColumn]:
        """Open the vector column while the command is running; the table is created if it is missing."""
        with (
            psycopg.connect(self.url(), autocommit=True) as connection,
            dg.DagsterInstance.get() as instance,
        ):
            if connection.execute("SELECT to_regclass('public.passage')").fetchone() == (None,):
                create_table(connection, INT_SHAPE, TEXTS, sql.Identifier("public", "passage"))
            project = RunningProject(self.folder / "crdbvec.yaml", self.variables(), instance, daemon)
            yield ObservedColumn(project, connection, "passage_vector")

    @contextmanager
    def stopped_instance(self) -> Iterator[tuple[dg.DagsterInstance, psycopg.Connection]]:
        """Open the instance and the database after the command has ended."""
        server = EmbeddedServer(self.home / "postgres")
        try:
            with dg.DagsterInstance.get() as instance, psycopg.connect(self.url(), autocommit=True) as connection:
                yield instance, connection
        finally:
            server.stop()


def _is_running(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def ui(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Ui:
    """The command in an empty folder, with a slow model."""
    write_config(folder, ENTRY)
    settings = yaml.safe_load((ROOT / "dagster.yaml").read_text(encoding="utf-8"))
    settings["run_queue"] = {"dequeue_interval_seconds": 1}
    (folder / "dagster.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    ui = Ui(folder)
    for name, value in ui.variables().items():
        monkeypatch.setenv(name, value)
    return ui


def embedded_rows(connection: psycopg.Connection) -> int:
    found = connection.execute("SELECT count(passage_vector) FROM passage").fetchone()
    assert found is not None
    rows: int = found[0]
    return rows


def statuses(instance: dg.DagsterInstance) -> Mapping[str, dg.DagsterRunStatus]:
    return {found.run_id: found.status for found in instance.get_runs()}


def in_progress(instance: dg.DagsterInstance) -> list[dg.DagsterRunStatus]:
    return [status for status in statuses(instance).values() if status not in FINISHED]


def test_ctrl_c_interrupts_a_backfill_which_continues_at_the_next_start(ui: Ui) -> None:
    with ui.running() as daemon:
        with ui.column(daemon) as column:
            assert len(column.partitions) == PARTITIONS
            # Both partitions that each run works on at the same time are blocked, so that none of the runs can finish.
            blocked = [column.partitions[number] for number in (2, 3, PER_RUN + 2, PER_RUN + 3)]
            finished = set(column.partitions) - set(blocked)
            with column.locked(*blocked):
                backfill = column.launch()
                column.wait_until(lambda: column.materialized() == finished)
                column.wait_until(lambda: column.statuses(backfill) == [dg.DagsterRunStatus.STARTED] * 2)
                assert len(ui.processes(daemon.process.pid)) > 6
                daemon.process.send_signal(signal.SIGINT)
                wait_until(lambda: "until 2 runs in progress and Dagster have ended" in ui.output())
        assert daemon.process.wait(LIMIT_SECONDS) == 0
        wait_until(lambda: ui.processes(daemon.process.pid) == [])
    assert (
        "Stopped. 2 runs of backfills were interrupted. The next start continues 1 unfinished backfill." in ui.output()
    )
    with ui.stopped_instance() as (instance, connection):
        assert in_progress(instance) == []
        assert set(statuses(instance).values()) == {dg.DagsterRunStatus.FAILURE}
        found = instance.get_backfill(backfill)
        assert found is not None
        assert found.status == BulkActionStatus.REQUESTED
        assert len(finished) * PARTITION_ROWS <= embedded_rows(connection) <= ROWS
    with ui.running() as daemon:
        with ui.column(daemon) as column:
            assert column.materialized() >= finished
            column.wait_for(backfill)
            retried = [run for run in column.runs(backfill) if run.parent_run_id]
            assert [run.status for run in retried] == [dg.DagsterRunStatus.SUCCESS] * 2
        daemon.process.send_signal(signal.SIGINT)
        assert daemon.process.wait(LIMIT_SECONDS) == 0
    assert ui.output().endswith("Stopped.\n")


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGHUP, marks=long_form)], ids=lambda number: number.name
)
def test_signals_cancel_a_run_and_keep_queued_runs(ui: Ui, number: signal.Signals) -> None:
    settings = yaml.safe_load((ui.folder / "dagster.yaml").read_text(encoding="utf-8"))
    settings["concurrency"]["runs"]["max_concurrent_runs"] = 1
    (ui.folder / "dagster.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    with ui.running() as daemon:
        with ui.column(daemon) as column, CallLog(ui.folder / "calls.jsonl").held():
            first = ui.launch(column.partitions[0])
            column.wait_until(lambda: len(column.batches()) > 0)
            partition = column.partitions[1]
            queued = ui.launch(partition)
            column.wait_until(lambda: statuses(column.instance)[queued] == dg.DagsterRunStatus.QUEUED)
            ui.processes(daemon.process.pid)
            daemon.process.send_signal(number)
            wait_until(lambda: "until 1 run in progress and Dagster have ended" in ui.output())
        assert daemon.process.wait(LIMIT_SECONDS) == 0
        wait_until(lambda: ui.processes(daemon.process.pid) == [])
    assert ui.output().endswith("Stopped. 1 run was canceled. The next start continues 1 queued run.\n")
    with ui.stopped_instance() as (instance, _):
        expected = {first: dg.DagsterRunStatus.CANCELED, queued: dg.DagsterRunStatus.QUEUED}
        assert statuses(instance) == expected
    with ui.running() as daemon, ui.column(daemon) as column:
        column.wait_until(lambda: statuses(column.instance)[queued] == dg.DagsterRunStatus.SUCCESS)
        assert partition in column.materialized()


def test_second_ctrl_c_kills_a_run_that_does_not_end(ui: Ui) -> None:
    # The server is stopped while it has the connections of this test.
    with (
        ui.running() as daemon,
        suppress(psycopg.OperationalError),
        ui.column(daemon) as column,
        CallLog(ui.folder / "calls.jsonl").held(),
    ):
        run_id = ui.launch(column.partitions[0])
        column.wait_until(lambda: len(column.batches()) > 0)
        ui.processes(daemon.process.pid)
        daemon.process.send_signal(signal.SIGINT)
        wait_until(lambda: "Ctrl-C kills all processes at once" in ui.output())
        column.wait_until(lambda: statuses(column.instance)[run_id] == dg.DagsterRunStatus.CANCELING)
        daemon.process.send_signal(signal.SIGINT)
        assert daemon.process.wait(LIMIT_SECONDS) == 128 + signal.SIGINT
        wait_until(lambda: ui.processes(daemon.process.pid) == [])
    assert "Stopped." not in ui.output()
    with ui.stopped_instance() as (instance, _):
        assert statuses(instance) == {run_id: dg.DagsterRunStatus.CANCELING}
    with ui.running() as daemon, ui.column(daemon) as column:
        assert "1 run without a process ended." in ui.output()
        assert statuses(column.instance) == {run_id: dg.DagsterRunStatus.CANCELED}


def test_processes_of_a_killed_command_stop_in_order(ui: Ui) -> None:
    with ui.running() as daemon:
        with ui.column(daemon) as column, CallLog(ui.folder / "calls.jsonl").held():
            run_id = ui.launch(column.partitions[0])
            column.wait_until(lambda: len(column.batches()) > 0)
            assert len(ui.processes(daemon.process.pid)) > 5
            daemon.process.kill()
            daemon.process.wait()
            wait_until(lambda: statuses(column.instance)[run_id] == dg.DagsterRunStatus.CANCELING)
        wait_until(lambda: ui.processes(daemon.process.pid) == [])
    with ui.stopped_instance() as (instance, _):
        assert statuses(instance) == {run_id: dg.DagsterRunStatus.CANCELED}


def test_start_ends_what_a_killed_command_has_left(ui: Ui) -> None:
    with ui.running() as daemon, ExitStack() as stack:
        with ui.column(daemon) as column, column.locked(column.partitions[0]):
            run_id = ui.launch(column.partitions[0])
            column.wait_until(lambda: len(column.batches()) > 0)
            for process in ui.processes(daemon.process.pid):
                # Another one may end when the one that has started it is killed.
                with suppress(psutil.NoSuchProcess):
                    # All but the run worker, its code server and PostgreSQL, so that no other process stops them in
                    # order.
                    arguments = process.cmdline()
                    is_worker = any("multiprocessing" in argument for argument in arguments)
                    if not (is_worker or "grpc" in arguments or process.name() == "postgres"):
                        process.kill()
            daemon.process.wait()
            assert statuses(column.instance)[run_id] == dg.DagsterRunStatus.STARTED
            again = stack.enter_context(ui.started())
            wait_until(lambda: statuses(column.instance)[run_id] == dg.DagsterRunStatus.CANCELING)
        again.wait_until(ui.is_serving)
        assert f"Stopping the processes that a killed `crdbvec ui` has left in {ui.home}." in ui.output()
        with ui.column(again) as column:
            assert statuses(column.instance)[run_id] == dg.DagsterRunStatus.CANCELED


def test_start_after_the_loss_of_all_processes_retries_their_runs(ui: Ui) -> None:
    with (
        ui.running() as daemon,
        suppress(psycopg.OperationalError),
        ui.column(daemon) as column,
        column.locked(column.partitions[0]),
    ):
        partition = column.partitions[0]
        run_id = ui.launch(partition)
        column.wait_until(lambda: len(column.batches()) > 0)
        ui.kill_all(daemon.process.pid)
    with ui.running() as daemon:
        assert "1 run without a process ended." in ui.output()
        with ui.column(daemon) as column:
            assert statuses(column.instance)[run_id] == dg.DagsterRunStatus.FAILURE
            column.wait_until(lambda: dg.DagsterRunStatus.SUCCESS in statuses(column.instance).values())
            assert partition in column.materialized()
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.process.wait(LIMIT_SECONDS) == 0
        wait_until(lambda: ui.processes(daemon.process.pid) == [])


def test_dagster_that_ends_is_reported_with_a_failure(ui: Ui) -> None:
    with ui.running() as daemon:
        (dagster,) = (
            process for process in ui.processes(daemon.process.pid) if "cli.dagster_dev" in " ".join(process.cmdline())
        )
        dagster.kill()
        assert daemon.process.wait(LIMIT_SECONDS) == 1
        wait_until(lambda: ui.processes(daemon.process.pid) == [])
    assert ui.output().endswith("Error: Dagster has ended with exit code -9. Read its messages above for the reason.\n")


def test_second_command_in_the_same_folder_is_rejected(ui: Ui) -> None:
    with ui.running():
        other = run(ui.command, ui.folder)
        assert other.returncode == 1
        assert f"Error: Another `crdbvec ui` is running in {ui.home}. Stop it with Ctrl-C, or choose" in other.stderr
        assert ui.is_serving()


def test_port_in_use_is_reported_and_nothing_is_left_running(ui: Ui) -> None:
    with closing(socket.create_server(("127.0.0.1", ui.port))):
        completed = run(ui.command, ui.folder)
    assert completed.returncode == 1
    assert completed.stderr.startswith(f"Error: Dagster's UI cannot listen on 127.0.0.1:{ui.port} (Address already in")
    assert not (ui.home / "postgres" / "postmaster.pid").exists()
