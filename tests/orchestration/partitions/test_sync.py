"""Sync of Dagster's partitions with the partition plan of a table, on a real instance."""

import dagster as dg
import psycopg
import pytest

from crdbvec_pipelines.config import PartitionsSpec
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.errors import TableError
from crdbvec_pipelines.keyspace import in_key_order, parse_partition_key
from crdbvec_pipelines.naming import TableName
from crdbvec_pipelines.orchestration.asset_names import AssetNames, asset_names
from crdbvec_pipelines.orchestration.partitions.sync import sync_partitions
from crdbvec_pipelines.partitioning import PartitionPlan
from tests.orchestration.project import UNUSED_URL, configuration
from tests.support.tables import INT_SHAPE, SHAPES, TEXT_SHAPE, KeyShape, column, create_table, insert_rows

TABLE = TableName("public", "passage")


@pytest.fixture
def names() -> AssetNames:
    (found,) = asset_names(configuration(UNUSED_URL)).values()
    return found


def sync(instance: dg.DagsterInstance, database: Database, names: AssetNames, target_rows: int = 50) -> PartitionPlan:
    spec = column(partitions=PartitionsSpec(target_rows=target_rows))
    return sync_partitions(instance, database, spec, names)


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
    plan = sync_partitions(instance, database, spec, names)
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


def test_missing_table_leaves_the_partitions_unchanged(
    instance: dg.DagsterInstance, database: Database, names: AssetNames
) -> None:
    instance.add_dynamic_partitions(names.partitions, ["public:passage::min::max"])
    with pytest.raises(TableError, match=r"There is no table public\.passage"):
        sync(instance, database, names)
    assert dagster_partitions(instance, names) == ["public:passage::min::max"]
