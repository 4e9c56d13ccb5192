"""Killed processes in the middle of a backfill: all work is completed without a person, once it can be."""

import pytest

from tests.chaos.deployment import Layout
from tests.chaos.scenario import PARTITIONS, QUEUED, Finish, OpenScenario
from tests.support.long_form import long_form

pytestmark = pytest.mark.timeout(1800)

APART: Layout = "code-server"


@long_form
def test_daemon_is_killed(open_scenario: OpenScenario, finish: Finish) -> None:
    scenario = open_scenario()
    backfill = scenario.column.launch()
    scenario.wait_for_progress()
    scenario.deployment.kill("daemon")
    scenario.pause(1, 10)
    scenario.deployment.start("daemon")
    scenario.repaired()
    scenario.wait_for_backfills(backfill)
    finish(scenario)


@long_form
@pytest.mark.parametrize("layout", [APART, "api-grpc"])
def test_code_server_is_killed_with_runs_in_the_queue(
    open_scenario: OpenScenario, finish: Finish, layout: Layout
) -> None:
    scenario = open_scenario(layout=layout, partitions=QUEUED)
    backfill = scenario.column.launch()
    scenario.wait_for_progress(0.1, 0.4)
    scenario.deployment.kill("code server")
    scenario.pause(8, 15)
    scenario.deployment.start("code server")
    scenario.repaired()
    scenario.wait_for_backfills(backfill)
    finish(scenario)


@long_form
def test_code_server_is_killed_while_the_backfill_is_planned(open_scenario: OpenScenario, finish: Finish) -> None:
    scenario = open_scenario()
    scenario.deployment.kill("code server")
    backfill = scenario.column.launch()
    scenario.pause(5, 20)
    scenario.deployment.start("code server")
    scenario.repaired()
    scenario.wait_for_backfills(backfill)
    finish(scenario)


@long_form
def test_run_worker_is_killed_in_its_first_partition(open_scenario: OpenScenario, finish: Finish) -> None:
    scenario = open_scenario()
    column = scenario.column
    with column.locked(column.partitions[0], column.partitions[1]):
        backfill = column.launch()
        scenario.wait_until(lambda: column.claims() >= 2 and len(column.runs(backfill)) == 2)
        (run,) = (run for run in column.runs(backfill) if column.partitions[0] in column.partitions_of(run))
        scenario.wait_until(lambda: bool(scenario.workers(run)))
        scenario.pause(0, 3)
        for worker in scenario.workers(run):
            worker.kill()
    scenario.repaired()
    scenario.wait_for_backfills(backfill)
    finish(scenario)


@long_form
@pytest.mark.parametrize("layout", [APART, "dev"])
def test_everything_is_killed_at_once(open_scenario: OpenScenario, finish: Finish, layout: Layout) -> None:
    scenario = open_scenario(layout=layout)
    backfill = scenario.column.launch()
    scenario.wait_for_progress()
    scenario.deployment.kill_everything()
    scenario.deployment.start()
    scenario.repaired()
    scenario.wait_for_backfills(backfill)
    finish(scenario)


@long_form
def test_everything_is_killed_with_runs_in_the_queue(open_scenario: OpenScenario, finish: Finish) -> None:
    scenario = open_scenario(partitions=QUEUED)
    backfill = scenario.column.launch()
    scenario.wait_for_progress(0.1, 0.4)
    scenario.deployment.kill_everything()
    scenario.deployment.start()
    scenario.repaired()
    scenario.wait_for_backfills(backfill)
    finish(scenario)


@long_form
def test_two_daemons_run_at_once(open_scenario: OpenScenario, finish: Finish) -> None:
    scenario = open_scenario(partitions=QUEUED)
    scenario.deployment.commands["second daemon"] = scenario.deployment.commands["daemon"]
    scenario.deployment.start("second daemon")
    backfill = scenario.column.launch()
    scenario.wait_for_backfills(backfill)
    assert len(scenario.column.runs(backfill)) == PARTITIONS
    finish(scenario)
