"""Dagster's daemon with its code server, and vector columns whose backfills it runs.

The daemon is started on the project's own dagster.yaml and workspace.yaml.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import LiteralString
from uuid import uuid4

import dagster as dg
import numpy as np
import psutil
import psycopg
import yaml
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from psycopg import sql

from crdbvec_pipelines.config import load_config
from crdbvec_pipelines.keyspace import Bound, KeyRange, parse_partition_key
from crdbvec_pipelines.orchestration.instance.storage import URL_VARIABLE, sqlalchemy_url
from tests.orchestration.project import Project
from tests.support.models import CALLS_VARIABLE, CallLog, stub_vector
from tests.support.processes import ROOT
from tests.support.tables import INT_SHAPE, Key, vectors

WORKSPACE = ("-w", str(ROOT / "workspace.yaml"))
# A tick and a run each start a process or two, which takes long on a busy machine.
TIMEOUT_SECONDS = 240
_STOP_SECONDS = 30
_LOG_CHARACTERS = 5_000

ENDED = (
    BulkActionStatus.COMPLETED,
    BulkActionStatus.COMPLETED_SUCCESS,
    BulkActionStatus.COMPLETED_FAILED,
    BulkActionStatus.FAILED,
    BulkActionStatus.CANCELED,
)

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


@contextmanager
def running_daemon(home: Path, *, interval_seconds: int | None = None) -> Iterator[Daemon]:
    """Start Dagster's daemon with its code server, and stop both at the end.

    Args:
        home: $DAGSTER_HOME, which is also the working directory.
        interval_seconds: How often the daemon looks at backfills; None for Dagster's 30 s.
    """
    entry = ["-m", "dagster._daemon"]
    if interval_seconds is not None:
        entry = ["-c", _WITH_INTERVAL.format(seconds=interval_seconds)]
    path = home / "daemon.log"
    with path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *entry, "run", *WORKSPACE],
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


def is_in(key: Bound, part: KeyRange) -> bool:
    """Return whether a key range contains a key."""
    return (not part.lower or key >= part.lower) and (not part.upper or key < part.upper)


class ObservedColumn:
    """A vector column with pending rows, whose invariants are asserted whenever something is waited for.

    Args:
        running: The project.
        connection: A connection to the database.
        output: The name of the column.
    """

    def __init__(self, running: RunningProject, connection: psycopg.Connection, output: str) -> None:
        self.running = running
        self.connection = connection
        self.project = Project(load_config(running.config), running.instance, output)
        self.table = sql.Identifier("public", self.project.spec.table.name)
        self.project.prepare()
        self.partitions = self.project.partitions
        self.ranges = {key: parse_partition_key(key, self.project.spec.table) for key in self.partitions}
        self._seen: set[str] = set()

    @property
    def instance(self) -> dg.DagsterInstance:
        return self.running.instance

    def launch(self, **tags: str) -> str:
        """Launch a backfill of all partitions, as the UI does, and return its id."""
        backfill_id = uuid4().hex[:8]
        self.instance.add_backfill(
            PartitionBackfill.from_asset_partitions(
                backfill_id=backfill_id,
                asset_graph=self.project.definitions.resolve_asset_graph(),
                partition_names=self.partitions,
                asset_selection=[self.project.asset],
                backfill_timestamp=datetime.now(UTC).timestamp(),
                tags={f"dagster/{name}": value for name, value in tags.items()},
                dynamic_partitions_store=self.instance,
                all_partitions=False,
                title=None,
                description=None,
                run_config=None,
            )
        )
        return backfill_id

    def cancel(self, backfill_id: str) -> None:
        """Cancel a backfill, as the UI does; the daemon then terminates its runs."""
        backfill = self.instance.get_backfill(backfill_id)
        assert backfill is not None
        self.instance.update_backfill(backfill.with_status(BulkActionStatus.CANCELING))  # type: ignore[no-untyped-call]

    def status(self, backfill_id: str) -> BulkActionStatus:
        backfill = self.instance.get_backfill(backfill_id)
        assert backfill is not None
        return backfill.status

    def runs(self, *backfill_ids: str) -> Sequence[dg.DagsterRun]:
        """Return the runs of backfills."""
        return self.instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": list(backfill_ids)}))

    def statuses(self, *backfill_ids: str) -> list[dg.DagsterRunStatus]:
        return [run.status for run in self.runs(*backfill_ids)]

    def partitions_of(self, run: dg.DagsterRun) -> list[str]:
        """Return the partitions of a run, which its tags name by the first and the last."""
        first, last = (
            self.partitions.index(run.tags[f"dagster/asset_partition_range_{end}"]) for end in ("start", "end")
        )
        return self.partitions[first : last + 1]

    def process(self, run: dg.DagsterRun) -> int:
        """Return the id of the process of a run's only step."""
        started = self.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_START)
        (pid,) = {entry.get_dagster_event().pid for entry in started}
        assert pid is not None
        return pid

    def materialized(self) -> set[str]:
        """Return the materialized partitions, and assert that they are complete and were not lost."""
        materialized = self.instance.get_materialized_partitions(self.project.asset)
        assert materialized >= self._seen
        self._seen = materialized
        pending = self.pending()
        assert {key: pending[key] for key in materialized if pending[key]} == {}
        return materialized

    def pending(self) -> Mapping[str, int]:
        """Return the number of rows without a vector, by partition."""
        found = self.connection.execute(
            sql.SQL("SELECT id FROM {} WHERE {} IS NULL").format(self.table, sql.Identifier(self.project.spec.output))
        ).fetchall()
        return {key: sum(is_in(row, part) for row in found) for key, part in self.ranges.items()}

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
        found = vectors(self.connection, INT_SHAPE, self.project.spec.output, self.table)
        texts = self.texts()
        assert found.keys() == texts.keys()
        for key, vector in found.items():
            assert vector is not None
            assert np.array_equal(vector, stub_vector(texts[key]))

    def texts(self) -> Mapping[Key, str]:
        """Return the input of each row by key."""
        rows = self.connection.execute(sql.SQL("SELECT id, passage FROM {}").format(self.table)).fetchall()
        return {(key,): text for key, text in rows}

    @contextmanager
    def locked(self, *partitions: str) -> Iterator[psycopg.Connection]:
        """Lock the first row of partitions, so that no run can complete them; yield the connection that locks."""
        rows = self.texts().keys()
        keys = [min(key for key in rows if is_in(key, self.ranges[partition]))[0] for partition in partitions]
        with psycopg.connect(self.running.url) as locking:
            locking.execute(sql.SQL("SELECT id FROM {} WHERE id = ANY(%s) FOR UPDATE").format(self.table), (keys,))
            yield locking

    def claims(self) -> int:
        """Return the number of claims on key ranges of the table."""
        return count(
            self.connection, "SELECT count(*) FROM crdbvec_claims WHERE table_name = %s", self.project.spec.table.name
        )

    def batches(self) -> list[list[str]]:
        """Return the inputs of each call of the model for this table."""
        prefix = f"{self.project.spec.table.name} "
        return [batch for batch in self.running.calls.batches() if batch[0].startswith(prefix)]

    def repeated(self) -> int:
        """Return how many rows were encoded again after they had been encoded once; every row must have been."""
        counts = Counter(text for batch in self.batches() for text in batch)
        assert counts.keys() == set(self.texts().values())
        return counts.total() - len(counts)


def count(connection: psycopg.Connection, query: LiteralString, *parameters: str) -> int:
    """Return the number that a query returns."""
    row = connection.execute(query, parameters).fetchone()
    assert row is not None
    return int(row[0])
