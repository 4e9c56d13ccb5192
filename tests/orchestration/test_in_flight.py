"""Who is at work on a vector column: all that may touch its rows, and nobody who died or works elsewhere."""

from collections.abc import Iterator
from datetime import timedelta

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus

from crdbvec_pipelines.orchestration.in_flight import InFlight, in_flight
from tests.orchestration.project import Project, project
from tests.orchestration.runs import UNDER_WAY, make_backfill, make_run, make_run_of_the_ui

HOUR = timedelta(hours=1)
ACTIVE = {BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING, BulkActionStatus.FAILING}


PARTITIONS = ["public:passage::min::u4", "public:passage::u4::u8", "public:passage::u8::max"]


@pytest.fixture
def made() -> Iterator[Project]:
    """A column with three partitions, and another of the same table; nobody asks the database."""
    with project("postgresql://nobody@nowhere/none", {"output": "other"}) as found:
        found.instance.add_dynamic_partitions(found.names.partitions, PARTITIONS)
        yield found


def look(made: Project) -> InFlight:
    return in_flight(made.instance, made.names, made.partitions, HOUR)


def test_where_nothing_runs_nobody_is_at_work(made: Project) -> None:
    assert look(made) == InFlight((), frozenset(), ())
    assert look(made).sentence is None


@pytest.mark.parametrize("status", UNDER_WAY, ids=lambda status: status.value)
def test_a_run_over_the_whole_table_is_at_work(made: Project, status: dg.DagsterRunStatus) -> None:
    run_ids = [make_run(made, action, status) for action in ("follow", "maintain", "sync_partitions")]
    found = look(made)
    assert set(found.whole_table) == set(run_ids)
    assert found.sentence == f"run {found.whole_table[0][:8]} is at work"


def test_a_run_with_an_end_is_not_at_work(made: Project) -> None:
    for status in set(dg.DagsterRunStatus) - {*UNDER_WAY, dg.DagsterRunStatus.MANAGED}:
        make_run(made, "follow", status)
    assert look(made).sentence is None


def test_runs_of_partitions_are_at_work_on_these_whoever_started_them(made: Project) -> None:
    first, second, third = made.partitions
    make_run(made, "encode", partition=first)
    make_run(made, "encode_in_process", dg.DagsterRunStatus.QUEUED, partition=second)
    make_run_of_the_ui(made, third)
    assert look(made) == InFlight((), frozenset({first, second, third}), ())
    assert look(made).sentence == "3 partition runs are at work"


def test_a_run_that_began_too_long_ago_has_died(made: Project) -> None:
    make_run(made, "follow", age=2 * HOUR)
    make_run(made, "encode", partition=made.partitions[0], age=2 * HOUR)
    assert look(made).sentence is None


def test_a_run_that_waits_in_the_queue_has_not_died(made: Project) -> None:
    run_id = make_run(made, "follow", dg.DagsterRunStatus.QUEUED, age=2 * HOUR)
    assert look(made).whole_table == (run_id,)


def test_runs_of_another_column_of_the_table_are_its_own(made: Project) -> None:
    other = Project(made.config, made.instance, "other")
    other.instance.add_dynamic_partitions(other.names.partitions, PARTITIONS)
    make_run(other, "follow")
    make_run(other, "encode", partition=made.partitions[0])
    make_run_of_the_ui(made, made.partitions[1], other.asset)
    make_backfill(other, BulkActionStatus.REQUESTED)
    assert look(made).sentence is None
    assert look(other).partitions == {made.partitions[0], made.partitions[1]}


def test_a_backfill_is_at_work_until_it_has_ended(made: Project) -> None:
    ids = {make_backfill(made, status): status for status in BulkActionStatus}
    assert {ids[found] for found in look(made).backfills} == ACTIVE
    assert look(made).sentence == f"backfill {look(made).backfills[0]} is at work"
