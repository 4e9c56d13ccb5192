"""The maintenance job (partitions, edited rows, checks), its schedule, and the freshness policy of the asset."""

from datetime import timedelta
from unittest.mock import Mock

import dagster as dg
import psycopg
import pytest

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.errors import ConfigurationError
from crdbvec_pipelines.orchestration.assets import vector_column as module
from crdbvec_pipelines.orchestration.build import build_definitions
from crdbvec_pipelines.orchestration.instance.dagster_internals import materialized_partitions
from tests.orchestration.evaluations import CHECKS, latest
from tests.orchestration.project import UNUSED_URL, BuildProject, Project, configuration
from tests.orchestration.runs import make_run
from tests.support.models import CallLog
from tests.support.tables import INT_SHAPE, create_table, insert_rows, set_text, vectors
from tests.support.work import embed

pytestmark = pytest.mark.usefixtures("calls")


def numbers_without_vector(connection: psycopg.Connection) -> list[int]:
    found = vectors(connection)
    return [number for number in range(len(found)) if found[INT_SHAPE.key(number)] is None]


def test_partitions_are_synced_edited_rows_embedded_and_checks_evaluated(
    url: str, connection: psycopg.Connection, calls: CallLog, build_project: BuildProject
) -> None:
    create_table(connection, INT_SHAPE, [f"text {number}" for number in range(20)])
    project = build_project(url, partitions={"target_rows": 5})
    project.run("follow")
    planned = project.partitions
    insert_rows(connection, INT_SHAPE, {number: f"text {number}" for number in range(20, 40)})
    set_text(connection, INT_SHAPE, 2, "edited")
    set_text(connection, INT_SHAPE, 3, None)
    calls.clear()
    project.instance.wipe_assets([project.asset])
    project.run("maintain")
    assert sorted(calls.inputs()) == sorted(["edited", *(f"text {number}" for number in range(20, 40))])
    assert numbers_without_vector(connection) == [3]
    assert project.partitions[: len(planned) - 1] == planned[:-1]
    assert len(project.partitions) > len(planned)
    touched = project.rows_embedded()
    assert touched[planned[0]] == 1
    assert sum(touched.values()) == 21
    found = {name: latest(project, name) for name in CHECKS}
    assert all(evaluation and evaluation.passed for evaluation in found.values())


def test_complete_partitions_become_materialized_and_others_stay_so(
    url: str, connection: psycopg.Connection, calls: CallLog, build_project: BuildProject
) -> None:
    create_table(connection, INT_SHAPE, [f"text {number}" for number in range(20)])
    project = build_project(url, partitions={"target_rows": 5})
    project.prepare()
    with Database(url) as database:
        embed(database, project.spec)
    calls.clear()
    project.run("maintain")
    assert calls.inputs() == []
    assert project.rows_embedded() == dict.fromkeys(project.partitions, 0)
    before = materializations(project)
    project.run("maintain")
    # Only that of the last partition is repeated, for the freshness policy.
    assert materializations(project) == before + 1


def test_partition_whose_last_run_failed_becomes_materialized_when_it_is_complete(
    url: str, connection: psycopg.Connection, build_project: BuildProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_table(connection, INT_SHAPE, [f"text {number}" for number in range(20)])
    project = build_project(url, partitions={"target_rows": 5})
    project.run("maintain")
    failed, *others = project.partitions
    with monkeypatch.context() as patch:
        patch.setattr(module, "PartitionRun", Mock(side_effect=dg.Failure("broken", allow_retries=False)))
        assert not project.run("encode_in_process", partition_key=failed, raise_on_error=False).success
    assert materialized_partitions(project.instance, project.names, project.partitions) == set(others)
    project.run("maintain")
    assert materialized_partitions(project.instance, project.names, project.partitions) == set(project.partitions)


def materializations(project: Project) -> int:
    """Return how often partitions of the column were materialized."""
    return len(project.instance.fetch_materializations(project.asset, limit=1_000).records)


def test_asset_has_the_profile_of_its_texts(
    url: str, connection: psycopg.Connection, build_project: BuildProject
) -> None:
    create_table(connection, INT_SHAPE, ["a kakapo", "a kakapo", "many words " * 300])
    project = build_project(url, model="hf_st_all_minilm_l6")
    assert project.run("maintain").success
    events = project.instance.fetch_observations(project.asset, limit=10).records
    observed = [each.asset_observation.metadata for each in events if each.asset_observation]
    (metadata,) = [each for each in observed if "profile" in each]
    assert 0.5 < float(str(metadata["tokens_lost"].value)) < 1
    assert metadata["truncated"].value == pytest.approx(1 / 3, abs=1e-4)
    text = str(metadata["profile"].value)
    assert "- `search --distinct`: 66.7% of the rows have the same input" in text
    assert "kakapo" not in text


def test_checks_that_warn_do_not_fail_the_run(
    url: str, connection: psycopg.Connection, build_project: BuildProject
) -> None:
    create_table(connection, INT_SHAPE, ["a", "REJECTED"])
    project = build_project(url, model="stub_failing")
    assert project.run("maintain").success
    found = {name: latest(project, name) for name in CHECKS}
    assert {name: evaluation.passed for name, evaluation in found.items() if evaluation} == {
        "coverage": False,
        "drift": True,
        "vector_health": True,
        "row_errors": False,
        "unreadable": True,
        "truncated": True,
    }
    errors = found["row_errors"]
    assert errors is not None
    assert errors.severity == dg.AssetCheckSeverity.WARN
    assert errors.metadata["rows_failed"] == 1


def test_error_of_a_deleted_row_is_deleted(
    url: str, connection: psycopg.Connection, build_project: BuildProject
) -> None:
    create_table(connection, INT_SHAPE, ["a", "REJECTED"])
    project = build_project(url, model="stub_failing")
    project.run("follow")
    connection.execute("DELETE FROM passage WHERE passage = 'REJECTED'")
    project.run("maintain")
    assert connection.execute("SELECT count(*) FROM crdbvec_row_errors").fetchone() == (0,)


def test_schedule_has_the_cron_expression_of_the_configuration(build_project: BuildProject) -> None:
    project = build_project(UNUSED_URL, schedule="15 4 * * 1", schedule_timezone="Asia/Kathmandu")
    schedule = project.definitions.resolve_schedule_def("passage_vector__maintain_schedule")
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("15 4 * * 1", "Asia/Kathmandu")
    assert schedule.job.name == "passage_vector__maintain"
    assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED


def test_scheduled_run_is_tagged_with_its_column(build_project: BuildProject) -> None:
    project = build_project(UNUSED_URL)
    schedule = project.definitions.resolve_schedule_def("passage_vector__maintain_schedule")
    with dg.build_schedule_context(instance=project.instance) as context:
        (request,) = schedule.evaluate_tick(context).run_requests or []
    assert request.run_config == {}
    make_run(project, "maintain")
    (run,) = project.instance.get_runs()
    assert run.tags["crdbvec/vector_column"] == project.names.stem


def test_schedule_is_in_utc_by_default(build_project: BuildProject) -> None:
    schedule = build_project(UNUSED_URL).definitions.resolve_schedule_def("passage_vector__maintain_schedule")
    assert schedule.execution_timezone == "UTC"


def test_cron_expression_that_only_dagster_rejects_is_one_message() -> None:
    # Weekdays with and without a number.
    config = configuration(UNUSED_URL, {"schedule": "0 0 * * 1,2#1"})
    with pytest.raises(ConfigurationError) as caught:
        build_definitions(config)
    assert str(caught.value) == (
        "crdbvec.yaml: vectors[0].schedule: '0 0 * * 1,2#1' is not a cron expression. Write one such as 0 3 * * *."
    )


def test_freshness_policy_has_the_hours_of_the_configuration(build_project: BuildProject) -> None:
    project = build_project(UNUSED_URL, freshness={"warn_hours": 3, "fail_hours": 4.5})
    specs = {spec.key: spec for spec in project.definitions.resolve_all_asset_specs()}
    assert specs[project.asset].freshness_policy == dg.FreshnessPolicy.time_window(
        warn_window=timedelta(hours=3), fail_window=timedelta(hours=4.5)
    )
    assert specs[dg.AssetKey(["public", "passage"])].freshness_policy is None
