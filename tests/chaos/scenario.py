"""One scenario: a deployment, a vector column, what is done to them, and the invariants that must hold afterwards."""

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import dagster as dg
import psutil
import psycopg
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

from crdbvec_pipelines.keyspace import in_key_order
from crdbvec_pipelines.orchestration.instance.in_progress import UNFINISHED_RUN_STATUSES
from tests.chaos.deployment import TIMEOUT_SECONDS, Deployment, Layout, role_of
from tests.orchestration.columns import ENDED, BackfilledColumn, is_in
from tests.support.servers import RestartableServer, ShutdownMode

PARTITION_ROWS = 100
PARTITIONS = 12
ROWS = PARTITIONS * PARTITION_ROWS
ENTRY: Mapping[str, object] = {
    "model": "stub_slow",
    "batch_size": 5,
    "partitions": {"target_rows": PARTITION_ROWS, "max_per_run": 6},
}
QUEUED = {"target_rows": PARTITION_ROWS, "max_per_run": 1}
"""Partitions with as many runs as partitions, so that there is a queue."""

# The longest time for which a run may be shown as in progress without a process.
DEAD_RUN_SECONDS = 120
_IN_PROCESS_STATUSES = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
_WATCH_SECONDS = 2.0
# What is shown of each run if the test fails.
_EVENTS = 10
_MESSAGE_CHARACTERS = 400
_UNFINISHED_BACKFILLS = (BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING, BulkActionStatus.FAILING)


@dataclass(frozen=True)
class Outcome:
    """What a scenario has cost, for the report.

    Attributes:
        name: The name of the test.
        recovery_seconds: From the repair (or the last fault) until no work is in progress and no row is pending.
        dead_run_seconds: The longest time for which a run was shown as in progress without a process.
        runs_failed: Runs that have failed, including those that were retried with success.
        rows_repeated: Rows that were encoded again after they had been encoded once.
        services_restarted: Services that have ended by themselves and were started again.
    """

    name: str
    recovery_seconds: float
    dead_run_seconds: float
    runs_failed: int
    rows_repeated: int
    services_restarted: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"{self.name}: recovered in {self.recovery_seconds:.0f} s, dead runs for {self.dead_run_seconds:.0f} s,"
            f" {self.runs_failed} runs failed, {self.rows_repeated} rows encoded twice, "
            f"restarted: {', '.join(self.services_restarted) or 'none'}"
        )


@dataclass
class Scenario:
    """A deployment and its vector column.

    Attributes:
        name: The name of the test.
        random: The source of the random moments.
        deployment: Dagster's processes.
        column: The vector column.
        url: The database with the table.
        tables: The server of the table.
        storage: The server of Dagster's storage.
        explained: Texts of rows that may be pending in a materialized partition, because they were written after the
            run had read it.
    """

    name: str
    random: random.Random
    deployment: Deployment
    column: BackfilledColumn
    url: str
    tables: RestartableServer
    storage: RestartableServer
    explained: set[str] = field(default_factory=set)
    _repaired_at: float = field(default_factory=time.monotonic)
    _dead_since: dict[str, float] = field(default_factory=dict)
    _dead_seconds: dict[str, float] = field(default_factory=dict)
    _watched_at: float = 0.0

    @property
    def home(self) -> Path:
        return self.deployment.home

    @property
    def instance(self) -> dg.DagsterInstance:
        return self.column.instance

    def encoded(self) -> int:
        """Return how many different rows the stub model has encoded."""
        return len({text for batch in self.column.batches() for text in batch})

    def wait_until(self, condition: Callable[[], bool], timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        """Wait for a condition, and assert that no run is shown as in progress for long after its process has ended."""

        def is_fulfilled() -> bool:
            self._watch_dead_runs()
            return condition()

        self.deployment.wait_until(is_fulfilled, timeout_seconds)

    def wait_for_progress(self, low: float = 0.1, high: float = 0.6) -> None:
        """Wait for a random moment: a share of the rows between two limits is encoded, and up to half a second more."""
        wanted = self.random.uniform(low, high) * len(self.column.texts())
        self.wait_until(lambda: self.encoded() >= wanted)
        time.sleep(self.random.uniform(0, 0.5))

    def pause(self, low: float, high: float) -> None:
        """Wait a random time, during which nothing is repaired."""
        time.sleep(self.random.uniform(low, high))

    def repaired(self) -> None:
        """Start to measure the time of the recovery."""
        self._repaired_at = time.monotonic()

    @contextmanager
    def without_tables(self, mode: ShutdownMode) -> Iterator[None]:
        """Shut the server of the table down, and start it again at the end."""
        with _shut_down(self.tables, mode):
            yield
        self.column.connection.close()
        self.column.connection = psycopg.connect(self.url, autocommit=True)

    @contextmanager
    def without_storage(self, mode: ShutdownMode) -> Iterator[None]:
        """Shut the server of Dagster's storage down, and start it again at the end."""
        with _shut_down(self.storage, mode):
            yield

    def wait_for_backfills(self, *backfill_ids: str) -> None:
        """Wait for the end of backfills, and assert their success."""
        self.wait_until(lambda: all(self.column.status(each) in ENDED for each in backfill_ids))
        statuses = {each: self.column.status(each) for each in backfill_ids}
        assert set(statuses.values()) == {BulkActionStatus.COMPLETED_SUCCESS}

    def launch(self, job: str) -> str:
        """Launch a run of a job in the UI and return its id."""
        launched: list[str] = []

        def is_launched() -> bool:
            # While the webserver reads the definitions again, the UI shows an error, and a user repeats the launch.
            launched.extend(filter(None, [self.deployment.webserver.launch(job)]))
            return bool(launched)

        self.wait_until(is_launched)
        return launched[0]

    def run_job(self, job: str) -> None:
        """Launch a run of a job, wait for its end, and assert its success."""
        run_id = self.launch(job)
        self.wait_until(lambda: self._run(run_id).is_finished)
        assert self._run(run_id).status == dg.DagsterRunStatus.SUCCESS

    def materialized(self) -> set[str]:
        """Return the materialized partitions; Dagster also returns those that were replaced since."""
        return self.instance.get_materialized_partitions(self.column.project.asset) & set(self.column.partitions)

    def workers(self, run: dg.DagsterRun) -> list[psutil.Process]:
        """Return the process of a run; none before it has started or after it has ended."""
        pids = self._pids(run)
        return [each for each in self.deployment.processes() if role_of(each) == "worker" and each.pid in pids]

    def finish(self) -> Outcome:
        """Wait until no work is in progress, assert the invariants, and return what the scenario has cost."""
        self._wait_until_no_work_is_in_progress()
        self._assert_materialized_partitions_are_complete()
        recovery_seconds = time.monotonic() - self._repaired_at
        # It can only succeed if a slot is free for it.
        self.run_job(self.column.project.names.job("maintain"))
        self._assert_everything_is_complete()
        failed = self.instance.get_runs_count(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]))
        return Outcome(
            self.name,
            recovery_seconds,
            max(self._dead_seconds.values(), default=0.0),
            failed,
            self.column.repeated(),
            tuple(self.deployment.restarted),
        )

    def describe(self) -> str:
        """Return the backfills, the runs and the ends of the logs, for the message of a failed assertion."""
        backfills = [f"backfill {each.backfill_id}: {each.status.value} {each.error}" for each in self._backfills()]
        runs = [
            f"run {run.run_id}: {run.job_name} {run.status.value} {run.tags}\n{self._last_events(run)}"
            for run in self.instance.get_runs()
        ]
        return "\n".join([*backfills, *runs, self.deployment.end_of_logs()])

    def _watch_dead_runs(self) -> None:
        now = time.monotonic()
        if now < self._watched_at + _WATCH_SECONDS:
            return
        self._watched_at = now
        dead = self._dead_runs()
        # What was dead before the repair counts from then on, because nothing could find it earlier.
        self._dead_since = {run_id: max(self._dead_since.get(run_id, now), self._repaired_at) for run_id in dead}
        for run_id, since in self._dead_since.items():
            self._dead_seconds[run_id] = now - since
            assert now - since < DEAD_RUN_SECONDS, f"run {run_id} is in progress without a process"

    def _dead_runs(self) -> list[str]:
        """Return the runs that are shown as in progress and whose process does not exist."""
        workers = {each.pid for each in self.deployment.processes() if role_of(each) == "worker"}
        runs = {
            run.run_id: self._pids(run) for run in self.instance.get_runs(dg.RunsFilter(statuses=_IN_PROCESS_STATUSES))
        }
        # A run that has logged no event yet is taken to be in one of the processes that no other run is in.
        others = workers - {pid for pids in runs.values() for pid in pids}
        return [run_id for run_id, pids in runs.items() if not (pids & workers if pids else others)]

    def _wait_until_no_work_is_in_progress(self) -> None:
        def is_idle() -> bool:
            unfinished = self.instance.get_runs_count(dg.RunsFilter(statuses=UNFINISHED_RUN_STATUSES))
            return not unfinished and all(each.status not in _UNFINISHED_BACKFILLS for each in self._backfills())

        self.wait_until(is_idle)

    def _assert_materialized_partitions_are_complete(self) -> None:
        """Assert that a materialized partition has no pending row, except rows written while it was embedded."""
        self.column.read_partitions()
        materialized = {key: self.column.ranges[key] for key in self.materialized()}
        texts = self.column.texts()
        wrong = {
            row: key
            for row, vector in self.column.vectors().items()
            for key, part in materialized.items()
            if vector is None and is_in(row, part) and texts[row] not in self.explained
        }
        assert wrong == {}

    def _assert_everything_is_complete(self) -> None:
        self._wait_until_no_work_is_in_progress()
        self.column.read_partitions()
        self.column.assert_each_row_has_its_vector()
        ordered = in_key_order(self.column.ranges.values())
        assert ordered is not None, "the partitions do not cover the key space"
        assert len(ordered) == len(self.column.partitions), "partitions overlap"
        assert self.materialized() == set(self.column.partitions)

    def _run(self, run_id: str) -> dg.DagsterRun:
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run

    def _backfills(self) -> Sequence[PartitionBackfill]:
        return self.instance.get_backfills()

    def _pids(self, run: dg.DagsterRun) -> set[int]:
        """Return the processes in which a run has worked, by its events."""
        started = {dg.DagsterEventType.RUN_START, dg.DagsterEventType.STEP_START}
        events = self.instance.all_logs(run.run_id, of_type=started)
        return {pid for entry in events if (pid := entry.get_dagster_event().pid) is not None}

    def _last_events(self, run: dg.DagsterRun) -> str:
        last = self.instance.all_logs(run.run_id)[-_EVENTS:]
        return "\n".join(f"  {entry.timestamp:.0f} {entry.message[:_MESSAGE_CHARACTERS]}" for entry in last)


class OpenScenario(Protocol):
    """The type of the fixture `open_scenario`."""

    def __call__(
        self, *, layout: Layout = ..., rows: int = ..., storage_settings: Mapping[str, str] = ..., **entry: object
    ) -> Scenario:
        """Create a table and a Dagster instance, and start Dagster's processes.

        Args:
            layout: Which commands start the processes.
            rows: The rows of the table.
            storage_settings: Settings of the database of Dagster's storage.
            entry: Values of the configuration entry that differ from `ENTRY`.
        """


class Finish(Protocol):
    """The type of the fixture `finish`."""

    def __call__(self, scenario: Scenario) -> None:
        """Assert the invariants, and record what the scenario has cost."""


@contextmanager
def _shut_down(server: RestartableServer, mode: ShutdownMode) -> Iterator[None]:
    server.shut_down(mode)
    try:
        yield
    finally:
        server.start()
