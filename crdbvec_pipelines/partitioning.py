"""Cuts a real table into key ranges, and keeps an earlier cut when the table grows.

The arithmetic of key ranges is in `keyspace`; here it meets the table's rows. A plan that covers the table stays for
ever, but for its open tail, which is cut further as the table grows.
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from uuid import UUID

from crdbvec_pipelines.config import PartitionsSpec
from crdbvec_pipelines.database.introspect import Table
from crdbvec_pipelines.database.keys import TableKeys
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

# UUIDs that span less of the UUID space than this are time-ordered; a split by prefix would put all of them into
# one range. Ten random UUIDs span less with a probability of 1 in 93 (n r^(n-1) - (n-1) r^n), a
# hundred practically never.
_RANDOM_SPAN = 0.5


@dataclass(frozen=True)
class PartitionPlan:
    """The partition keys a table should have, in key order, and how they differ from those it has."""

    keys: tuple[str, ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]


def plan_partitions(keys: TableKeys, spec: PartitionsSpec, existing: Iterable[str] = ()) -> PartitionPlan:
    """Plans a table's partitions.

    Args:
        keys: the table's keys on an open database.
        spec: how large partitions should be, and how many at most.
        existing: the partition keys there are; those that cover the table are kept.
    """
    present = list(existing)
    kept = in_key_order(_readable(present, keys.table))
    # A table in one range is all open tail: it may be cut in any way.
    ranges = _with_split_tail(kept, keys, spec) if kept and len(kept) > 1 else _first_cut(keys, spec)
    planned = [partition_key(keys.table.name, key_range) for key_range in ranges]
    return PartitionPlan(
        tuple(planned),
        tuple(key for key in planned if key not in set(present)),
        tuple(key for key in present if key not in set(planned)),
    )


def tail_has_outgrown(keys: TableKeys, spec: PartitionsSpec, existing: Iterable[str]) -> bool:
    """Whether planning anew would change anything. Looks for one more range only, so it costs little at any size."""
    present = list(existing)
    one_more = spec.model_copy(update={"max_partitions": min(spec.max_partitions, len(present) + 1)})
    plan = plan_partitions(keys, one_more, present)
    return bool(plan.added or plan.removed)


def _readable(present: Iterable[str], table: Table) -> Iterator[KeyRange]:
    for text in present:
        try:
            yield parse_partition_key(text, table.name)
        except PartitionKeyError as error:
            logger.warning("%s", error)


def _first_cut(keys: TableKeys, spec: PartitionsSpec) -> list[KeyRange]:
    rows = keys.estimate_rows()
    if _has_random_uuids(keys):
        return ranges_between(
            uuid_bounds(_power_of_two(range_count(rows, spec.target_rows, spec.max_partitions), spec))
        )
    return ranges_between(_stride_bounds(keys, None, spec, rows, spec.max_partitions))


def _power_of_two(count: int, spec: PartitionsSpec) -> int:
    """The next power of two, or the one before where that is more than allowed."""
    up = 1 << max(0, count - 1).bit_length()
    return up if up <= spec.max_partitions else up // 2


def _with_split_tail(ranges: list[KeyRange], keys: TableKeys, spec: PartitionsSpec) -> list[KeyRange]:
    tail = ranges[-1]
    room = spec.max_partitions - len(ranges) + 1
    if room < 2 or (tail.lower is not None and _is_uuid_prefix_cut(ranges) and _has_random_uuids(keys)):
        return ranges
    bounds = list(_stride_bounds(keys, tail.lower, spec, 0, room))
    if not bounds:
        return ranges
    cut = ranges_between(bounds)
    return [*ranges[:-1], KeyRange(tail.lower, cut[0].upper), *cut[1:]]


def _is_uuid_prefix_cut(ranges: list[KeyRange]) -> bool:
    bounds = [key_range.lower for key_range in ranges[1:] if key_range.lower is not None]
    return bounds == uuid_bounds(len(ranges))


def _has_random_uuids(keys: TableKeys) -> bool:
    if [column.type_name for column in keys.table.key] != ["uuid"]:
        return False
    ends = keys.first_and_last()
    if not ends:
        return True
    first, last = (int(UUID(str(value))) for value in ends)
    return (last - first) / (1 << 128) >= _RANDOM_SPAN


def _stride_bounds(
    keys: TableKeys, start: Bound | None, spec: PartitionsSpec, rows: int, max_ranges: int
) -> Iterator[Bound]:
    """Bounds every `target_rows` rows behind `start`, while at least that many rows follow the bound."""
    stride = max(spec.target_rows, -(-rows // max_ranges))
    bound = start
    for _ in range(max_ranges - 1):
        following = keys.at_stride(bound, stride)
        if following is None or keys.at_stride(following, stride - 1) is None:
            return
        yield following
        bound = following
