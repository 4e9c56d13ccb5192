"""Sync of Dagster's partitions with the partition plan of a table, on a real instance."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from unittest.mock import Mock

import dagster as dg
import psycopg
import pytest
from dagster._core.execution.backfill import BulkActionStatus

from crdbvec_pipelines.config import PartitionsSpec
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.keyspace import in_key_order, parse_partition_key
from crdbvec_pipelines.naming import TableName
from crdbvec_pipelines.orchestration.asset_names import AssetNames, asset_names
from crdbvec_pipelines.orchestration.partitions.sync import sync_partitions
from crdbvec_pipelines.partitioning import PartitionPlan
from tests.orchestration.project import UNUSED_URL, BuildProject, Project, configuration
from tests.orchestration.runs import UNFINISHED, make_backfill, make_run
from tests.support.tables import INT_SHAPE, SHAPES, TEXT_SHAPE, KeyShape, column, create_table, insert_rows
from tests.support.work import embed, prepared

TABLE = TableName("public", "passage")


@pytest.fixture
def names() -> AssetNames:
    (found,) = asset_names(configuration(UNUSED_URL)).values()
    return found


def sync(instance: dg.DagsterInstance, database: Database, names: AssetNames, target_rows: int = 50) -> PartitionPlan:
    spec = column(partitions=PartitionsSpec(target_rows=target_rows))
    return sync_partitions(instance, prepared(database, spec), names)


def dagster_partitions(instance: dg.DagsterInstance, names: AssetNames) -> list[str]:
    return list(instance.get_dynamic_partitions(names.partitions))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_dagster_has_the_partitions_of_the_plan_in_key_order(
    instance: dg.DagsterInstance, database: Database, connection: psycopg.Connection, names: AssetNames, shape: KeyShape
) -> None:
    create_table(connection, shape, ["text"] * 300)
    plan = sync(instance, database, names)
    keys = dagster_partitions(instance, names)
    assert keys == list(plan.keys)
    ranges = [parse_partition_key(key, TABLE) for key in keys]
    assert in_key_order(ranges) == ranges
    assert len(ranges) >= 5


def test_second_sync_changes_nothing(
    instance: dg.DagsterInstance, database: Database, connection: psycopg.Connection, names: AssetNames
) -> None:
    create_table(connection, TEXT_SHAPE, ["text"] * 300)
    first = sync(instance, database, names)
    assert sync(instance, database, names) == PartitionPlan(first.keys, (), ())
    assert dagster_partitions(instance, names) == list(first.keys)


def test_only_the_last_partition_is_replaced_when_the_table_grows(
    instance: dg.DagsterInstance, database: Database, connection: psycopg.Connection, names: AssetNames
) -> None:
    create_table(connection, INT_SHAPE, ["text"] * 120)
    first = sync(instance, database, names)
    insert_rows(connection, INT_SHAPE, dict.fromkeys(range(120, 400), "text"))
    second = sync(instance, database, names)
    keys = dagster_partitions(instance, names)
    assert keys == list(second.keys)
    assert keys[: len(first.keys) - 1] == list(first.keys[:-1])
    assert first.keys[-1] not in keys
    assert len(keys) > len(first.keys)


def test_more_keys_are_added_than_sqlite_accepts_in_one_statement(
    instance: dg.DagsterInstance, database: Database, connection: psycopg.Connection, names: AssetNames
) -> None:
    create_table(connection, INT_SHAPE, ["text"] * 2_600)
    spec = column(partitions=PartitionsSpec(target_rows=1, max_partitions=2_500))
    plan = sync_partitions(instance, prepared(database, spec), names)
    assert len(plan.keys) > 1_000
    assert dagster_partitions(instance, names) == list(plan.keys)


def test_keys_that_are_not_in_the_plan_are_removed(
    instance: dg.DagsterInstance, database: Database, connection: psycopg.Connection, names: AssetNames
) -> None:
    create_table(connection, INT_SHAPE, ["text"] * 120)
    first = sync(instance, database, names)
    instance.add_dynamic_partitions(names.partitions, ["added by hand", "public:passage::min::max"])
    assert sync(instance, database, names).removed == ("added by hand", "public:passage::min::max")
    assert dagster_partitions(instance, names) == list(first.keys)


@dataclass
class Grown:
    """A column whose last partition has outgrown its size, and its partitions before the next sync."""

    project: Project
    before: list[str]

    @property
    def last(self) -> str:
        return self.before[-1]


@pytest.fixture
def grown(url: str, connection: psycopg.Connection, build_project: BuildProject) -> Grown:
    create_table(connection, INT_SHAPE, [f"text {number}" for number in range(20)])
    project = build_project(url, model="stub_hash", partitions={"target_rows": 5})
    project.prepare()
    before = project.partitions
    insert_rows(connection, INT_SHAPE, {number: f"text {number}" for number in range(20, 40)})
    return Grown(project, before)


@pytest.mark.parametrize("status", UNFINISHED, ids=lambda status: status.value)
def test_partition_of_an_unfinished_run_is_split_after_it(grown: Grown, status: dg.DagsterRunStatus) -> None:
    project = grown.project
    run_id = make_run(project, "encode", status, partition=grown.last)
    project.prepare()
    assert project.partitions == grown.before
    project.instance.delete_run(run_id)
    make_run(project, "encode", partition=grown.before[0])
    project.prepare()
    assert project.partitions[:-1] > grown.before[:-1]
    assert grown.last not in project.partitions


def test_partition_of_an_unfinished_backfill_is_split_after_it(grown: Grown) -> None:
    project = grown.project
    backfill_id = make_backfill(project, BulkActionStatus.REQUESTED)
    project.prepare()
    assert project.partitions == grown.before
    backfill = project.instance.get_backfill(backfill_id)
    assert backfill is not None
    project.instance.update_backfill(backfill.with_status(BulkActionStatus.COMPLETED_SUCCESS))  # type: ignore[no-untyped-call]
    project.prepare()
    assert grown.last not in project.partitions


def test_job_says_that_a_split_is_deferred(grown: Grown) -> None:
    make_run(grown.project, "encode", partition=grown.last)
    result = grown.project.run("sync_partitions")
    messages = [entry.user_message for entry in grown.project.instance.all_logs(result.run_id)]
    count = len(grown.before)
    assert (
        f"{count} partitions, 0 added, 0 removed; {grown.last} will be split or removed when the work on it has ended"
    ) in messages


def test_run_that_starts_during_a_sync_keeps_its_partition(grown: Grown, monkeypatch: pytest.MonkeyPatch) -> None:
    project = grown.project
    add = project.instance.add_dynamic_partitions

    def add_and_start_run(name: str, keys: Sequence[str]) -> None:
        add(name, keys)
        make_run(project, "encode", partition=grown.last)

    with monkeypatch.context() as patch:
        patch.setattr(project.instance, "add_dynamic_partitions", add_and_start_run)
        project.prepare()
    assert project.partitions[: len(grown.before)] == grown.before
    (run,) = project.instance.get_runs()
    project.instance.delete_run(run.run_id)
    parts = project.partitions[len(grown.before) :]
    project.prepare()
    assert project.partitions == [*grown.before[:-1], *parts]


def test_sync_that_dies_between_its_statements_is_completed_by_the_next(
    grown: Grown, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = grown.project
    with monkeypatch.context() as patch:
        patch.setattr(project.instance, "delete_dynamic_partition", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            project.prepare()
    parts = project.partitions[len(grown.before) :]
    assert project.partitions == [*grown.before, *parts]
    project.prepare()
    assert project.partitions == [*grown.before[:-1], *parts]


def test_lost_partition_is_added_again_and_keeps_its_state(grown: Grown) -> None:
    project = grown.project
    project.prepare()
    for key in project.partitions:
        assert project.run("encode_in_process", partition_key=key).success
    before = project.partitions
    project.instance.delete_dynamic_partition(project.names.partitions, before[2])
    project.prepare()
    assert project.partitions == [*before[:2], *before[3:], before[2]]
    assert set(project.materialized()) == set(before)


def test_parts_of_a_materialized_partition_are_materialized_unless_rows_are_pending(
    grown: Grown, connection: psycopg.Connection
) -> None:
    project = grown.project
    for key in grown.before:
        assert project.run("encode_in_process", partition_key=key).success
    # The last part gets further rows after the others.
    insert_rows(connection, INT_SHAPE, {number: f"text {number}" for number in range(40, 45)})
    project.prepare()
    *complete, last = [key for key in project.partitions if key not in grown.before]
    assert len(complete) >= 3
    materialized = project.materialized()
    assert set(materialized) - {grown.last} == {*grown.before[:-1], *complete}
    assert last not in materialized
    assert {materialized[key]["rows_pending"] for key in complete} == {0}
    assert {materialized[key]["dagster/partition_row_count"] for key in complete} == {5}


def test_parts_of_an_unmaterialized_partition_are_not_materialized(grown: Grown) -> None:
    with Database(grown.project.config.database.read_url(), max_connections=4) as database:
        embed(database, grown.project.spec)
    grown.project.prepare()
    assert grown.last not in grown.project.partitions
    assert grown.project.materialized() == {}


def test_syncs_at_the_same_time_make_one_division(grown: Grown) -> None:
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(grown.project.prepare) for _ in range(4)]:
            done.result()
    ranges = [parse_partition_key(key, TABLE) for key in grown.project.partitions]
    assert in_key_order(ranges) == ranges
    assert len(ranges) == 8
