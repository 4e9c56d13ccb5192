"""A Dagster instance whose runs workers on several hosts execute by Celery, and what can happen to the workers."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
from dagster._core.execution.backfill import BulkActionStatus
from psycopg import sql

from tests.orchestration.columns import ENDED, BackfilledColumn
from tests.orchestration.daemon import Daemon, change_settings, prepare_home, running_daemon
from tests.support.models import CALLS_VARIABLE, CallLog
from tests.support.processes import CRDBVEC, ROOT
from tests.support.projects import write_config
from tests.support.proxy import Proxy
from tests.support.servers import Server
from tests.support.tables import INT_SHAPE, create_table
from tests.workers.hosts import Host, Network
from tests.workers.redis_server import RedisServer

_LOG_CHARACTERS = 4_000
_STOP_SECONDS = 30
# A run is retried after its worker was found dead, and then waits for the claims of the dead one.
_LIMIT_SECONDS = 900
_PASSWORD = "unused"


@dataclass
class Worker:
    """`crdbvec worker` on a host, as a supervisor starts it.

    Attributes:
        host: The host.
        folder: Its working directory and its $DAGSTER_HOME.
        variables: Its environment.
        tables: The proxy through which it reaches the server of the tables.
        queue: The queue from which it takes runs; None for the default one.
        slots: How many runs it executes at the same time.
    """

    host: Host
    folder: Path
    variables: Mapping[str, str]
    tables: Proxy
    queue: str | None = None
    slots: int = 1
    _process: "subprocess.Popen[bytes] | None" = None

    @property
    def log(self) -> str:
        return (self.folder / "worker.log").read_text(errors="replace")

    def start(self) -> None:
        """Start the worker."""
        name = f"crdbvec@{self.host.name}"
        queue = () if self.queue is None else ("--queue", self.queue)
        command = self.host.command([*CRDBVEC, "worker", "--name", name, "--slots", str(self.slots), *queue])
        with (self.folder / "worker.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**os.environ, **self.variables},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def is_ready(self) -> bool:
        """Return whether the worker takes runs; fail if it has ended."""
        assert self._process is not None
        assert self._process.poll() is None, self.log[-_LOG_CHARACTERS:]
        return " ready." in self.log

    def kill(self) -> None:
        """Kill all processes of the worker with SIGKILL."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
            (self.folder / "worker.log").rename(self.folder / f"worker.{time.monotonic_ns()}.log")

    def stop(self) -> None:
        """Stop the worker with SIGTERM, which lets its run end."""
        if self._process is not None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_SECONDS)
            self.kill()


@dataclass
class Cluster:
    """Daemon, broker, workers and a vector column."""

    column: BackfilledColumn
    broker: RedisServer
    workers: Sequence[Worker]
    daemon: Daemon
    materialized: set[str] = field(default_factory=set)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition; at every poll, assert that no materialized partition has a pending row."""

        def is_fulfilled() -> bool:
            self.assert_materialized_partitions_are_complete()
            return condition()

        deadline = time.monotonic() + _LIMIT_SECONDS
        while not is_fulfilled():
            assert self.daemon.process.poll() is None, self.describe()
            assert time.monotonic() < deadline, self.describe()
            time.sleep(0.5)

    def assert_materialized_partitions_are_complete(self) -> None:
        """Assert that a partition that Dagster shows as materialized has no pending row."""
        # In this order: a partition is materialized after its last row was written.
        materialized = self.column.instance.get_materialized_partitions(self.column.project.asset)
        pending = self.column.pending()
        assert {key: pending[key] for key in materialized if pending[key]} == {}
        self.materialized = materialized

    def reset(self) -> None:
        """Make all rows pending and all partitions gray, as before the first backfill."""
        self.column.connection.execute(
            sql.SQL("UPDATE {} SET passage_vector = NULL, passage_vector_fingerprint = NULL").format(self.column.table)
        )
        self.column.instance.wipe_assets([self.column.project.asset])
        self.column.calls.clear()

    def encoded(self) -> int:
        """Return how many different rows were encoded."""
        return len({text for batch in self.column.batches() for text in batch})

    def run_in_progress_on(self, worker: Worker) -> bool:
        """Return whether a worker executes a run."""
        marked = f"/crdbvec@{worker.host.name}"
        started = self.column.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
        return any(run.tags.get("crdbvec/celery_worker", "").endswith(marked) for run in started)

    def finish(self, backfill: str) -> None:
        """Wait for the success of a backfill, and assert that every row has its vector and each partition is green."""
        self.wait_until(lambda: self.column.status(backfill) in ENDED)
        assert self.column.status(backfill) == BulkActionStatus.COMPLETED_SUCCESS, self.describe()
        self.column.assert_each_row_has_its_vector()
        assert self.materialized == set(self.column.partitions)

    def describe(self) -> str:
        """Return the runs and the ends of the workers' logs, for the message of a failed assertion."""
        lines = []
        for run in self.column.instance.get_runs():
            lines.append(f"run {run.run_id} {run.status.value} {run.tags}")
            lines += [f"   {entry.message[:300]}" for entry in self.column.instance.all_logs(run.run_id)[-8:]]
        for worker in self.workers:
            with suppress(OSError):
                lines.append(f"== {worker.host.name}\n{worker.log[-_LOG_CHARACTERS:]}")
        return "\n".join(lines)


@contextmanager
def running_cluster(
    folder: Path,
    network: Network,
    server: Server,
    texts: Sequence[str],
    *,
    poll_seconds: int,
    port: int,
    queues: Sequence[str | None] = (None, None),
    **entry: Any,
) -> Iterator[Cluster]:
    """Start everything, wait until the workers take runs, and stop everything at the end.

    Args:
        folder: An empty folder.
        network: The hosts of the workers.
        server: The server of both databases.
        texts: The texts of the table.
        poll_seconds: How often run monitoring asks for the state of runs.
        port: A free port for the broker.
        queues: The queue of each worker.
        entry: Values of the configuration entry.
    """
    with ExitStack() as stack:
        url, storage = (stack.enter_context(server.new_database()) for _ in range(2))
        connection = stack.enter_context(psycopg.connect(url, autocommit=True))
        create_table(connection, INT_SHAPE, texts)
        broker = RedisServer(folder, network.broker, port)
        stack.callback(broker.kill)
        storage_proxy = Proxy(storage, _PASSWORD, network.storage)
        stack.callback(storage_proxy.close)
        config = write_config(folder, dict(entry))
        calls = CallLog(folder / "calls.jsonl")
        variables = {
            **prepare_home(folder, config, url, storage_proxy.url),
            "CRDBVEC_BROKER_URL": broker.url,
            CALLS_VARIABLE: str(calls.path),
        }
        shutil.copy(ROOT / "deploy" / "celery" / "dagster.yaml", folder)
        change_settings(folder, run_monitoring={"poll_interval_seconds": poll_seconds})
        workers = []
        for host, queue in zip(network.hosts, queues, strict=True):
            tables = Proxy(url, _PASSWORD, network.tables)
            stack.callback(tables.close)
            home = folder / host.name
            home.mkdir()
            shutil.copy(folder / "dagster.yaml", home)
            own = {**variables, "DAGSTER_HOME": str(home), "CRDBVEC_URL": tables.url}
            worker = Worker(host, home, own, tables, queue)
            stack.callback(worker.stop)
            workers.append(worker)
        previous = {name: os.environ.get(name) for name in variables}
        stack.callback(_restore, previous)
        os.environ.update(variables)
        instance = stack.enter_context(dg.DagsterInstance.get())
        column = BackfilledColumn(config, instance, connection, calls, "passage_vector")
        for worker in workers:
            worker.start()
        daemon = stack.enter_context(running_daemon(folder, interval_seconds=1))
        daemon.wait_until(lambda: all(worker.is_ready() for worker in workers))
        yield Cluster(column, broker, workers, daemon)


def _restore(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
