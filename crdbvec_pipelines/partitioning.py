"""The partition plan of a table: divide it into key ranges, and keep existing ranges as the table grows.

The arithmetic of key ranges is in `keyspace`; this module applies it to the rows of a table. Existing ranges are kept,
and a gap between two of them becomes a range. Only the last one, whose upper end is open, is split as the table grows.
"""

import logging
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from crdbvec_pipelines.config import PartitionsSpec
from crdbvec_pipelines.database.errors import TableError
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
        in_use: Existing keys that should be split or removed, and that are kept until the work on them has ended.
    """

    keys: tuple[str, ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    in_use: tuple[str, ...] = ()

    def keeping(self, in_use: Container[str]) -> "PartitionPlan":
        """Return the plan without the removal of keys that are in use after all."""
        return replace(
            self,
            removed=tuple(key for key in self.removed if key not in in_use),
            in_use=(*self.in_use, *(key for key in self.removed if key in in_use)),
        )

    def __str__(self) -> str:
        text = f"{len(self.keys):,} partitions, {len(self.added):,} added, {len(self.removed):,} removed"
        if not self.in_use:
            return text
        return f"{text}; {', '.join(self.in_use)} will be split or removed when the work on it has ended"


def plan_partitions(
    keys: TableKeys, spec: PartitionsSpec, existing: Iterable[str] = (), in_use: Container[str] = ()
) -> PartitionPlan:
    """Return the partition plan of a table.

    Args:
        keys: The table's primary keys on an open database.
        spec: The target size and the maximum number of partitions.
        existing: The existing partition keys; those that cover the table are kept.
        in_use: The existing partition keys that runs or backfills target; they are neither split nor removed.

    Raises:
        PartitionKeyError: The primary key has values that cannot be written as partition keys.
    """
    present = list(dict.fromkeys(existing))
    parsed = list(_parse_keys(present, keys.table))
    kept = in_key_order(parsed) or _with_gaps_filled(parsed, keys)
    # A single range has no bounds to keep, so the table is divided as if it had no partitions.
    ranges = _split_open_range(kept, keys, spec) if len(kept) > 1 else _initial_ranges(keys, spec)
    waiting = []
    if kept and ranges != kept and (open_key := partition_key(keys.table.name, kept[-1])) in in_use:
        ranges, waiting = kept, [open_key]
    planned = dict.fromkeys(partition_key(keys.table.name, key_range) for key_range in ranges)
    obsolete = [key for key in present if key not in planned]
    return PartitionPlan(
        keys=tuple(planned),
        added=tuple(key for key in planned if key not in set(present)),
        removed=tuple(key for key in obsolete if key not in in_use),
        in_use=(*waiting, *(key for key in obsolete if key in in_use)),
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
            key_range = parse_partition_key(text, table.name)
            table.check_range(key_range)
        except (PartitionKeyError, TableError) as error:
            logger.warning("%s", error)
        else:
            yield key_range


def _with_gaps_filled(ranges: Sequence[KeyRange], keys: TableKeys) -> list[KeyRange]:
    """Return ranges that cover the key space: the given ones without overlaps, and one for each gap between them."""
    if not ranges:
        return []
    bounds = dict.fromkeys(bound for part in ranges for bound in (part.lower, part.upper) if bound is not None)
    ordered: list[Bound | None] = [*keys.in_order(list(bounds))]
    position = {bound: number for number, bound in enumerate(ordered, start=1)}
    end = len(position) + 1
    covered: list[KeyRange] = []
    reached, upper = 0, None
    for part in sorted(ranges, key=lambda part: (position.get(part.lower, 0), position.get(part.upper, end))):
        low, high = position.get(part.lower, 0), position.get(part.upper, end)
        if low < reached or high <= low:
            continue
        if low > reached:
            covered.append(KeyRange(upper, part.lower))
        covered.append(part)
        reached, upper = high, part.upper
    return covered if reached == end else [*covered, KeyRange(upper, None)]


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
        following = keys.bound_at_stride(bound, stride)
        if following is None or keys.at_stride(following, stride - 1) is None:
            return
        yield following
        bound = following
