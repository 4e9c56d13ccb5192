"""The scheduled care of a vector column: partitions, edited rows, checks; its schedule, and when the asset is stale."""

from datetime import timedelta

import dagster as dg
import psycopg
import pytest

from crdbvec_pipelines.config import parse_config
from crdbvec_pipelines.errors import ConfigurationError
from crdbvec_pipelines.orchestration.build import build_definitions
from tests.orchestration.evaluations import CHECKS, latest
from tests.orchestration.project import ENTRY, Project, project
from tests.orchestration.runs import make_run
from tests.support.models import WRAPPERS, CallLog
from tests.support.tables import INT_SHAPE, create_table, insert_rows, set_text, vectors

pytestmark = pytest.mark.usefixtures("calls")


def last_run_of(made: Project) -> dict[str, int]:
    return {key: metadata["rows_embedded"] for key, metadata in made.materialized().items()}


def test_it_plans_embeds_what_was_edited_and_evaluates_the_checks(
    url: str, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, INT_SHAPE, [f"text {number}" for number in range(20)])
    with project(url, partitions={"target_rows": 5}) as made:
        made.run("follow")
        planned = made.partitions
        insert_rows(connection, INT_SHAPE, {number: f"text {number}" for number in range(20, 40)})
        set_text(connection, INT_SHAPE, 2, "edited")
        set_text(connection, INT_SHAPE, 3, None)
        calls.clear()
        made.instance.wipe_assets([made.asset])
        made.run("maintain")
        assert sorted(calls.inputs()) == sorted(["edited", *(f"text {number}" for number in range(20, 40))])
        assert [number for number, vector in enumerate_by_key(connection) if vector is None] == [3]
        assert made.partitions[: len(planned) - 1] == planned[:-1]
        assert len(made.partitions) > len(planned)
        touched = last_run_of(made)
        assert touched[planned[0]] == 1
        assert sum(touched.values()) == 21
        # Those in between were not touched, and are not said to be.
        assert not set(planned[1:-1]) & set(touched)
        found = {name: latest(made, name) for name in CHECKS}
        assert all(evaluation and evaluation.passed for evaluation in found.values())


def test_where_nothing_is_stale_only_the_tail_is_marked_and_nothing_encoded(
    url: str, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, INT_SHAPE, [f"text {number}" for number in range(20)])
    with project(url, partitions={"target_rows": 5}) as made:
        made.run("follow")
        calls.clear()
        made.instance.wipe_assets([made.asset])
        made.run("maintain")
        assert calls.inputs() == []
        assert last_run_of(made) == {made.partitions[-1]: 0}


def test_checks_that_warn_do_not_fail_the_run(url: str, connection: psycopg.Connection) -> None:
    create_table(connection, INT_SHAPE, ["a", "POISON"])
    with project(url, model="stub_moody") as made:
        assert made.run("maintain").success
        found = {name: latest(made, name) for name in CHECKS}
        assert {name: evaluation.passed for name, evaluation in found.items() if evaluation} == {
            "coverage": False,
            "drift": True,
            "vector_health": True,
            "row_errors": False,
        }
        errors = found["row_errors"]
        assert errors is not None
        assert errors.severity == dg.AssetCheckSeverity.WARN
        assert errors.metadata["rows_failed"] == 1


def test_a_row_that_failed_and_was_deleted_is_forgotten(url: str, connection: psycopg.Connection) -> None:
    create_table(connection, INT_SHAPE, ["a", "POISON"])
    with project(url, model="stub_moody") as made:
        made.run("follow")
        connection.execute("DELETE FROM passage WHERE passage = 'POISON'")
        made.run("maintain")
        assert connection.execute("SELECT count(*) FROM crdbvec_row_errors").fetchone() == (0,)


def test_the_schedule_has_the_cron_of_the_configuration(url: str) -> None:
    with project(url, schedule="15 4 * * 1") as made:
        schedule = made.definitions.resolve_schedule_def("passage_vector__maintain_schedule")
        assert schedule.cron_schedule == "15 4 * * 1"
        assert schedule.job.name == "passage_vector__maintain"
        assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED


def test_a_schedule_asks_for_a_run_that_ticks_can_see(url: str) -> None:
    with project(url) as made:
        schedule = made.definitions.resolve_schedule_def("passage_vector__maintain_schedule")
        with dg.build_schedule_context(instance=made.instance) as context:
            (request,) = schedule.evaluate_tick(context).run_requests or []
        assert request.run_config == {}
        make_run(made, "maintain")
        (run,) = made.instance.get_runs()
        assert run.tags["crdbvec/vector_column"] == made.names.stem


@pytest.mark.parametrize("cron", ["every night", "61 3 * * *", "* * *", ""])
def test_a_bad_cron_is_one_sentence(cron: str) -> None:
    config = parse_config(
        {"models": {"directories": [str(WRAPPERS)]}, "vectors": [{**ENTRY, "schedule": cron}]}, "crdbvec.yaml", WRAPPERS
    )
    with pytest.raises(ConfigurationError) as caught:
        build_definitions(config)
    assert str(caught.value) == (
        f"crdbvec.yaml: vectors[0].schedule: {cron!r} is no cron expression; write for example 0 3 * * *."
    )


def test_the_asset_counts_as_stale_after_the_hours_of_the_configuration(url: str) -> None:
    with project(url, freshness={"warn_hours": 3, "fail_hours": 4.5}) as made:
        specs = {spec.key: spec for spec in made.definitions.resolve_all_asset_specs()}
        assert specs[made.asset].freshness_policy == dg.FreshnessPolicy.time_window(
            warn_window=timedelta(hours=3), fail_window=timedelta(hours=4.5)
        )
        assert specs[dg.AssetKey(["public", "passage"])].freshness_policy is None


def enumerate_by_key(connection: psycopg.Connection) -> list[tuple[int, object]]:
    found = vectors(connection)
    return [(number, found[INT_SHAPE.key(number)]) for number in range(len(found))]
