"""What users and applications do while a backfill is in progress: they redeploy, cancel, write, launch other jobs."""

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
import psycopg
import pytest
from dagster._core.execution.backfill import BulkActionStatus

from tests.chaos.scenario import ENTRY, QUEUED, Finish, OpenScenario, Scenario
from tests.orchestration.columns import ENDED, BackfilledColumn
from tests.support.projects import write_config
from tests.support.tables import INT_SHAPE, insert_rows, set_text

pytestmark = [pytest.mark.timeout(1800), pytest.mark.long_form]

WRITING_SECONDS = 40


def test_definitions_are_redeployed(open_scenario: OpenScenario, finish: Finish) -> None:
    scenario = open_scenario(partitions=QUEUED)
    backfill = scenario.column.launch()
    scenario.wait_for_progress(0.1, 0.4)
    scenario.deployment.terminate("code server")
    changed = {**ENTRY, "partitions": QUEUED, "batch_size": 20}
    added = {**changed, "output": "added_vector", "model": "stub_hash"}
    config = write_config(scenario.home, changed, added)
    scenario.deployment.start("code server")
    scenario.repaired()
    scenario.deployment.wait_for_jobs("added_vector__maintain")
    scenario.wait_for_backfills(backfill)
    finish(scenario)
    scenario.run_job("added_vector__maintain")
    column = BackfilledColumn(
        config, scenario.instance, scenario.column.connection, scenario.column.calls, "added_vector"
    )
    column.assert_each_row_has_its_vector()
    assert scenario.instance.get_materialized_partitions(column.project.asset) == set(column.partitions)


def test_backfill_is_canceled(open_scenario: OpenScenario, finish: Finish) -> None:
    scenario = open_scenario(partitions=QUEUED)
    backfill = scenario.column.launch()
    scenario.wait_for_progress()
    scenario.column.cancel(backfill)
    scenario.repaired()
    scenario.wait_until(lambda: scenario.column.status(backfill) in ENDED)
    assert scenario.column.status(backfill) == BulkActionStatus.CANCELED
    statuses = set(scenario.column.statuses(backfill))
    assert dg.DagsterRunStatus.CANCELED in statuses
    assert statuses <= {dg.DagsterRunStatus.CANCELED, dg.DagsterRunStatus.SUCCESS}
    finish(scenario)


def test_run_is_canceled_in_its_last_partition(open_scenario: OpenScenario, finish: Finish) -> None:
    scenario = open_scenario()
    column = scenario.column
    last = column.partitions[-1]
    with column.locked(last):
        backfill = column.launch()
        scenario.wait_until(lambda: scenario.materialized() == set(column.partitions) - {last})
        (run,) = (run for run in column.runs(backfill) if last in column.partitions_of(run))
        scenario.deployment.webserver.terminate(run.run_id)
        scenario.pause(0, 3)
    scenario.repaired()
    scenario.wait_until(lambda: column.status(backfill) in ENDED)
    canceled = scenario.instance.get_run_by_id(run.run_id)
    assert canceled is not None
    assert canceled.status == dg.DagsterRunStatus.CANCELED
    finish(scenario)


def test_sensor_follows_two_hundred_partitions_while_rows_are_written(
    open_scenario: OpenScenario, finish: Finish
) -> None:
    scenario = open_scenario(
        rows=2_000,
        staleness="trigger",
        partitions={"target_rows": 10, "max_per_run": 100},
        follow={"interval_seconds": 5, "small_backlog": 200},
    )
    assert len(scenario.column.partitions) == 200
    scenario.deployment.webserver.start_sensor("passage_vector__follow_sensor")
    backfill = scenario.column.launch()
    with scenario_written(scenario, edits=True):
        scenario.wait_for_backfills(backfill)
        time.sleep(WRITING_SECONDS)
    scenario.repaired()
    scenario.wait_until(lambda: not any(scenario.column.pending().values()), timeout_seconds=900)
    finish(scenario)


def test_table_grows_and_maintenance_starts_in_the_middle_of_a_backfill(
    open_scenario: OpenScenario, finish: Finish
) -> None:
    scenario = open_scenario(rows=1_000, partitions={"target_rows": 20, "max_per_run": 10})
    column = scenario.column
    assert len(column.partitions) == 50
    backfill = column.launch()

    def is_ended() -> bool:
        ended = column.status(backfill) in ENDED
        assert ended or set(column.partitions) <= set(column.project.partitions), "a partition in use was replaced"
        return ended

    with scenario_written(scenario, edits=False):
        scenario.wait_for_progress()
        scenario.launch("passage_vector__maintain")
        scenario.wait_until(is_ended)
    scenario.repaired()
    scenario.wait_for_backfills(backfill)
    assert scenario.materialized() >= set(column.partitions) & set(column.project.partitions)
    finish(scenario)
    assert len(column.partitions) > 50


@contextmanager
def scenario_written(scenario: Scenario, *, edits: bool) -> Iterator[None]:
    """Insert rows at the end of the table, and edit rows anywhere, until the end of the block."""
    stop = threading.Event()
    writer = threading.Thread(target=write, args=(scenario, stop, random.Random(scenario.random.random()), edits))
    writer.start()
    try:
        yield
    finally:
        stop.set()
        writer.join()


def write(scenario: Scenario, stop: threading.Event, moments: random.Random, edits: bool) -> None:
    rows = first = len(scenario.column.texts())
    with psycopg.connect(scenario.url, autocommit=True) as connection:
        while not stop.wait(moments.uniform(0.05, 0.4)):
            text = f"passage written {rows}"
            scenario.explained.add(text)
            insert_rows(connection, INT_SHAPE, {rows: text})
            if edits:
                text = f"passage edited {rows}"
                scenario.explained.add(text)
                set_text(connection, INT_SHAPE, moments.randrange(first), text)
            rows += 1
