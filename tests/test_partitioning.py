"""Partition plans of tables: ranges of the target size that cover the table, and that are kept as it grows."""

import uuid
from collections.abc import Container, Iterable
from typing import LiteralString

import psycopg
import pytest
from psycopg import sql

from crdbvec_pipelines.config import PartitionsSpec
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.rows.keys import TableKeys
from crdbvec_pipelines.database.table import read_table
from crdbvec_pipelines.keyspace import (
    KeyRange,
    PartitionKeyError,
    in_key_order,
    parse_partition_key,
    partition_key,
    ranges_between,
)
from crdbvec_pipelines.naming import TableName
from crdbvec_pipelines.partitioning import PartitionPlan, plan_partitions
from tests.support.tables import INT_SHAPE, SHAPES, TEXT_SHAPE, UUID_SHAPE, KeyShape, column, create_table, insert_rows
from tests.support.work import embed, prepare

TABLE = TableName("public", "passage")
STRIDED = [shape for shape in SHAPES if shape is not UUID_SHAPE]


def plan(
    database: Database,
    target_rows: int,
    existing: Iterable[str] = (),
    max_partitions: int = 1_000,
    in_use: Container[str] = (),
) -> PartitionPlan:
    spec = PartitionsSpec(target_rows=target_rows, max_partitions=max_partitions)
    return plan_partitions(TableKeys(database, read_table(database, TABLE)), spec, existing, in_use)


def ranges(planned: PartitionPlan) -> list[KeyRange]:
    return [parse_partition_key(key, TABLE) for key in planned.keys]


def sizes(database: Database, planned: PartitionPlan) -> list[int]:
    """Return the number of rows in each range."""
    rows = prepare(database, column())
    return [rows.count(key_range).rows for key_range in ranges(planned)]


def fill(connection: psycopg.Connection, shape: KeyShape, start: int, stop: int) -> None:
    insert_rows(connection, shape, dict.fromkeys(range(start, stop), "text"))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_plan_covers_every_row_once(database: Database, connection: psycopg.Connection, shape: KeyShape) -> None:
    create_table(connection, shape, ["text"] * 500)
    planned = plan(database, 50)
    assert in_key_order(ranges(planned)) == ranges(planned)
    assert sum(sizes(database, planned)) == 500
    assert (planned.added, planned.removed) == (planned.keys, ())


@pytest.mark.parametrize("shape", STRIDED, ids=str)
def test_table_is_divided_by_row_count(database: Database, connection: psycopg.Connection, shape: KeyShape) -> None:
    create_table(connection, shape, ["text"] * 530)
    *closed_ranges, open_range = sizes(database, plan(database, 50))
    assert closed_ranges == [50] * 9
    assert 50 <= open_range < 100


def test_random_uuids_are_divided_by_prefix(database: Database, connection: psycopg.Connection) -> None:
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


def test_time_ordered_uuids_are_divided_by_row_count(database: Database, connection: psycopg.Connection) -> None:
    # Like UUIDv7: milliseconds in the first 48 bits.
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
def test_empty_table_is_one_range(database: Database, connection: psycopg.Connection, shape: KeyShape) -> None:
    create_table(connection, shape)
    assert plan(database, 50).keys == ("public:passage::min::max",)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_single_range_is_divided_when_rows_are_inserted(
    database: Database, connection: psycopg.Connection, shape: KeyShape
) -> None:
    create_table(connection, shape)
    empty = plan(database, 50)
    fill(connection, shape, 0, 500)
    planned = plan(database, 50, empty.keys)
    assert len(planned.keys) >= 8
    assert planned.removed == empty.keys
    assert plan(database, 50, planned.keys) == PartitionPlan(planned.keys, (), ())


def test_growth_at_the_end_splits_only_the_open_range(database: Database, connection: psycopg.Connection) -> None:
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


def test_deleted_rows_change_no_key(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, INT_SHAPE, ["text"] * 300)
    first = plan(database, 100)
    connection.execute("DELETE FROM passage")
    assert plan(database, 100, first.keys) == PartitionPlan(first.keys, (), ())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_plan_has_at_most_max_partitions(database: Database, connection: psycopg.Connection, shape: KeyShape) -> None:
    create_table(connection, shape, ["text"] * 300)
    first = plan(database, 1, max_partitions=6)
    assert 2 <= len(first.keys) <= 6
    fill(connection, shape, 300, 400)
    assert len(plan(database, 1, first.keys, max_partitions=6).keys) <= 6


@pytest.mark.parametrize(
    "foreign",
    [
        "added manually",
        "public:other::min::max",
        "public:passage::u1::max",
        partition_key(TABLE, KeyRange(None, (1, 2))),
        partition_key(TABLE, KeyRange(None, (5,))),
        partition_key(TABLE, KeyRange()),
    ],
)
def test_key_that_does_not_belong_to_the_table_is_removed(
    database: Database, connection: psycopg.Connection, foreign: str
) -> None:
    create_table(connection, INT_SHAPE, ["text"] * 300)
    first = plan(database, 100)
    again = plan(database, 100, [*first.keys, foreign])
    assert again == PartitionPlan(first.keys, (), (foreign,))


def test_missing_partition_is_added(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, INT_SHAPE, ["text"] * 400)
    first = plan(database, 100)
    again = plan(database, 100, [first.keys[0], *first.keys[2:]])
    assert again == PartitionPlan(first.keys, (first.keys[1],), ())


def test_initial_ranges_use_the_row_estimate_of_the_server(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, INT_SHAPE, ["text"] * 300)
    connection.execute("ANALYZE passage")
    assert TableKeys(database, read_table(database, TABLE)).estimate_rows() == 300
    assert sizes(database, plan(database, 100)) == [100, 100, 100]


@pytest.mark.parametrize(
    ("key_type", "key", "message"),
    [
        ("INTERVAL", "number * INTERVAL '1 minute'", "primary key of type timedelta cannot be split into ranges"),
        ("TEXT", "lpad(number::TEXT, 2000, 'x')", "too long to be bounds"),
    ],
)
def test_key_that_cannot_be_split_requires_a_single_partition(
    database: Database, connection: psycopg.Connection, key_type: LiteralString, key: LiteralString, message: str
) -> None:
    connection.execute(sql.SQL("CREATE TABLE passage (id {} PRIMARY KEY, passage TEXT)").format(sql.SQL(key_type)))
    connection.execute(
        sql.SQL("INSERT INTO passage SELECT {}, 'text' FROM generate_series(1, 100) AS numbers (number)").format(
            sql.SQL(key)
        )
    )
    with pytest.raises(PartitionKeyError, match=f"{message}.* Set `partitions.max_partitions: 1` for this table"):
        plan(database, 50)
    assert plan(database, 50, max_partitions=1).keys == ("public:passage::min::max",)
    assert embed(database, column(model="stub_hash"), batch_size=30).rows_embedded == 100


LONG_KEYS = (
    KeyShape("chinese", {"id": "TEXT"}, lambda number: (f"{number:05}" + "\u4e2d" * 64,)),
    KeyShape(
        "common prefix", {"id": "VARCHAR(600)"}, lambda number: ("https://example.com/" + "a/" * 190 + f"{number:05}",)
    ),
    KeyShape("url", {"id": "TEXT"}, lambda number: (f"https://example.com/{number:05}/" + "segment/" * 48,)),
    KeyShape(
        "composite",
        {"place": "TEXT", "kind": "INT4", "url": "TEXT"},
        lambda number: ("\u4e2d" * 60 + f"{number // 100:03}", number // 10 % 10, f"{number % 10}" + "x" * 300),
    ),
    KeyShape("bytes", {"id": "BYTEA"}, lambda number: (number.to_bytes(4, "big") + bytes(400),)),
)


@pytest.mark.parametrize("shape", LONG_KEYS, ids=str)
def test_long_keys_have_short_bounds(database: Database, connection: psycopg.Connection, shape: KeyShape) -> None:
    create_table(connection, shape, ["text"] * 330)
    planned = plan(database, 50)
    assert sizes(database, planned) == [50, 50, 50, 50, 50, 80]
    assert in_key_order(ranges(planned)) == ranges(planned)
    assert plan(database, 50, planned.keys) == PartitionPlan(planned.keys, (), ())
    assert embed(database, column(model="stub_hash"), key_range=ranges(planned)[2]).rows_embedded == 50


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("lost", [{0}, {2}, {-1}, {0, -1}, {1, 2}, {1, 3}, {0, 2, 4}], ids=str)
def test_lost_partitions_are_replaced_by_the_missing_ranges(
    database: Database, connection: psycopg.Connection, shape: KeyShape, lost: set[int]
) -> None:
    create_table(connection, shape, ["text"] * 500)
    first = ranges(plan(database, 70))
    missing = {range(len(first))[number] for number in lost}
    expected: list[KeyRange] = []
    for number, part in enumerate(first):
        if number in missing and number - 1 in missing:
            expected[-1] = KeyRange(expected[-1].lower, part.upper)
        else:
            expected.append(part)
    left = [partition_key(TABLE, part) for number, part in enumerate(first) if number not in missing]
    # Dagster's order does not matter.
    repaired = plan(database, 70, left[::-1])
    assert ranges(repaired) == expected
    assert set(repaired.added) == set(repaired.keys) - set(left)
    assert repaired.removed == ()


def test_all_but_one_partition_are_lost(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, INT_SHAPE, ["text"] * 500)
    first = ranges(plan(database, 50))
    kept = first[4]
    repaired = plan(database, 10_000, [partition_key(TABLE, kept)])
    assert ranges(repaired) == [KeyRange(None, kept.lower), kept, KeyRange(kept.upper, None)]


def test_gaps_are_found_in_the_order_of_the_type_of_the_key(database: Database, connection: psycopg.Connection) -> None:
    connection.execute("CREATE TYPE level AS ENUM ('low', 'middle', 'high', 'extreme')")
    connection.execute("CREATE TABLE passage (id level PRIMARY KEY, passage TEXT)")
    all_ranges = ranges_between([("low",), ("middle",), ("high",), ("extreme",)])
    left = [partition_key(TABLE, part) for part in all_ranges[::2]]
    assert ranges(plan(database, 50, left)) == all_ranges


def test_partition_with_reversed_bounds_is_removed_when_gaps_are_filled(
    database: Database, connection: psycopg.Connection
) -> None:
    create_table(connection, TEXT_SHAPE)
    first, second, third = ranges_between([("b",), ("d",)])
    foreign = KeyRange(("d",), ("b",))
    keys = [partition_key(TABLE, part) for part in (foreign, first, third)]
    repaired = plan(database, 50, keys)
    assert ranges(repaired) == [first, second, third]
    assert repaired.removed == (keys[0],)


def test_parts_replace_a_split_partition_that_still_exists(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, INT_SHAPE, ["text"] * 250)
    first = plan(database, 100)
    fill(connection, INT_SHAPE, 250, 620)
    second = plan(database, 100, first.keys)
    # Other rows have been deleted since, so a new division of the old partition would have other bounds.
    connection.execute("DELETE FROM passage WHERE id % 3 = 0")
    repaired = plan(database, 100, [*first.keys, *second.added])
    assert repaired == PartitionPlan(second.keys, (), first.keys[-1:])


def test_partition_in_use_is_split_later(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, INT_SHAPE, ["text"] * 250)
    first = plan(database, 100)
    fill(connection, INT_SHAPE, 250, 620)
    waiting = plan(database, 100, first.keys, in_use=first.keys[-1:])
    assert waiting == PartitionPlan(first.keys, (), (), first.keys[-1:])
    assert str(waiting) == (
        f"{len(first.keys)} partitions, 0 added, 0 removed; {first.keys[-1]} will be split or removed when the work on "
        "it has ended"
    )
    assert len(plan(database, 100, first.keys, in_use=first.keys[:-1]).keys) > len(first.keys)


def test_single_partition_in_use_is_divided_later(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, INT_SHAPE)
    single = plan(database, 100).keys
    fill(connection, INT_SHAPE, 0, 500)
    assert plan(database, 100, single, in_use=single) == PartitionPlan(single, (), (), single)


def test_foreign_partition_in_use_is_removed_later(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, INT_SHAPE, ["text"] * 250)
    keys = plan(database, 100).keys
    existing = [*keys, "added by hand"]
    assert plan(database, 100, existing, in_use={"added by hand"}) == PartitionPlan(keys, (), (), ("added by hand",))
