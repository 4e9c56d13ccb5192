"""Backfills end to end: Dagster's daemon and code server, run workers that are killed or canceled, and other processes.

All tests share one daemon, and each has a table of its own. No row is edited or inserted while it is embedded, so at
every poll a materialized partition must have no row without a vector. Row locks keep runs from completing partitions.
"""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import dagster as dg
import psutil
import psycopg
import pytest
from dagster._core.execution.backfill import BulkActionStatus
from psycopg import sql

from tests.orchestration.columns import ENDED, count
from tests.orchestration.daemon import (
    ObservedColumn,
    RunningProject,
    change_settings,
    prepare_home,
    running_daemon,
    start_sensor,
)
from tests.support.long_form import long_form
from tests.support.models import CALLS_VARIABLE
from tests.support.processes import start_crdbvec
from tests.support.projects import write_config
from tests.support.servers import Server
from tests.support.tables import INT_SHAPE, create_table

OpenColumn = Callable[..., ObservedColumn]

pytestmark = pytest.mark.timeout(900)

PARTITIONS = 12
PER_RUN = 6
BATCH_ROWS = 5
PARTITION_ROWS = 100
ROWS = PARTITIONS * PARTITION_ROWS
# What a run has encoded and not written when it ends abruptly: of each of the two partitions that it works on at the
# same time one batch that is being encoded, two that wait to be written, and one that is being written.
IN_PROGRESS_ROWS = 2 * 4 * BATCH_ROWS
# Processes that work on the same table may encode twice what they read before they see each other's claims.
REPEATED_ROWS = ROWS * 2 // 100

# The table of the test that counts the rows that the server reads, and the partitions of its two vector columns.
COUNTED_ROWS = 2_000
COUNTED_PARTITIONS = (5, 40)

# How a run's process ends, and how Dagster retries the run. A container that is evicted gets SIGTERM.
ENDS = ((signal.SIGKILL, "ALL_STEPS"), (signal.SIGKILL, "FROM_FAILURE"), (signal.SIGTERM, "ALL_STEPS"))


def entry(table: str, output: str | None = None, **values: object) -> dict[str, object]:
    """Return the configuration entry of a test; by default its model takes a twentieth of a second per batch."""
    return {
        "table": f"public.{table}",
        "output": output or f"{table}_vector",
        "model": "stub_slow",
        "batch_size": BATCH_ROWS,
        "partitions": {"target_rows": PARTITION_ROWS, "max_per_run": PER_RUN},
        **values,
    }


def killed_table(number: signal.Signals, strategy: str) -> str:
    """Return the name of the table of a test that ends a run's process with a signal."""
    return f"ended_{number.name}_{strategy}".lower()


def counted(partitions: int) -> dict[str, object]:
    """Return the configuration entry of a vector column that has this many partitions."""
    layout = {"target_rows": COUNTED_ROWS // partitions, "max_per_run": 20}
    return entry("counted", f"vector_{partitions}", model="stub_hash", batch_size=50, partitions=layout)


ENTRIES = (
    entry("single", model="stub_counting"),
    *(entry(killed_table(number, strategy)) for number, strategy in ENDS),
    entry("twice"),
    entry("canceled"),
    entry("followed", follow={"interval_seconds": 5, "small_backlog": 10, "partition_runs": 2}),
    entry("embed_first"),
    entry("embed_second"),
    *(counted(partitions) for partitions in COUNTED_PARTITIONS),
)


@pytest.fixture(scope="module")
def running(postgres: Server, server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProject]:
    """The project with its daemon, on an empty database and an empty Dagster instance."""
    home = tmp_path_factory.mktemp("home")
    config = write_config(home, *ENTRIES)
    with postgres.new_database() as storage, server.new_database() as url, pytest.MonkeyPatch.context() as patch:
        variables = {
            **prepare_home(home, config, url, storage),
            CALLS_VARIABLE: str(home / "calls.jsonl"),
            "DAGSTER_EVENT_LOG_CONSUMER_DAEMON_INTERVAL_SECONDS": "1",
        }
        for name, value in variables.items():
            patch.setenv(name, value)
        # Instead of Dagster's five seconds.
        change_settings(home, run_queue={"dequeue_interval_seconds": 1})
        with dg.DagsterInstance.get() as instance, running_daemon(home, interval_seconds=1) as daemon:
            yield RunningProject(config, variables, instance, daemon)


@pytest.fixture
def connection(running: RunningProject) -> Iterator[psycopg.Connection]:
    """An application's connection to the database of the project."""
    with psycopg.connect(running.url, autocommit=True) as opened:
        yield opened


@pytest.fixture
def open_column(
    running: RunningProject, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> Iterator[OpenColumn]:
    """The opener of vector columns, which creates their tables. Backfills that a failed test leaves are canceled."""
    for name, value in running.variables.items():
        monkeypatch.setenv(name, value)
    opened: list[ObservedColumn] = []

    def open_(table: str, rows: int = ROWS, output: str | None = None) -> ObservedColumn:
        if not any(column.project.spec.table.name == table for column in opened):
            texts = [f"{table} {number}" for number in range(rows)]
            create_table(connection, INT_SHAPE, texts, sql.Identifier("public", table))
        column = ObservedColumn(running, connection, output or f"{table}_vector")
        opened.append(column)
        return column

    yield open_
    for backfill in running.instance.get_backfills():
        if backfill.status == BulkActionStatus.REQUESTED:
            running.instance.update_backfill(backfill.with_status(BulkActionStatus.CANCELING))  # type: ignore[no-untyped-call]


def test_backfill_is_one_process_per_run_and_materializes_each_partition_on_completion(open_column: OpenColumn) -> None:
    column = open_column("single")
    assert len(column.partitions) == PARTITIONS
    last = {column.partitions[PER_RUN - 1], column.partitions[-1]}
    with column.locked(*last):
        backfill = column.launch()
        column.wait_until(lambda: column.materialized() == set(column.partitions) - last)
        assert column.statuses(backfill) == [dg.DagsterRunStatus.STARTED] * 2
    column.wait_for(backfill)
    runs = column.runs(backfill)
    assert [run.status for run in runs] == [dg.DagsterRunStatus.SUCCESS] * 2
    assert sorted(map(column.partitions_of, runs)) == sorted([column.partitions[:PER_RUN], column.partitions[PER_RUN:]])
    for run in runs:
        logged = column.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
        keys = [entry.get_dagster_event().partition for entry in logged]
        assert sorted(map(str, keys)) == sorted(column.partitions_of(run))
    assert column.running.calls.processes() == {column.process(run) for run in runs}
    expected = {
        "rows_embedded": PARTITION_ROWS,
        "rows_pending": 0,
        "rows_arrived_meanwhile": 0,
        "batches": PARTITION_ROWS // BATCH_ROWS,
        "dagster/partition_row_count": PARTITION_ROWS,
    }
    for metadata in column.project.materialized().values():
        assert {name: metadata[name] for name in expected} == expected
    assert len(column.batches()) == ROWS // BATCH_ROWS
    assert column.repeated() == 0


@pytest.mark.parametrize(("number", "strategy"), [ENDS[0], *(pytest.param(*end, marks=long_form) for end in ENDS[1:])])
def test_killed_run_is_retried_and_keeps_its_materialized_partitions(
    open_column: OpenColumn, number: signal.Signals, strategy: str
) -> None:
    column = open_column(killed_table(number, strategy))
    blocked = column.partitions[4]
    with column.locked(blocked):
        backfill = column.launch(retry_strategy=strategy)
        column.wait_until(lambda: len(column.materialized() & set(column.partitions[:PER_RUN])) >= 2)
        (run,) = (run for run in column.runs(backfill) if blocked in column.partitions_of(run))
        pid = column.process(run)
        assert column.running.daemon.process.pid in {parent.pid for parent in psutil.Process(pid).parents()}
        os.kill(pid, number)
        assert blocked not in column.materialized()
    column.wait_for(backfill)
    statuses = {each.run_id: each.status for each in column.runs(backfill)}
    assert statuses.pop(run.run_id) == dg.DagsterRunStatus.FAILURE
    assert list(statuses.values()) == [dg.DagsterRunStatus.SUCCESS] * 2
    (retried,) = (each for each in column.runs(backfill) if each.parent_run_id == run.run_id)
    assert retried.tags["dagster/retry_strategy"] == strategy
    assert column.partitions_of(retried) == column.partitions_of(run)
    assert column.repeated() <= IN_PROGRESS_ROWS


def test_two_backfills_of_the_same_partitions_share_the_work(open_column: OpenColumn) -> None:
    column = open_column("twice")
    first, last = column.partitions[0], column.partitions[-1]
    with column.locked(first, last):
        backfills = [column.launch(), column.launch()]
        column.wait_until(lambda: column.materialized() == set(column.partitions) - {first, last})
        column.wait_until(lambda: column.statuses(*backfills) == [dg.DagsterRunStatus.STARTED] * 4)
    column.wait_for(*backfills)
    assert column.statuses(*backfills) == [dg.DagsterRunStatus.SUCCESS] * 4
    assert column.repeated() <= REPEATED_ROWS


def test_backfill_and_sensor_share_the_work(open_column: OpenColumn) -> None:
    column = open_column("followed")
    with column.locked(*column.partitions[:2]):
        start_sensor(column.project.names.job("follow_sensor"), column.running.config.parent)
        column.wait_until(lambda: column.claims() == 2)
        backfill = column.launch()
        column.wait_until(lambda: column.statuses(backfill) == [dg.DagsterRunStatus.STARTED] * 2)
        column.wait_until(lambda: column.materialized() == set(column.partitions[2:]))
    column.wait_for(backfill)
    requested = column.instance.get_runs(dg.RunsFilter(tags={"crdbvec/trigger": "follow"}))
    assert len(requested) >= 2
    column.wait_until(lambda: all(run.is_finished for run in column.instance.get_runs()))
    assert {run.status for run in column.instance.get_runs(dg.RunsFilter([run.run_id for run in requested]))} == {
        dg.DagsterRunStatus.SUCCESS
    }
    assert column.repeated() <= REPEATED_ROWS


def test_canceled_backfill_keeps_its_materialized_partitions(open_column: OpenColumn) -> None:
    column = open_column("canceled")
    # Both partitions that a run works on at the same time are blocked, so that none of the runs can finish.
    blocked = [column.partitions[number] for number in (3, 4, PER_RUN + 3, PER_RUN + 4)]
    finished = {column.partitions[number + offset] for number in range(3) for offset in (0, PER_RUN)}
    with column.locked(*blocked):
        canceled = column.launch()
        column.wait_until(lambda: column.materialized() == finished)
        column.cancel(canceled)
        # A run that waits for locked rows ends as soon as it is canceled.
        column.wait_until(lambda: column.status(canceled) in ENDED)
    assert column.status(canceled) == BulkActionStatus.CANCELED
    assert column.statuses(canceled) == [dg.DagsterRunStatus.CANCELED] * 2
    kept = column.materialized()
    assert finished <= kept < set(column.partitions)
    backfill = column.launch()
    column.wait_for(backfill)
    assert column.repeated() <= 2 * IN_PROGRESS_ROWS


def test_backfill_waits_for_the_rows_that_crdbvec_embed_has_claimed(open_column: OpenColumn) -> None:
    column = open_column("embed_first")
    with running_embed(column) as embed:
        with column.locked(*column.partitions):
            column.wait_until(lambda: column.claims() > 0)
            backfill = column.launch()
            column.wait_until(lambda: column.statuses(backfill) == [dg.DagsterRunStatus.STARTED] * 2)
            assert column.materialized() == set()
        column.wait_until(lambda: embed.poll() is not None)
        assert report_of(embed)["rows_embedded"] == ROWS
    column.wait_for(backfill)
    assert column.repeated() <= REPEATED_ROWS


def test_crdbvec_embed_leaves_the_rows_that_a_backfill_has_claimed(open_column: OpenColumn) -> None:
    column = open_column("embed_second")
    # The partitions that the two runs work on first, so that the others are left to `crdbvec embed`.
    blocked = [column.partitions[number] for number in (0, 1, PER_RUN, PER_RUN + 1)]
    with ExitStack() as stack:
        locks = stack.enter_context(column.locked(*blocked))
        backfill = column.launch()
        column.wait_until(lambda: column.claims() == len(blocked))
        embed = stack.enter_context(running_embed(column))
        column.wait_until(lambda: {key for key, rows in column.pending().items() if rows} == set(blocked))
        assert embed.poll() is None
        locks.rollback()
        column.wait_until(lambda: embed.poll() is not None)
        report = report_of(embed)
    assert report["rows_embedded"] >= ROWS - len(blocked) * PARTITION_ROWS
    assert report["rows_pending"] == 0
    column.wait_for(backfill)
    assert column.repeated() <= REPEATED_ROWS


@contextmanager
def running_embed(column: ObservedColumn) -> Iterator["subprocess.Popen[str]"]:
    """Start `crdbvec embed` for a column; it is killed if the test fails before it ends."""
    arguments = ["embed", "--json", "-t", str(column.project.spec.table)]
    with start_crdbvec(arguments, column.running.config.parent) as process:
        try:
            yield process
        finally:
            process.kill()


def report_of(embed: "subprocess.Popen[str]") -> dict[str, int]:
    """Return the report that `crdbvec embed` has printed."""
    output, errors = embed.communicate()
    assert embed.returncode == 0, errors
    report: dict[str, int] = json.loads(output)
    return report


# CockroachDB does not count the rows that are read.
@pytest.mark.parametrize("server", ["postgres"], indirect=True)
def test_rows_are_read_a_few_times_however_many_partitions_there_are(open_column: OpenColumn) -> None:
    few, many = (
        rows_read_by_backfill(open_column("counted", COUNTED_ROWS, f"vector_{partitions}"), partitions) / COUNTED_ROWS
        for partitions in COUNTED_PARTITIONS
    )
    assert few <= 6
    assert many <= 6
    assert many <= few + 0.5


def rows_read_by_backfill(column: ObservedColumn, partitions: int) -> int:
    """Run a backfill of all partitions, and return how many rows of the table the server has read for it."""
    assert len(column.partitions) == partitions
    column.connection.execute(sql.SQL("VACUUM ANALYZE {}").format(column.table))
    before = rows_read(column)
    backfill = column.launch()
    # Not by the method of the column, which reads the table at every poll.
    column.running.daemon.wait_until(lambda: column.status(backfill) in ENDED)
    after = rows_read(column)
    column.wait_for(backfill)
    return after - before


def rows_read(column: ObservedColumn) -> int:
    """Return how many rows of the table the server has read; a session has reported its number when it has ended."""
    sessions = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'crdbvec'"
    )
    column.running.daemon.wait_until(lambda: count(column.connection, sessions) == 0)
    # The session of the test has read the table, too.
    column.connection.execute("SELECT pg_stat_force_next_flush()")
    return count(
        column.connection,
        "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables WHERE relname = %s",
        column.project.spec.table.name,
    )
