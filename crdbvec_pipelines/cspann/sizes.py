"""The size of an index: the bytes of each kind of record, and of whole trees, as CockroachDB counts live bytes.

A record has a key, a value with a header, and 13 bytes of MVCC. The full vectors of the rows are not in the index.
"""

from dataclasses import dataclass

from crdbvec_pipelines.cspann.partition import ROOT
from crdbvec_pipelines.cspann.settings import IndexSettings, Metric, beam_width
from crdbvec_pipelines.cspann.tree import Tree

DIMENSIONS_PER_WORD = 64
"""The bits of a code are stored in words, so the dimension is padded to a multiple."""

USUAL_FILL = 0.67
"""The mean number of entries per partition, as a share of the maximum, in large trees."""

_LEVEL, _FAMILY, _CHECKSUM_AND_TAG, _MVCC = 1, 1, 5, 13
_ROOT_KEY, _PARTITION_KEY = 1, 9
# The number of one bits, the distance from the centroid, and the inverse product.
_CODE_HEADER = 12
_VECTOR_HEADER = 8
# Level, state, three partition keys, a timestamp, and the number of dimensions of the centroid.
_METADATA = 46


@dataclass(frozen=True)
class KeyBytes:
    """The bytes of the parts of a record's key that depend on the table.

    Attributes:
        index: The ids of the table and the index, 3 in most clusters.
        prefix: The prefix columns.
        primary_key: The columns of the primary key that are not prefix columns: 19 for a UUID.
    """

    index: int = 3
    prefix: float = 0
    primary_key: float = 19


@dataclass(frozen=True)
class RecordBytes:
    """The live bytes of one record of each kind.

    Attributes:
        leaf: A row in a leaf.
        inner: A child partition in a partition that is not the root.
        root_inner: A child partition in the root, with its full centroid.
        root_leaf: A row in a root that is itself the leaf, with its full vector.
        metadata: The metadata of a partition, with its centroid.
        root_metadata: The metadata of the root.
        leaf_tombstone: What a removed row leaves in a leaf, apart from its old version, until it is collected.
        row: The full vector of a row in the primary index.
    """

    leaf: float
    inner: float
    root_inner: float
    root_leaf: float
    metadata: float
    root_metadata: float
    leaf_tombstone: float
    row: float

    @classmethod
    def of(cls, metric: Metric, dim: int, keys: KeyBytes) -> "RecordBytes":
        """Return the sizes for a metric, a dimension, and the keys of a table."""
        start = keys.index + keys.prefix
        fixed = _LEVEL + _FAMILY + _CHECKSUM_AND_TAG + _MVCC
        words = -(-dim // DIMENSIONS_PER_WORD)
        code = _CODE_HEADER + 8 * words + (0 if metric == "l2" else 4)
        return cls(
            leaf=start + _PARTITION_KEY + keys.primary_key + fixed + code,
            inner=start + 2 * _PARTITION_KEY + fixed + code,
            root_inner=start + _ROOT_KEY + _PARTITION_KEY + fixed + _VECTOR_HEADER + 4 * dim,
            root_leaf=start + _ROOT_KEY + keys.primary_key + fixed + _VECTOR_HEADER + 4 * dim,
            metadata=start + _PARTITION_KEY + fixed + _METADATA + 4 * dim,
            root_metadata=start + _ROOT_KEY + fixed + _METADATA + 4 * dim,
            leaf_tombstone=start + _PARTITION_KEY + keys.primary_key + _LEVEL + _FAMILY + _MVCC,
            row=4 * dim + 4,
        )


@dataclass(frozen=True)
class TreeShape:
    """The numbers of records of a tree.

    Attributes:
        entries: The number of leaf entries.
        partitions: The number of live partitions of each level below the root, from the leaves up.
        dead: The number of partitions that were split or merged, whose metadata stays in the index.
        rewritten: The number of leaf entries that splits and merges have written again.
    """

    entries: float
    partitions: tuple[float, ...]
    dead: float
    rewritten: float

    @property
    def levels(self) -> int:
        """The number of levels, with that of the root."""
        return len(self.partitions) + 1

    @property
    def fill(self) -> float:
        """The mean number of entries per leaf."""
        return self.entries / self.partitions[0] if self.partitions else self.entries

    @property
    def records(self) -> float:
        """The number of live records, `live_count` of the server."""
        if not self.entries:
            return 0
        below = sum(self.partitions)
        return self.entries + 2 * below + self.dead + 1

    def live_bytes(self, sizes: RecordBytes) -> float:
        """Return the live bytes, per replica."""
        if not self.entries:
            return 0
        if not self.partitions:
            return self.entries * sizes.root_leaf + sizes.root_metadata
        below, at_top = sum(self.partitions), self.partitions[-1]
        return (
            self.entries * sizes.leaf
            + (below - at_top) * sizes.inner
            + at_top * sizes.root_inner
            + (below + self.dead) * sizes.metadata
            + sizes.root_metadata
        )

    def garbage_bytes(self, sizes: RecordBytes) -> float:
        """Return the bytes of old versions that an incremental build leaves until they are collected."""
        return self.rewritten * (sizes.leaf + sizes.leaf_tombstone)

    def search_bytes(self, sizes: RecordBytes, beam_size: int, full_vectors: float) -> float:
        """Return the bytes that a search reads.

        Args:
            sizes: The sizes of the records.
            beam_size: The search effort.
            full_vectors: The number of rows that it compares exactly.
        """
        rows = full_vectors * sizes.row
        if not self.partitions:
            return sizes.root_metadata + self.entries * sizes.root_leaf + rows
        total = sizes.root_metadata + self.partitions[-1] * sizes.root_inner + rows
        entries = (self.entries, *self.partitions)
        for level, count in enumerate(self.partitions, start=1):
            read = min(beam_width(beam_size, level), count)
            entry = sizes.leaf if level == 1 else sizes.inner
            total += read * (sizes.metadata + entries[level - 1] / count * entry)
        return total

    def partitions_read(self, beam_size: int) -> float:
        """Return the number of partitions that a search reads, on all levels."""
        widths = (min(beam_width(beam_size, level), count) for level, count in enumerate(self.partitions, start=1))
        return 1 + sum(widths)

    def leaf_entries(self, beam_size: int) -> float:
        """Return the number of leaf entries that a search compares."""
        return min(self.entries, beam_size * self.fill) if self.partitions else self.entries


def shape_of(tree: Tree) -> TreeShape:
    """Return the shape of a simulated tree."""
    levels = tuple(float(len(tree.on_level(level))) for level in range(1, tree.levels))
    entries = sum(map(len, tree.on_level(1))) if tree.levels > 1 else len(tree.partitions[ROOT])
    return TreeShape(entries, levels, tree.dead_partitions, tree.changes.rewritten)


def expected_shape(settings: IndexSettings, entries: float, fill: float = USUAL_FILL) -> TreeShape:
    """Return the shape of a tree of any size.

    Args:
        settings: The settings of the index.
        entries: The number of rows.
        fill: The mean number of entries per partition, as a share of the maximum.
    """
    largest = settings.max_partition_size
    if entries <= largest:
        return TreeShape(entries, (), 0, 0)
    mean = fill * largest
    levels = [max(2.0, entries / mean)]
    while levels[-1] > largest:
        levels.append(max(2.0, levels[-1] / mean))
    below = sum(levels)
    # A split of the root adds two partitions and leaves none dead; any other split adds one and leaves one dead.
    dead = max(0.0, below - 2 * len(levels))
    return TreeShape(entries, tuple(levels), dead, levels[0] * largest)


def encoded_bytes(value: object) -> int:
    """Return the bytes of a value in a key."""
    if value is None:
        return 1
    if isinstance(value, bool):
        return 1
    if isinstance(value, int):
        if -1 < value < 110:
            return 1
        return 1 + max(1, (abs(value).bit_length() + 7) // 8)
    if isinstance(value, (bytes, str)):
        return len(value.encode() if isinstance(value, str) else value) + 3
    # A UUID has 16 bytes; other types, such as times and numbers, have fewer.
    return 19 if type(value).__name__ == "UUID" else 9
