"""Work in progress on a vector column: what counts, and what does not because it ended, died or is another column's."""

from datetime import timedelta

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus

from crdbvec_pipelines.orchestration.instance.in_progress import (
    WorkInProgress,
    find_work_in_progress,
    targeted_partitions,
)
from tests.orchestration.project import UNUSED_URL, BuildProject, Project
from tests.orchestration.runs import (
    UNFINISHED,
    make_backfill,
    make_job_backfill,
    make_range_run,
    make_run,
    make_ui_run,
)

HOUR = timedelta(hours=1)
ACTIVE = (BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING, BulkActionStatus.FAILING)
PARTITIONS = ("public:passage::min::u4", "public:passage::u4::u8", "public:passage::u8::max")


@pytest.fixture
def project(build_project: BuildProject) -> Project:
    """A column with three partitions, and another column of the same table."""
    built = build_project(UNUSED_URL, {"output": "other"})
    built.add_partitions(*PARTITIONS)
    return built


@pytest.fixture
def other(project: Project) -> Project:
    """The other column of the table, which has the same partition keys."""
    built = Project(project.config, project.instance, "other")
    built.add_partitions(*PARTITIONS)
    return built


def find(project: Project) -> WorkInProgress:
    return find_work_in_progress(project.instance, project.names, project.partitions, HOUR)


def test_no_runs_are_no_work_in_progress(project: Project) -> None:
    assert find(project) == WorkInProgress((), (), ())
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
    assert set(find(project).partition_runs) == {frozenset({key}) for key in (first, second, third)}
    assert (find(project).whole_table, find(project).backfills) == ((), ())
    assert find(project).description == "3 partition runs are in progress"


def test_run_that_started_too_long_ago_is_taken_for_dead(project: Project) -> None:
    make_run(project, "follow", age=2 * HOUR)
    make_run(project, "encode", partition=project.partitions[0], age=2 * HOUR)
    assert find(project).description is None


def test_queued_run_is_never_taken_for_dead(project: Project) -> None:
    run_id = make_run(project, "follow", dg.DagsterRunStatus.QUEUED, age=2 * HOUR)
    assert find(project).whole_table == (run_id,)


def targeted(project: Project) -> set[str]:
    return set(targeted_partitions(project.instance, project.names, project.partitions))


def test_runs_of_another_column_of_the_same_table_do_not_count(project: Project, other: Project) -> None:
    make_run(other, "follow")
    make_run(other, "encode", partition=project.partitions[0])
    make_ui_run(project, project.partitions[1], other.asset)
    make_backfill(other, BulkActionStatus.REQUESTED)
    assert find(project).description is None
    assert find(other).partitions == {project.partitions[0], project.partitions[1]}


def test_backfill_is_in_progress_until_it_has_ended(project: Project) -> None:
    ids = {make_backfill(project, status): status for status in BulkActionStatus}
    assert {ids[found] for found in find(project).backfills} == set(ACTIVE)
    assert find(project).description == f"backfill {find(project).backfills[0]} is in progress"


@pytest.mark.parametrize("status", ACTIVE, ids=lambda status: status.value)
def test_backfill_that_has_not_changed_for_long_is_taken_for_dead(project: Project, status: BulkActionStatus) -> None:
    backfill = make_backfill(project, status, age=2 * HOUR)
    make_run(project, "encode", age=2 * HOUR, tags={"dagster/backfill": backfill})
    assert find(project) == WorkInProgress()


@pytest.mark.parametrize(
    "status", [*UNFINISHED, dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE], ids=lambda status: status.value
)
def test_old_backfill_with_a_recent_run_is_in_progress(project: Project, status: dg.DagsterRunStatus) -> None:
    backfill = make_backfill(project, BulkActionStatus.REQUESTED, age=2 * HOUR)
    make_run(project, "encode", status, tags={"dagster/backfill": backfill})
    assert find(project).backfills == (backfill,)


def test_old_backfill_with_a_queued_run_is_in_progress(project: Project) -> None:
    backfill = make_backfill(project, BulkActionStatus.REQUESTED, age=2 * HOUR)
    make_run(project, "encode", dg.DagsterRunStatus.QUEUED, age=2 * HOUR, tags={"dagster/backfill": backfill})
    assert find(project).backfills == (backfill,)


def test_runs_of_another_backfill_do_not_keep_a_backfill_in_progress(project: Project) -> None:
    make_backfill(project, BulkActionStatus.REQUESTED, age=2 * HOUR)
    make_run(project, "encode", partition=project.partitions[0], tags={"dagster/backfill": "another"})
    assert find(project).backfills == ()


@pytest.mark.parametrize("action", ["encode", "encode_in_process"])
def test_backfill_of_a_job_of_the_column_is_in_progress(project: Project, other: Project, action: str) -> None:
    backfill = make_job_backfill(project, action, project.partitions[:2])
    assert find(project).backfills == (backfill,)
    assert find(other).backfills == ()


def test_backfill_of_a_job_of_the_same_name_in_another_code_location_is_not_in_progress(project: Project) -> None:
    make_job_backfill(project, "encode", ["public:other::min::max"])
    assert find(project).backfills == ()


def test_no_work_targets_no_partition(project: Project) -> None:
    make_backfill(project, BulkActionStatus.COMPLETED_SUCCESS)
    make_run(project, "encode", dg.DagsterRunStatus.SUCCESS, partition=project.partitions[0])
    # Runs over the whole table read Dagster's partitions when they start.
    make_run(project, "follow")
    assert targeted(project) == set()


@pytest.mark.parametrize("status", ACTIVE, ids=lambda status: status.value)
def test_unfinished_backfill_targets_its_partitions_whatever_its_age(
    project: Project, other: Project, status: BulkActionStatus
) -> None:
    make_backfill(project, status, project.partitions[1:], age=24 * HOUR)
    assert targeted(project) == set(project.partitions[1:])
    assert targeted(other) == set()


def test_unfinished_backfill_of_a_job_targets_its_partitions(project: Project, other: Project) -> None:
    make_job_backfill(project, "encode", project.partitions[:2])
    assert targeted(project) == set(project.partitions[:2])
    assert targeted(other) == set()


@pytest.mark.parametrize("status", UNFINISHED, ids=lambda status: status.value)
def test_unfinished_run_targets_its_partition(project: Project, status: dg.DagsterRunStatus) -> None:
    make_run(project, "encode", status, partition=project.partitions[1], age=24 * HOUR)
    make_ui_run(project, project.partitions[2])
    assert targeted(project) == set(project.partitions[1:])


def test_run_over_a_range_targets_the_partitions_between_in_the_order_of_dagster(project: Project) -> None:
    # Not the order of the keys.
    project.add_partitions("public:passage::u2::u3", "public:passage::u1::u2")
    assert project.partitions[3:] == ["public:passage::u2::u3", "public:passage::u1::u2"]
    make_range_run(project, project.partitions[1], project.partitions[3])
    assert targeted(project) == set(project.partitions[1:4])


def test_run_over_a_range_whose_last_partition_was_deleted_targets_all_partitions_after_the_first(
    project: Project,
) -> None:
    project.add_partitions("public:passage::u1::u2")
    make_range_run(project, project.partitions[1], project.partitions[2])
    project.instance.delete_dynamic_partition(project.names.partitions, project.partitions[2])
    assert targeted(project) == set(project.partitions[1:])
    assert len(project.partitions) == 3


def test_only_the_given_partitions_are_returned(project: Project) -> None:
    make_backfill(project, BulkActionStatus.REQUESTED)
    first = project.partitions[0]
    assert targeted_partitions(project.instance, project.names, [first, "not a partition"]) == {first}
