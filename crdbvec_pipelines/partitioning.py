"""The partition plan of a table: divide it into key ranges, and keep existing ranges as the table grows.

The arithmetic of key ranges is in `keyspace`; this module applies it to the rows of a table. Ranges that cover the
table are kept. Only the last one, whose upper end is open, is split as the table grows.
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from uuid import UUID

from crdbvec_pipelines.config import PartitionsSpec
from crdbvec_pipelines.database.rows.keys import TableKeys
from crdbvec_pipelines.database.table import Table
from crdbvec_pipelines.keyspace import (
    Bound,
    KeyRange,
    PartitionKeyError,
    in_key_order,
    parse_partition_key,
    partition_key,
    range_count,
    ranges_between,
    uuid_bounds,
)

logger = logging.getLogger(__name__)

# The share of the UUID space between the smallest and the largest UUID. UUIDs with a smaller share are taken to be
# time-ordered; a division by prefix would put all of them into one range. Ten random UUIDs have a smaller share with a
# probability of 1 in 93 (n r^(n-1) - (n-1) r^n), a hundred practically never.
_MIN_RANDOM_SPAN = 0.5


@dataclass(frozen=True)
class PartitionPlan:
    """The partition keys that a table should have, and how they differ from the existing ones.

    Attributes:
        keys: The partition keys, in key order.
        added: Those that do not exist yet.
        removed: The existing keys that are not among them.
    """

    keys: tuple[str, ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]


def plan_partitions(keys: TableKeys, spec: PartitionsSpec, existing: Iterable[str] = ()) -> PartitionPlan:
    """Return the partition plan of a table.

    Args:
        keys: The table's primary keys on an open database.
        spec: The target size and the maximum number of partitions.
        existing: The existing partition keys; those that cover the table are kept.

    Raises:
        PartitionKeyError: The primary key has values that cannot be written as partition keys.
    """
    present = list(existing)
    kept = in_key_order(_parse_keys(present, keys.table))
    # A single range has no bounds to keep, so the table is divided as if it had no partitions.
    ranges = _split_open_range(kept, keys, spec) if kept and len(kept) > 1 else _initial_ranges(keys, spec)
    planned = [partition_key(keys.table.name, key_range) for key_range in ranges]
    return PartitionPlan(
        keys=tuple(planned),
        added=tuple(key for key in planned if key not in set(present)),
        removed=tuple(key for key in present if key not in set(planned)),
    )


def open_range_needs_split(keys: TableKeys, spec: PartitionsSpec, existing: Iterable[str]) -> bool:
    """Return whether a new plan would differ. Searches for one more range only, so the cost is small at any size."""
    present = list(existing)
    one_more = spec.model_copy(update={"max_partitions": min(spec.max_partitions, len(present) + 1)})
    plan = plan_partitions(keys, one_more, present)
    return bool(plan.added or plan.removed)


def _parse_keys(keys: Iterable[str], table: Table) -> Iterator[KeyRange]:
    """Yield the key ranges of partition keys, and log those that are not keys of this table."""
    for text in keys:
        try:
            yield parse_partition_key(text, table.name)
        except PartitionKeyError as error:
            logger.warning("%s", error)


def _initial_ranges(keys: TableKeys, spec: PartitionsSpec) -> list[KeyRange]:
    """Return the ranges of a table without partitions: by prefix for random UUIDs, otherwise by row count."""
    rows = keys.estimate_rows()
    if _has_random_uuids(keys):
        return ranges_between(
            uuid_bounds(_power_of_two(range_count(rows, spec.target_rows, spec.max_partitions), spec))
        )
    return ranges_between(_stride_bounds(keys, None, spec, rows, spec.max_partitions))


def _power_of_two(count: int, spec: PartitionsSpec) -> int:
    """Return the next power of two, or the previous one if the next exceeds `max_partitions`."""
    rounded_up = 1 << max(0, count - 1).bit_length()
    return rounded_up if rounded_up <= spec.max_partitions else rounded_up // 2


def _split_open_range(ranges: list[KeyRange], keys: TableKeys, spec: PartitionsSpec) -> list[KeyRange]:
    """Return the ranges with the last one, whose upper end is open, split by row count if it is large enough."""
    open_range = ranges[-1]
    max_parts = spec.max_partitions - len(ranges) + 1
    if max_parts < 2 or (open_range.lower is not None and _are_uuid_prefixes(ranges) and _has_random_uuids(keys)):
        return ranges
    bounds = list(_stride_bounds(keys, open_range.lower, spec, 0, max_parts))
    if not bounds:
        return ranges
    parts = ranges_between(bounds)
    return [*ranges[:-1], KeyRange(open_range.lower, parts[0].upper), *parts[1:]]


def _are_uuid_prefixes(ranges: list[KeyRange]) -> bool:
    """Return whether the ranges divide the UUID space by prefix."""
    bounds = [key_range.lower for key_range in ranges[1:] if key_range.lower is not None]
    return bounds == uuid_bounds(len(ranges))


def _has_random_uuids(keys: TableKeys) -> bool:
    """Return whether the primary key is one UUID column with random rather than time-ordered values."""
    if [column.type_name for column in keys.table.key] != ["uuid"]:
        return False
    ends = keys.first_and_last()
    if not ends:
        return True
    first, last = (int(UUID(str(value))) for value in ends)
    return (last - first) / (1 << 128) >= _MIN_RANDOM_SPAN


def _stride_bounds(
    keys: TableKeys, start: Bound | None, spec: PartitionsSpec, rows: int, max_ranges: int
) -> Iterator[Bound]:
    """Yield a bound every `target_rows` rows after `start`, as long as at least that many rows follow it."""
    stride = max(spec.target_rows, -(-rows // max_ranges))
    bound = start
    for _ in range(max_ranges - 1):
        following = keys.at_stride(bound, stride)
        if following is None or keys.at_stride(following, stride - 1) is None:
            return
        yield following
        bound = following
