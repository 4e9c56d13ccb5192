"""Recovery end to end: everything is killed at once, or the code server alone, and no run is lost.

The daemon uses the project's own dagster.yaml, in which only intervals are shorter and fewer runs execute at a time.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import dagster as dg
import psycopg
import pytest

from crdbvec_pipelines.orchestration.instance.run_launcher import PROCESS_TAG
from tests.orchestration.daemon import ObservedColumn, RunningProject, change_settings, prepare_home, running_daemon
from tests.support.models import CALLS_VARIABLE
from tests.support.projects import write_config
from tests.support.servers import Server
from tests.support.tables import INT_SHAPE, create_table

pytestmark = pytest.mark.timeout(900)

PARTITIONS = 8
PER_RUN = 2
PARTITION_ROWS = 20
UNFINISHED = {dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED}


@dataclass(frozen=True)
class Home:
    """$DAGSTER_HOME of a project, whose daemon can be started more than once."""

    folder: Path
    config: Path
    variables: dict[str, str]
    instance: dg.DagsterInstance

    @contextmanager
    def started(self) -> Iterator[RunningProject]:
        """Start the daemon with its code server."""
        with running_daemon(self.folder, interval_seconds=1) as daemon:
            yield RunningProject(self.config, self.variables, self.instance, daemon)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres: Server, url: str) -> Iterator[Home]:
    """A project with an empty Dagster instance, which executes two runs at a time."""
    config = write_config(
        tmp_path,
        {
            "table": "public.passage",
            "model": "stub_slow",
            "batch_size": 5,
            "partitions": {"target_rows": PARTITION_ROWS, "max_per_run": PER_RUN},
        },
    )
    with postgres.new_database() as storage:
        variables = {
            **prepare_home(tmp_path, config, url, storage),
            CALLS_VARIABLE: str(tmp_path / "calls.jsonl"),
            "DAGSTER_EVENT_LOG_CONSUMER_DAEMON_INTERVAL_SECONDS": "1",
        }
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        change_settings(
            tmp_path,
            concurrency={"runs": {"max_concurrent_runs": 2}},
            run_queue={"dequeue_interval_seconds": 1, "user_code_failure_retry_delay": 5},
            run_monitoring={"poll_interval_seconds": 1},
        )
        with dg.DagsterInstance.get() as instance:
            yield Home(tmp_path, config, variables, instance)


def open_column(running: RunningProject, connection: psycopg.Connection) -> ObservedColumn:
    """Create the table of the vector column and its partitions."""
    create_table(connection, INT_SHAPE, [f"passage {number}" for number in range(PARTITIONS * PARTITION_ROWS)])
    column = ObservedColumn(running, connection, "passage_vector")
    assert len(column.partitions) == PARTITIONS
    return column


def runs_in(column: ObservedColumn, backfill: str, status: dg.DagsterRunStatus) -> dict[str, dg.DagsterRun]:
    """Return the runs of a backfill that have a status, by id."""
    return {run.run_id: run for run in column.runs(backfill) if run.status == status}


def test_dead_runs_are_failed_and_retried_after_everything_was_killed_at_once(
    home: Home, connection: psycopg.Connection
) -> None:
    with home.started() as running:
        column = open_column(running, connection)
        # The two partitions that the first runs work on last, so that each has completed one when it is killed.
        with column.locked(column.partitions[1], column.partitions[PER_RUN + 1]):
            backfill = column.launch()
            column.wait_until(
                lambda: (
                    len(runs_in(column, backfill, dg.DagsterRunStatus.STARTED)) == 2
                    and column.materialized() == {column.partitions[0], column.partitions[PER_RUN]}
                )
            )
            dead = runs_in(column, backfill, dg.DagsterRunStatus.STARTED)
            assert all(run.tags[PROCESS_TAG].startswith(run_id) for run_id, run in dead.items())
            queued = runs_in(column, backfill, dg.DagsterRunStatus.QUEUED)
            assert len(queued) == PARTITIONS // PER_RUN - 2
            running.daemon.kill_with_all_processes()
        # What a person sees until the daemon is started again: both run slots are occupied.
        assert runs_in(column, backfill, dg.DagsterRunStatus.STARTED).keys() == dead.keys()
        assert column.claims() > 0
    with home.started() as running:
        column.running = replace(column.running, daemon=running.daemon)
        column.wait_for(backfill)
    assert runs_in(column, backfill, dg.DagsterRunStatus.FAILURE).keys() == dead.keys()
    succeeded = runs_in(column, backfill, dg.DagsterRunStatus.SUCCESS)
    assert {run.parent_run_id for run in succeeded.values()} == {None, *dead}
    assert len(succeeded) == PARTITIONS // PER_RUN
    assert queued.keys() < succeeded.keys()
    for run_id in dead:
        (failure,) = column.instance.all_logs(run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
        assert "no longer exists" in str(failure.get_dagster_event().message)


def test_no_run_is_lost_while_the_code_server_is_absent(home: Home, connection: psycopg.Connection) -> None:
    with home.started() as running:
        column = open_column(running, connection)
        with column.locked(column.partitions[0], column.partitions[PER_RUN]):
            backfill = column.launch()
            column.wait_until(lambda: len(runs_in(column, backfill, dg.DagsterRunStatus.STARTED)) == 2)
            started = runs_in(column, backfill, dg.DagsterRunStatus.STARTED)
            queued = runs_in(column, backfill, dg.DagsterRunStatus.QUEUED)
            assert len(queued) == PARTITIONS // PER_RUN - 2
            running.daemon.kill_code_server()
        # The processes of the started runs finish their work; the others wait until Dagster has a code server again.
        column.wait_for(backfill)
        runs = column.runs(backfill)
        assert {run.run_id for run in runs} == {*started, *queued}
        assert {run.status for run in runs} == {dg.DagsterRunStatus.SUCCESS}
        # The test has seen the absence: a run was put back into the queue.
        enqueued = [
            len(column.instance.all_logs(run_id, of_type=dg.DagsterEventType.RUN_ENQUEUED)) for run_id in queued
        ]
        assert max(enqueued) > 1
        assert column.repeated() == 0


def test_run_without_a_code_server_is_terminated(home: Home, connection: psycopg.Connection) -> None:
    with home.started() as running:
        column = open_column(running, connection)
        with column.locked(column.partitions[0], column.partitions[PER_RUN]):
            backfill = column.launch()
            # The runs are canceled while their steps work, not while they start.
            column.wait_until(lambda: column.materialized() == {column.partitions[1], column.partitions[PER_RUN + 1]})
            started = runs_in(column, backfill, dg.DagsterRunStatus.STARTED)
            running.daemon.kill_code_server()
            for run_id in started:
                assert column.instance.run_launcher.terminate(run_id)
        column.wait_until(lambda: runs_in(column, backfill, dg.DagsterRunStatus.CANCELED).keys() == started.keys())
        column.cancel(backfill)
        column.wait_until(lambda: not UNFINISHED & set(column.statuses(backfill)))
