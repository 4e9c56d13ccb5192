"""Work in progress on a vector column: what counts, and what does not because it ended, died or is another column's."""

from datetime import timedelta

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus

from crdbvec_pipelines.orchestration.instance.in_progress import WorkInProgress, find_work_in_progress
from tests.orchestration.project import UNUSED_URL, BuildProject, Project
from tests.orchestration.runs import UNFINISHED, make_backfill, make_run, make_ui_run

HOUR = timedelta(hours=1)
ACTIVE = {BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING, BulkActionStatus.FAILING}
PARTITIONS = ("public:passage::min::u4", "public:passage::u4::u8", "public:passage::u8::max")


@pytest.fixture
def project(build_project: BuildProject) -> Project:
    """A column with three partitions, and another column of the same table."""
    built = build_project(UNUSED_URL, {"output": "other"})
    built.add_partitions(*PARTITIONS)
    return built


def find(project: Project) -> WorkInProgress:
    return find_work_in_progress(project.instance, project.names, project.partitions, HOUR)


def test_no_runs_are_no_work_in_progress(project: Project) -> None:
    assert find(project) == WorkInProgress((), frozenset(), ())
    assert find(project).description is None


@pytest.mark.parametrize("status", UNFINISHED, ids=lambda status: status.value)
def test_unfinished_run_over_the_whole_table_is_in_progress(project: Project, status: dg.DagsterRunStatus) -> None:
    run_ids = [make_run(project, action, status) for action in ("follow", "maintain", "sync_partitions")]
    found = find(project)
    assert set(found.whole_table) == set(run_ids)
    assert found.description == f"run {found.whole_table[0][:8]} is in progress"


def test_finished_run_is_not_in_progress(project: Project) -> None:
    for status in set(dg.DagsterRunStatus) - {*UNFINISHED, dg.DagsterRunStatus.MANAGED}:
        make_run(project, "follow", status)
    assert find(project).description is None


def test_partition_runs_are_in_progress_whether_a_job_or_the_ui_started_them(project: Project) -> None:
    first, second, third = project.partitions
    make_run(project, "encode", partition=first)
    make_run(project, "encode_in_process", dg.DagsterRunStatus.QUEUED, partition=second)
    make_ui_run(project, third)
    assert find(project) == WorkInProgress((), frozenset({first, second, third}), ())
    assert find(project).description == "3 partition runs are in progress"


def test_run_that_started_too_long_ago_is_taken_for_dead(project: Project) -> None:
    make_run(project, "follow", age=2 * HOUR)
    make_run(project, "encode", partition=project.partitions[0], age=2 * HOUR)
    assert find(project).description is None


def test_queued_run_is_never_taken_for_dead(project: Project) -> None:
    run_id = make_run(project, "follow", dg.DagsterRunStatus.QUEUED, age=2 * HOUR)
    assert find(project).whole_table == (run_id,)


def test_runs_of_another_column_of_the_same_table_do_not_count(project: Project) -> None:
    other = Project(project.config, project.instance, "other")
    other.add_partitions(*PARTITIONS)
    make_run(other, "follow")
    make_run(other, "encode", partition=project.partitions[0])
    make_ui_run(project, project.partitions[1], other.asset)
    make_backfill(other, BulkActionStatus.REQUESTED)
    assert find(project).description is None
    assert find(other).partitions == {project.partitions[0], project.partitions[1]}


def test_backfill_is_in_progress_until_it_has_ended(project: Project) -> None:
    ids = {make_backfill(project, status): status for status in BulkActionStatus}
    assert {ids[found] for found in find(project).backfills} == ACTIVE
    assert find(project).description == f"backfill {find(project).backfills[0]} is in progress"
