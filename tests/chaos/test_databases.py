"""Databases that are shut down, fast or immediately, in the middle of a backfill; and storage in another time zone."""

import dagster as dg
import pytest

from tests.chaos.scenario import Finish, OpenScenario
from tests.support.long_form import long_form
from tests.support.servers import ShutdownMode

pytestmark = pytest.mark.timeout(1800)


@long_form
@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_database_of_the_table_is_restarted(open_scenario: OpenScenario, finish: Finish, mode: ShutdownMode) -> None:
    scenario = open_scenario()
    backfill = scenario.column.launch()
    scenario.wait_for_progress()
    with scenario.without_tables(mode):
        scenario.pause(1, 15)
    scenario.repaired()
    scenario.wait_for_backfills(backfill)
    finish(scenario)


@pytest.mark.parametrize("mode", [pytest.param("fast", marks=long_form), "immediate"])
def test_storage_of_dagster_is_restarted(open_scenario: OpenScenario, finish: Finish, mode: ShutdownMode) -> None:
    scenario = open_scenario()
    backfill = scenario.column.launch()
    scenario.wait_for_progress()
    with scenario.without_storage(mode):
        scenario.pause(1, 15)
    scenario.repaired()
    scenario.wait_for_backfills(backfill)
    finish(scenario)


@long_form
def test_sensor_continues_after_a_failed_run_with_storage_in_another_time_zone(
    open_scenario: OpenScenario, finish: Finish
) -> None:
    scenario = open_scenario(follow={"interval_seconds": 5}, storage_settings={"timezone": "Asia/Tokyo"})
    connection = scenario.column.connection
    # As if a privilege was missing, which is not recorded as a failure of rows.
    connection.execute(
        "CREATE FUNCTION reject_update() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'rejected' USING ERRCODE = 'insufficient_privilege'; END $$"
    )
    connection.execute(
        "CREATE TRIGGER reject_update BEFORE UPDATE ON passage FOR EACH ROW EXECUTE FUNCTION reject_update()"
    )
    scenario.deployment.webserver.start_sensor("passage_vector__follow_sensor")
    failed = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE])
    scenario.wait_until(lambda: scenario.instance.get_runs_count(failed) > 0)
    connection.execute("DROP TRIGGER reject_update ON passage")
    scenario.repaired()
    scenario.wait_until(lambda: not any(scenario.column.pending().values()))
    finish(scenario)
