"""Real tables cut into key ranges: of the size wanted, covering all, and kept as they are when the table grows."""

import uuid
from collections.abc import Iterable

import psycopg
import pytest

from crdbvec_pipelines.config import PartitionsSpec
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.introspect import read_table
from crdbvec_pipelines.database.keys import TableKeys
from crdbvec_pipelines.keyspace import KeyRange, in_key_order, parse_partition_key, partition_key
from crdbvec_pipelines.naming import TableName
from crdbvec_pipelines.partitioning import PartitionPlan, plan_partitions
from tests.support.tables import INT_SHAPE, SHAPES, UUID_SHAPE, KeyShape, column, create_table, insert_rows
from tests.support.work import prepare

TABLE = TableName("public", "passage")
STRIDED = [shape for shape in SHAPES if shape is not UUID_SHAPE]


def plan(database: Database, target_rows: int, existing: Iterable[str] = (), most: int = 1_000) -> PartitionPlan:
    spec = PartitionsSpec(target_rows=target_rows, max_partitions=most)
    return plan_partitions(TableKeys(database, read_table(database, TABLE)), spec, existing)


def ranges(planned: PartitionPlan) -> list[KeyRange]:
    return [parse_partition_key(key, TABLE) for key in planned.keys]


def sizes(database: Database, planned: PartitionPlan) -> list[int]:
    """The rows in each range."""
    rows = prepare(database, column())
    return [rows.count(key_range).rows for key_range in ranges(planned)]


def fill(connection: psycopg.Connection, shape: KeyShape, start: int, stop: int) -> None:
    insert_rows(connection, shape, dict.fromkeys(range(start, stop), "text"))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_plan_covers_every_row_once(database: Database, connection: psycopg.Connection, shape: KeyShape) -> None:
    create_table(connection, shape, ["text"] * 500)
    planned = plan(database, 50)
    assert in_key_order(ranges(planned)) == ranges(planned)
    assert sum(sizes(database, planned)) == 500
    assert (planned.added, planned.removed) == (planned.keys, ())


@pytest.mark.parametrize("shape", STRIDED, ids=str)
def test_keys_in_order_are_cut_by_number(database: Database, connection: psycopg.Connection, shape: KeyShape) -> None:
    create_table(connection, shape, ["text"] * 530)
    *closed, tail = sizes(database, plan(database, 50))
    assert closed == [50] * 9
    assert 50 <= tail < 100


def test_random_uuids_are_cut_by_prefix(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, UUID_SHAPE, ["text"] * 500)
    assert plan(database, 70).keys == (
        "public:passage::min::u2",
        "public:passage::u2::u4",
        "public:passage::u4::u6",
        "public:passage::u6::u8",
        "public:passage::u8::ua",
        "public:passage::ua::uc",
        "public:passage::uc::ue",
        "public:passage::ue::max",
    )


def test_uuids_in_order_of_time_are_cut_by_number(database: Database, connection: psycopg.Connection) -> None:
    # As UUIDv7: milliseconds in the first 48 bits.
    shape = KeyShape(
        "uuidv7", {"id": "UUID"}, lambda number: (uuid.UUID(int=(1_760_000_000_000 + number * 7 << 80) + number),)
    )
    create_table(connection, shape, ["text"] * 330)
    first = plan(database, 100)
    assert sizes(database, first) == [100, 100, 130]
    fill(connection, shape, 330, 500)
    second = plan(database, 100, first.keys)
    assert sizes(database, second) == [100, 100, 100, 100, 100]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_an_empty_table_is_one_range(database: Database, connection: psycopg.Connection, shape: KeyShape) -> None:
    create_table(connection, shape)
    assert plan(database, 50).keys == ("public:passage::min::max",)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_one_range_may_be_cut_in_any_way_when_rows_arrive(
    database: Database, connection: psycopg.Connection, shape: KeyShape
) -> None:
    create_table(connection, shape)
    empty = plan(database, 50)
    fill(connection, shape, 0, 500)
    planned = plan(database, 50, empty.keys)
    assert len(planned.keys) >= 8
    assert planned.removed == empty.keys
    assert plan(database, 50, planned.keys) == PartitionPlan(planned.keys, (), ())


def test_growth_behind_the_end_cuts_only_the_tail(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, INT_SHAPE, ["text"] * 250)
    first = plan(database, 100)
    fill(connection, INT_SHAPE, 250, 620)
    second = plan(database, 100, first.keys)
    assert second.keys[: len(first.keys) - 1] == first.keys[:-1]
    assert second.removed == first.keys[-1:]
    assert second.added == second.keys[len(first.keys) - 1 :]
    assert sizes(database, second) == [100, 100, 100, 100, 100, 120]


def test_growth_in_the_middle_changes_no_key(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, INT_SHAPE, ["text"] * 300)
    first = plan(database, 100)
    connection.execute("INSERT INTO passage (id, passage) SELECT id + 1, 'text' FROM passage ORDER BY id LIMIT 150")
    assert plan(database, 100, first.keys) == PartitionPlan(first.keys, (), ())


def test_growth_of_random_uuids_changes_no_key(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, UUID_SHAPE, ["text"] * 200)
    first = plan(database, 100)
    fill(connection, UUID_SHAPE, 200, 900)
    assert plan(database, 100, first.keys) == PartitionPlan(first.keys, (), ())


def test_rows_that_go_change_no_key(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, INT_SHAPE, ["text"] * 300)
    first = plan(database, 100)
    connection.execute("DELETE FROM passage")
    assert plan(database, 100, first.keys) == PartitionPlan(first.keys, (), ())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_there_are_never_more_ranges_than_allowed(
    database: Database, connection: psycopg.Connection, shape: KeyShape
) -> None:
    create_table(connection, shape, ["text"] * 300)
    first = plan(database, 1, most=6)
    assert 2 <= len(first.keys) <= 6
    fill(connection, shape, 300, 400)
    assert len(plan(database, 1, first.keys, most=6).keys) <= 6


@pytest.mark.parametrize(
    "bogus",
    [
        "added by hand",
        "public:other::min::max",
        "public:passage::u1::max",
        partition_key(TABLE, KeyRange(None, (1, 2))),
        partition_key(TABLE, KeyRange(None, (5,))),
        partition_key(TABLE, KeyRange()),
    ],
)
def test_a_key_that_does_not_belong_is_removed_and_the_others_stay(
    database: Database, connection: psycopg.Connection, bogus: str
) -> None:
    create_table(connection, INT_SHAPE, ["text"] * 300)
    first = plan(database, 100)
    again = plan(database, 100, [*first.keys, bogus])
    assert again == PartitionPlan(first.keys, (), (bogus,))


def test_a_gap_is_closed_by_a_new_plan(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, INT_SHAPE, ["text"] * 400)
    first = plan(database, 100)
    again = plan(database, 100, [first.keys[0], *first.keys[2:]])
    assert again == PartitionPlan(first.keys, (first.keys[1],), ())


def test_the_servers_estimate_is_enough_for_the_first_cut(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, INT_SHAPE, ["text"] * 300)
    connection.execute("ANALYZE passage")
    assert TableKeys(database, read_table(database, TABLE)).estimate_rows() == 300
    assert sizes(database, plan(database, 100)) == [100, 100, 100]
