"""The partitions of one simulated index, and the scan of those that a beam search reaches."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from crdbvec_pipelines.cspann.metrics import Numbers, Vectors, exact_distances, routing_vectors
from crdbvec_pipelines.cspann.partition import ROOT, Partition
from crdbvec_pipelines.cspann.quantizer import Quantizer
from crdbvec_pipelines.cspann.settings import IndexSettings, beam_width


@dataclass
class Changes:
    """What inserts and deletes have caused.

    Attributes:
        splits: Splits of partitions other than the root.
        root_splits: Splits of the root, each of which adds a level.
        merges: Merges.
        moved_out: Entries that a split moved to a sibling.
        moved_in: Entries that a split moved from other partitions.
        rewritten: Entries of level 1 that splits and merges wrote again, each of which also leaves an old version.
        dangling: Deleted rows whose entry was not found, so that it stays in the index.
    """

    splits: int = 0
    root_splits: int = 0
    merges: int = 0
    moved_out: int = 0
    moved_in: int = 0
    rewritten: int = 0
    dangling: int = 0


@dataclass(frozen=True)
class Scan:
    """The entries of the partitions that a search read on one level, for several queries.

    Attributes:
        distances: The distance of each entry for each query, estimated or exact; infinite where there is no entry.
        bounds: The error bounds.
        members: The row number or child key of each entry; -1 where there is none.
        slots: The partitions that each query read, nearest first; -1 where there is none.
        partitions_read: The number of partitions that each query has read on this level and those above.
        entries_above: The number of entries that each query has scanned on the levels above.
    """

    distances: Vectors
    bounds: Vectors
    members: Numbers
    slots: Numbers
    partitions_read: Numbers
    entries_above: Numbers

    def nearest(self, count: int) -> Numbers:
        """Return the members of the nearest entries of each query, nearest first; -1 if there are fewer."""
        width = self.distances.shape[1]
        if count < width:
            chosen = np.argpartition(self.distances, count - 1, axis=1)[:, :count]
        else:
            chosen = np.broadcast_to(np.arange(width), self.distances.shape)
        distances = np.take_along_axis(self.distances, chosen, axis=1)
        order = np.take_along_axis(chosen, np.argsort(distances, axis=1, kind="stable"), axis=1)
        nearest: Numbers = np.take_along_axis(self.members, order, axis=1)
        return nearest

    @property
    def entries_read(self) -> Numbers:
        """The number of entries that each query has scanned on this level."""
        counts: Numbers = np.count_nonzero(self.members >= 0, axis=1)
        return counts


@dataclass
class Tree:
    """One tree of partitions over the rows of an array of prepared vectors.

    Attributes:
        settings: The settings of the index.
        vectors: The prepared vectors of all rows, also of those that are not in the tree.
        quantizer: The quantizer of the index.
        keeps_codes: Whether the codes of leaves stay in memory; otherwise they are computed for each scan.
        partitions: The live partitions by key.
        leaves: The key of the leaf of each row; 0 for a row that is not in the tree.
        changes: What inserts and deletes have caused.
    """

    settings: IndexSettings
    vectors: Vectors
    quantizer: Quantizer
    keeps_codes: bool = True
    partitions: dict[int, Partition] = field(default_factory=dict)
    leaves: Numbers = field(init=False)
    changes: Changes = field(default_factory=Changes)
    _routing: Vectors = field(init=False)
    _next_key: int = ROOT + 1

    def __post_init__(self) -> None:
        dim = self.vectors.shape[1]
        self.leaves = np.zeros(len(self.vectors), np.int64)
        self._routing = np.zeros((4, dim), np.float32)
        self.partitions[ROOT] = Partition(ROOT, 1, np.zeros(dim, np.float32), 0)

    @property
    def dim(self) -> int:
        """The dimension."""
        return int(self.vectors.shape[1])

    @property
    def root(self) -> Partition:
        """The root partition."""
        return self.partitions[ROOT]

    @property
    def levels(self) -> int:
        """The number of levels."""
        return self.root.level

    @property
    def dead_partitions(self) -> int:
        """The number of partitions that were split or merged, whose metadata records stay in the index."""
        return self.changes.splits + self.changes.merges

    def on_level(self, level: int) -> list[Partition]:
        """Return the partitions of a level."""
        return [each for each in self.partitions.values() if each.level == level]

    def new_partition(self, level: int, centroid: Vectors, parent: int) -> Partition:
        """Return a new partition without entries, which is not yet an entry of its parent."""
        key = self._next_key
        self._next_key += 1
        if key >= len(self._routing):
            self._routing = np.concatenate([self._routing, np.zeros_like(self._routing)])
        self._routing[key] = routing_vectors(self.settings.metric, centroid)
        created = Partition(key, level, centroid, parent)
        self.partitions[key] = created
        return created

    def read(self, level: int, members: Numbers) -> Vectors:
        """Return the full vectors of entries: rows on level 1, routing vectors of partitions on other levels."""
        found: Vectors = self.vectors[members] if level == 1 else self._routing[members]
        return found

    def routing_vector(self, key: int) -> Vectors:
        """Return the vector of a partition as an entry of its parent."""
        vector: Vectors = self._routing[key]
        return vector

    def place(self, partition: Partition, members: Numbers) -> None:
        """Add entries to a partition, and record where they are."""
        partition.add(members)
        if partition.level == 1:
            self.leaves[members] = partition.key
        else:
            for key in members.tolist():
                self.partitions[key].parent = partition.key

    def descend(self, queries: Vectors, level: int, beam_size: int) -> Scan:
        """Return the scan of the partitions of a level that a beam search from the root reaches.

        Args:
            queries: The prepared queries.
            level: The level, at most that of the root.
            beam_size: The number of partitions to read on level 1; each level above reads half as many.
        """
        slots = np.full((len(queries), 1), ROOT, np.int64)
        partitions_read = np.zeros(len(queries), np.int64)
        entries_above = np.zeros(len(queries), np.int64)
        current = self.levels
        while True:
            partitions_read = partitions_read + np.count_nonzero(slots >= 0, axis=1)
            scan = self._scan(queries, slots, partitions_read, entries_above)
            if current == level:
                return scan
            current -= 1
            entries_above = entries_above + scan.entries_read
            slots = scan.nearest(beam_width(beam_size, current))

    def _scan(self, queries: Vectors, slots: Numbers, partitions_read: Numbers, entries_above: Numbers) -> Scan:
        keys = np.unique(slots)
        found = [self.partitions[key] for key in keys.tolist() if key >= 0]
        capacity = max(1, max(map(len, found)))
        shape = (*slots.shape, capacity)
        distances = np.full(shape, np.inf, np.float32)
        bounds = np.zeros(shape, np.float32)
        members = np.full(shape, -1, np.int64)
        for partition, (rows, columns) in zip(found, self._readers(slots), strict=True):
            count = len(partition)
            if count:
                estimated = self.distances(queries[rows], partition)
                distances[rows, columns, :count], bounds[rows, columns, :count] = estimated
                members[rows, columns, :count] = partition.members
        flat = (len(queries), -1)
        return Scan(
            distances.reshape(flat), bounds.reshape(flat), members.reshape(flat), slots, partitions_read, entries_above
        )

    @staticmethod
    def _readers(slots: Numbers) -> Iterator[tuple[Numbers, Numbers]]:
        """Yield, for each partition in the order of the keys, the queries that read it and the position in each."""
        flat = slots.ravel()
        order = np.argsort(flat, kind="stable")
        order = order[np.searchsorted(flat, 0, sorter=order) :]
        boundaries = np.flatnonzero(np.diff(flat[order])) + 1
        for group in np.split(order, boundaries):
            rows, columns = np.divmod(group, slots.shape[1])
            yield rows, columns

    def distances(self, queries: Vectors, partition: Partition) -> tuple[Vectors, Vectors]:
        """Return the distances of queries from the entries of a partition as a scan sees them, and the error bounds."""
        if partition.key == ROOT:
            vectors = self.read(partition.level, partition.members)
            distances = exact_distances(self.settings.metric, queries, vectors)
            return distances, np.zeros_like(distances)
        codes = partition.codes(self.quantizer, lambda members: self.read(partition.level, members))
        estimated = self.quantizer.estimate(queries, codes, partition.centroid)
        if partition.level == 1 and not self.keeps_codes:
            partition.drop_codes()
        return estimated


def mask_of(members: Numbers, removed: Numbers) -> NDArray[np.bool_]:
    """Return which members are not among those removed."""
    return ~np.isin(members, removed)
