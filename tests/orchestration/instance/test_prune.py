"""Old runs of a vector column: which maintenance deletes, and that no partition becomes missing by it."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import dagster as dg
import psycopg
import pytest
from dagster._core.events import DagsterEvent, StepMaterializationData
from dagster._core.execution.backfill import BulkActionStatus
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

from crdbvec_pipelines.orchestration.asset_names import COLUMN_TAG
from crdbvec_pipelines.orchestration.instance import prune
from tests.orchestration.evaluations import CHECKS, latest
from tests.orchestration.project import BuildProject, Project
from tests.orchestration.runs import UNFINISHED, make_backfill, make_run, set_age
from tests.support.tables import INT_SHAPE, create_table, insert_rows

pytestmark = pytest.mark.usefixtures("calls")

OLD = timedelta(days=31)
KEPT = timedelta(days=29)
FINISHED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)


@pytest.fixture
def project(url: str, connection: psycopg.Connection, build_project: BuildProject) -> Project:
    """Twenty pending rows in four partitions; maintenance deletes runs after thirty days."""
    create_table(connection, INT_SHAPE, [f"text {number}" for number in range(20)])
    built = build_project(url, partitions={"target_rows": 5}, keep_runs_days=30)
    built.prepare()
    assert len(built.partitions) == 4
    return built


def run_range(project: Project, partitions: Sequence[str], **tags: str) -> str:
    """Run a range of partitions in one run of a backfill, and return its id."""
    ends = {"start": partitions[0], "end": partitions[-1]}
    ranges = {f"dagster/asset_partition_range_{end}": key for end, key in ends.items()}
    return run_asset(project, tags={"dagster/backfill": "finished", **ranges, **tags})


def run_asset(project: Project, **options: Any) -> str:
    """Materialize partitions of the column as the UI does, and return the id of the run."""
    job = project.definitions.resolve_implicit_global_asset_job_def().get_subset(asset_selection={project.asset})
    return job.execute_in_process(instance=project.instance, asset_selection=[project.asset], **options).run_id


def maintain(project: Project) -> set[str]:
    """Maintain the column, and return the ids of the runs that are left, without that of this one."""
    own = project.run("maintain").run_id
    return {run.run_id for run in project.instance.get_runs()} - {own}


def age_all(project: Project) -> None:
    for run in project.instance.get_runs():
        set_age(project, run.run_id, OLD)


def event_counts(project: Project, run_ids: Sequence[str]) -> Mapping[str, int]:
    return {run_id: len(project.instance.all_logs(run_id)) for run_id in run_ids}


def test_runs_without_a_latest_materialization_are_deleted_and_no_partition_becomes_missing(
    project: Project, connection: psycopg.Connection
) -> None:
    first, second, third, fourth = project.partitions
    replaced = run_range(project, [first, second])
    kept = run_range(project, [second, third, fourth])
    partly = project.run("encode_in_process", partition_key=first).run_id
    insert_rows(connection, INT_SHAPE, {100: "new"})
    followed = project.run("follow").run_id
    synced = project.run("sync_partitions").run_id
    failed = make_run(project, "follow", dg.DagsterRunStatus.FAILURE)
    age_all(project)
    materialized = project.materialized()
    assert set(materialized) == set(project.partitions)
    assert maintain(project) == {kept, partly}
    # The last partition's materialization is now that of the maintenance.
    after = project.materialized()
    assert {key: after[key] for key in (first, second, third)} == {
        key: materialized[key] for key in (first, second, third)
    }
    assert set(after) == set(project.partitions)
    assert project.instance.get_materialized_partitions(project.asset) == set(project.partitions)
    assert all(event_counts(project, [kept, partly]).values())
    assert set(event_counts(project, [replaced, followed, synced, failed]).values()) == {0}
    results = [latest(project, name) for name in CHECKS]
    assert all(result is not None and result.passed for result in results)
    # The next maintenance deletes the runs whose materializations are not the latest any more.
    age_all(project)
    project.run("encode_in_process", partition_key=first)
    assert partly not in maintain(project)
    assert project.instance.get_materialized_partitions(project.asset) == set(project.partitions)


def test_recent_and_unfinished_runs_are_kept(project: Project) -> None:
    kept = {make_run(project, "follow", status, age=OLD) for status in UNFINISHED}
    kept |= {make_run(project, "follow", status, age=KEPT) for status in FINISHED}
    for status in FINISHED:
        make_run(project, "follow", status, age=OLD)
    assert maintain(project) == kept


def test_runs_are_kept_by_default(url: str, connection: psycopg.Connection, build_project: BuildProject) -> None:
    create_table(connection, INT_SHAPE, ["text"])
    project = build_project(url)
    kept = {make_run(project, "follow", dg.DagsterRunStatus.SUCCESS, age=timedelta(days=3_000))}
    assert maintain(project) == kept


def test_runs_of_other_columns_assets_and_projects_are_kept(
    url: str, connection: psycopg.Connection, build_project: BuildProject
) -> None:
    create_table(connection, INT_SHAPE, [f"text {number}" for number in range(20)])
    project = build_project(
        url, {"output": "other", "partitions": {"target_rows": 5}}, partitions={"target_rows": 5}, keep_runs_days=30
    )
    other = Project(project.config, project.instance, "other")
    for each in (project, other):
        each.prepare()
    success = dg.DagsterRunStatus.SUCCESS
    partitions = project.partitions
    kept = {
        make_run(other, "follow", success),
        run_range(other, partitions),
        # A run of the column and of another asset.
        shared_run(project, other.asset),
        # A run that a person has started without a backfill.
        run_asset(project, partition_key=partitions[0]),
        foreign_run(project, {COLUMN_TAG: project.names.stem}),
        foreign_run(project, {"dagster/partition": partitions[0], "dagster/backfill": "theirs"}),
    }
    run_range(project, partitions)
    deleted = {make_run(project, "follow", success), run_range(project, partitions)}
    run_range(project, partitions)
    age_all(project)
    left = maintain(project)
    assert kept <= left
    assert not deleted & left


def shared_run(project: Project, other: dg.AssetKey) -> str:
    """Run all partitions in a run that materializes another asset, too."""
    run_id = run_range(project, project.partitions)
    materialized = StepMaterializationData(dg.AssetMaterialization(other, partition=project.partitions[0]))
    event = DagsterEvent(dg.DagsterEventType.ASSET_MATERIALIZATION.value, "job", event_specific_data=materialized)
    project.instance.report_dagster_event(event, run_id)
    return run_id


def foreign_run(project: Project, tags: Mapping[str, str]) -> str:
    """Create a finished run of another code location that has the same names."""
    job = project.definitions.resolve_implicit_global_asset_job_def().get_subset(asset_selection={project.asset})
    location = RegisteredCodeLocationOrigin("elsewhere")
    origin = RemoteJobOrigin(RemoteRepositoryOrigin(location, "__repository__"), job.name)
    run = project.instance.create_run_for_job(
        job, status=dg.DagsterRunStatus.SUCCESS, tags=tags, remote_job_origin=origin, asset_selection={project.asset}
    )
    return run.run_id


def test_runs_of_a_backfill_in_progress_are_kept(project: Project) -> None:
    backfill = make_backfill(project, BulkActionStatus.REQUESTED)
    kept = run_range(project, project.partitions, **{"dagster/backfill": backfill})
    deleted = run_range(project, project.partitions)
    run_range(project, project.partitions)
    age_all(project)
    left = maintain(project)
    assert kept in left
    assert deleted not in left


def test_number_of_deleted_runs_is_limited_and_the_oldest_are_first(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prune, "_RUNS_PER_MAINTENANCE", 3)
    monkeypatch.setattr(prune, "_PAGE_RUNS", 2)
    # Kept runs do not count, although they are older.
    for key in project.partitions[:-1]:
        project.run("encode_in_process", partition_key=key)
    kept = {run.run_id for run in project.instance.get_runs()}
    created = [make_run(project, "follow", dg.DagsterRunStatus.SUCCESS) for _ in range(8)]
    for left in (created[3:], created[6:]):
        age_all(project)
        found = maintain(project)
        assert found & set(created) == set(left)
        assert kept <= found
