"""Key ranges, their partition keys, and the division of a key space: reversible, unique, without gap or overlap."""

import random
import re
from collections.abc import Sequence
from datetime import UTC, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crdbvec_pipelines.keyspace import (
    MAX_KEY_LENGTH,
    MAX_READABLE_LENGTH,
    Bound,
    KeyRange,
    KeyValue,
    PartitionKeyError,
    in_key_order,
    parse_partition_key,
    partition_key,
    range_count,
    ranges_between,
    uuid_bounds,
)
from crdbvec_pipelines.naming import TableName

TABLE = TableName("public", "passage")
ALPHABET = re.compile(r"[A-Za-z0-9_:-]+")

_zones = st.sampled_from([None, UTC, timezone(timedelta(hours=5, minutes=30))])
_KINDS: Sequence[st.SearchStrategy[Any]] = (
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.uuids(),
    st.text(max_size=20),
    st.binary(max_size=20),
    st.dates(),
    st.datetimes(timezones=_zones),
    st.decimals(allow_nan=False, min_value=-(10**20), max_value=10**20),
    st.floats(allow_nan=False),
)
values = st.one_of(*_KINDS)
tables = st.builds(TableName, st.text(min_size=1, max_size=15), st.text(min_size=1, max_size=15))


@st.composite
def key_ranges(draw: st.DrawFn) -> KeyRange:
    """Ranges of single and composite keys, with one type per key column, and in order if the order is known."""
    kinds = draw(st.lists(st.sampled_from(_KINDS), min_size=1, max_size=4))
    lower: Bound | None = draw(st.none() | st.tuples(*kinds))
    upper: Bound | None = draw(st.none() | st.tuples(*kinds))
    if lower is None or upper is None:
        return KeyRange(lower, upper)
    differing = [(a, b) for a, b in zip(lower, upper, strict=True) if a != b]
    if not differing:
        return KeyRange(lower, None)
    first, second = differing[0]
    swapped = isinstance(first, (int, UUID)) and first > second  # type: ignore[operator]
    return KeyRange(upper, lower) if swapped else KeyRange(lower, upper)


@given(tables, key_ranges())
def test_key_range_is_parsed_from_its_partition_key(table: TableName, key_range: KeyRange) -> None:
    assert parse_partition_key(partition_key(table, key_range), table) == key_range


@given(tables, key_ranges())
def test_partition_key_contains_only_characters_that_dagster_accepts_everywhere(
    table: TableName, key_range: KeyRange
) -> None:
    assert ALPHABET.fullmatch(partition_key(table, key_range))


@given(key_ranges(), key_ranges())
def test_different_ranges_have_different_partition_keys(one: KeyRange, other: KeyRange) -> None:
    assert (partition_key(TABLE, one) == partition_key(TABLE, other)) == (repr(one) == repr(other))


@given(tables, tables, key_ranges())
def test_partition_key_of_another_table_is_rejected(table: TableName, other: TableName, key_range: KeyRange) -> None:
    if table != other:
        with pytest.raises(PartitionKeyError, match="is not a partition key of"):
            parse_partition_key(partition_key(other, key_range), table)


# Texts that are almost partition keys, which hypothesis rarely generates from an alphabet.
_ALMOST_KEYS = st.from_regex(
    re.compile(
        r"public:passage::(min|max|[biutxdsnfTX][A-Za-z0-9_:-]{0,40})::(min|max|[biutxdsnfTX][A-Za-z0-9_:-]{0,40})"
    ),
    fullmatch=True,
)


@given(st.text(max_size=60) | _ALMOST_KEYS)
@example("public:passage::nsNaN::nsNaN")
@example("public:passage::nsNaN::n1")
@example("public:passage::nNaN::max")
@example("public:passage::n1E-2B999999::max")
@example("public:passage::fnan::fnan")
@example("public:passage::finf::max")
@example("public:passage::i" + "9" * 5000 + "::max")
@example("public:passage::u00000000-0000-0000-0000-000000000001::max")
@example("public:passage::xAB::max")
@example("public:passage::t-FF::max")
@example("public:passage::i01::max")
@example("public:passage::i1::u1")
@example("public:passage::i1::i1:i2")
@example("public:passage::i5::i3")
@example("public:passage::i5::i5")
@example("public:passage::max::min")
@example("public:passage::min::max\n")
def test_any_text_is_rejected_or_is_the_only_partition_key_of_its_range(text: str) -> None:
    try:
        key_range = parse_partition_key(text, TABLE)
    except PartitionKeyError:
        return
    assert partition_key(TABLE, key_range) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "min::max",
        "public:passage::min",
        "public:passage::i5::i3",
        "public:passage::i5::i5",
        "public:passage::i5::u6",
    ],
)
def test_error_names_the_text_and_the_remedy(text: str) -> None:
    with pytest.raises(PartitionKeyError) as caught:
        parse_partition_key(text, TABLE)
    assert repr(text) in str(caught.value)
    assert "of public.passage. Run the column's `sync_partitions` job, which removes it." in str(caught.value)


@pytest.mark.parametrize("value", ["\u4e2d\u6587" * 80, b"\x00\xff" * 240, "\udc80" * 150], ids=repr)
def test_long_values_are_written_in_base64(value: KeyValue) -> None:
    key_range = KeyRange((value, 1), (value, 2))
    text = partition_key(TABLE, key_range)
    assert MAX_READABLE_LENGTH < len(text) <= MAX_KEY_LENGTH or len(text) <= MAX_READABLE_LENGTH
    assert ALPHABET.fullmatch(text)
    assert parse_partition_key(text, TABLE) == key_range


def test_key_of_the_readable_length_keeps_its_form() -> None:
    frame = len("public:passage::t::max")
    longest = partition_key(TABLE, KeyRange(("a" * (MAX_READABLE_LENGTH - frame),)))
    assert len(longest) == MAX_READABLE_LENGTH
    assert longest.startswith("public:passage::taaa")
    assert parse_partition_key(longest, TABLE).lower == ("a" * (MAX_READABLE_LENGTH - frame),)


@pytest.mark.parametrize("text", ["public:passage::TYQ::max", "public:passage::XYQ::max", "public:passage::T%::max"])
def test_short_form_of_a_short_key_is_rejected(text: str) -> None:
    with pytest.raises(PartitionKeyError):
        parse_partition_key(text, TABLE)


def test_partition_key_is_readable() -> None:
    assert partition_key(TABLE, KeyRange(None, (UUID(int=1 << 126),))) == "public:passage::min::u4"
    assert partition_key(TABLE, KeyRange(("eu", 10), ("eu", 20))) == "public:passage::teu:i10::teu:i20"


def test_value_of_an_unsupported_type_is_rejected() -> None:
    bound: Any = (timedelta(1),)
    with pytest.raises(PartitionKeyError, match="primary key of type timedelta cannot be split into ranges"):
        partition_key(TABLE, KeyRange(bound))


def test_value_that_is_too_long_is_rejected() -> None:
    with pytest.raises(PartitionKeyError, match="too long to be bounds"):
        partition_key(TABLE, KeyRange(("x" * 1_500,)))


@pytest.mark.parametrize(("lower", "upper"), [((), None), (None, ()), ((1,), (1, 2))])
def test_bounds_must_have_the_same_number_of_values(lower: Bound | None, upper: Bound | None) -> None:
    with pytest.raises(ValueError, match="same number of values"):
        KeyRange(lower, upper)


@given(st.integers(1, 4_096))
def test_uuid_bounds_divide_the_space_into_equal_parts_in_order(count: int) -> None:
    bounds = [int(UUID(str(value))) for (value,) in uuid_bounds(count)]
    parts = len(bounds) + 1
    assert count <= parts < 2 * count
    assert bounds == [(1 << 128) // parts * number for number in range(1, parts)]


@given(st.integers(1, 300), st.uuids())
def test_every_uuid_is_in_exactly_one_range(count: int, key: UUID) -> None:
    ranges = ranges_between(uuid_bounds(count))
    assert sum(_contains(key_range, key) for key_range in ranges) == 1


@given(st.lists(st.integers(), unique=True, max_size=50), st.integers())
def test_ranges_between_bounds_have_no_gap_and_no_overlap(numbers: list[int], key: int) -> None:
    ranges = ranges_between([(number,) for number in sorted(numbers)])
    assert len(ranges) == len(numbers) + 1
    assert sum(_contains(key_range, key) for key_range in ranges) == 1


@given(st.lists(values.map(lambda value: (value,)), unique_by=repr, min_size=1, max_size=20), st.randoms())
def test_shuffled_ranges_are_put_in_key_order(bounds: list[Bound], shuffler: random.Random) -> None:
    if len(set(bounds)) < len(bounds):
        return  # 0 == False == 0.0, but the bounds of one column have one type.
    ranges = ranges_between(bounds)
    shuffled = ranges.copy()
    shuffler.shuffle(shuffled)
    assert in_key_order(shuffled) == ranges


@given(st.integers(2, 12), st.data())
def test_ranges_with_a_gap_do_not_cover_the_key_space(count: int, data: st.DataObject) -> None:
    ranges = ranges_between([(number,) for number in range(count)])
    del ranges[data.draw(st.integers(0, count))]
    assert in_key_order(ranges) is None


def test_no_ranges_do_not_cover_the_key_space() -> None:
    assert in_key_order([]) is None


@given(st.integers(2, 12), st.integers(0, 12), st.integers(1, 13))
def test_manually_added_range_does_not_change_the_covering_ranges(count: int, low: int, width: int) -> None:
    ranges = ranges_between([(number,) for number in range(count)])
    foreign = KeyRange((low,) if low else None, (low + width,) if low + width <= count else None)
    if foreign not in ranges:
        assert in_key_order([*ranges, foreign]) == ranges


@given(st.integers(2, 12), st.integers(0, 11), st.randoms())
def test_parts_of_a_range_are_used_instead_of_it(count: int, split: int, shuffler: random.Random) -> None:
    bounds: list[Bound] = [(10 * number,) for number in range(count)]
    whole = ranges_between(bounds)
    split %= count
    finer = ranges_between([*bounds[: split + 1], (10 * split + 3,), (10 * split + 7,), *bounds[split + 1 :]])
    both = [*whole, *finer]
    shuffler.shuffle(both)
    assert in_key_order(both) == finer


@pytest.mark.parametrize("foreign", [[("c", "a")], [("a", "b"), ("b", "a")], [("b", "zz"), (None, "b")]], ids=str)
def test_ranges_that_lead_nowhere_are_ignored(foreign: list[tuple[str | None, str | None]]) -> None:
    ranges = ranges_between([("m",), ("q",)])
    others = [KeyRange((low,) if low else None, (high,) if high else None) for low, high in foreign]
    assert in_key_order([*others, *ranges]) == ranges


@given(st.integers(0, 10**9), st.integers(1, 10**6), st.integers(1, 4_096))
def test_ranges_have_the_target_size_unless_there_are_too_many(rows: int, target: int, max_ranges: int) -> None:
    count = range_count(rows, target, max_ranges)
    assert 1 <= count <= max_ranges
    assert count == max_ranges or count * target >= rows


def _contains(key_range: KeyRange, key: KeyValue) -> bool:
    low, high = key_range.lower, key_range.upper
    return (low is None or low <= (key,)) and (high is None or (key,) < high)
