"""The incremental build: inserts, deletes and updates one after another, each followed by the splits it causes."""

from collections.abc import Callable

import numpy as np

from crdbvec_pipelines.cspann.fixups import Fixups
from crdbvec_pipelines.cspann.metrics import Numbers, Vectors
from crdbvec_pipelines.cspann.partition import ROOT
from crdbvec_pipelines.cspann.quantizer import Quantizer
from crdbvec_pipelines.cspann.settings import IndexSettings
from crdbvec_pipelines.cspann.tree import Tree

# A delete reads twice as many partitions as an insert.
_DELETE_BEAM_FACTOR = 2
_SMALLEST_BLOCK = 16
_DELETE_BLOCK = 64


class IncrementalBuild:
    """Changes of one tree in the order in which a single writer makes them.

    An insert that finds its partition full queues a split, which is executed before the entry is written. Rows are
    routed in blocks. A block ends before such an insert, and the rows after it are routed again, so the result is the
    one of single inserts.

    Attributes:
        tree: The tree.

    Args:
        settings: The settings of the index.
        vectors: The prepared vectors of all rows.
    """

    def __init__(self, settings: IndexSettings, vectors: Vectors) -> None:
        self.tree = Tree(settings, vectors, Quantizer(settings.metric, vectors.shape[1], settings.seed))
        self._fixups = Fixups(self.tree)

    def insert(self, rows: Numbers, on_progress: Callable[[int], None] = lambda count: None) -> None:
        """Insert rows.

        Args:
            rows: Their numbers.
            on_progress: Receives how many rows have been inserted since the last call.
        """
        # A split follows about this many inserts, so most rows of a block are routed once.
        block = max(_SMALLEST_BLOCK, self.tree.settings.max_partition_size // 2)
        start = 0
        while start < len(rows):
            inserted = self._insert_block(rows[start : start + block])
            start += inserted
            on_progress(inserted)

    def delete(self, rows: Numbers) -> None:
        """Delete rows. An entry that the search of a delete does not find stays in the index."""
        for start in range(0, len(rows), _DELETE_BLOCK):
            self._delete_block(rows[start : start + _DELETE_BLOCK])

    def update(self, rows: Numbers, replacements: Numbers) -> None:
        """Replace the vectors of rows, which is a delete and an insert.

        Args:
            rows: The numbers of the old vectors.
            replacements: The numbers of the new vectors.
        """
        for start in range(0, len(rows), _DELETE_BLOCK):
            self._delete_block(rows[start : start + _DELETE_BLOCK])
            self.insert(replacements[start : start + _DELETE_BLOCK])

    def _insert_block(self, rows: Numbers) -> int:
        """Insert rows up to the first one that finds its partition full, and return how many."""
        tree = self.tree
        targets = self._targets(tree.vectors[rows])
        keys, positions, counts = np.unique(targets, return_inverse=True, return_counts=True)
        room = np.array([tree.settings.max_partition_size - len(tree.partitions[key]) for key in keys.tolist()])
        accepted, full = len(rows), None
        for position in np.flatnonzero(counts > room).tolist():
            first = int(np.flatnonzero(positions == position)[max(0, int(room[position]))])
            if first < accepted:
                accepted, full = first, tree.partitions[int(keys[position])]
        order = np.argsort(positions[:accepted], kind="stable")
        boundaries = np.flatnonzero(np.diff(positions[:accepted][order])) + 1
        for group in np.split(order, boundaries) if accepted else ():
            tree.place(tree.partitions[int(targets[group[0]])], rows[group])
        if full is not None:
            self._fixups.queue_split(full)
            self._fixups.run()
        return accepted

    def _targets(self, vectors: Vectors) -> Numbers:
        """Return the leaf into which each vector is inserted."""
        if self.tree.levels == 1:
            return np.full(len(vectors), ROOT, np.int64)
        return self.tree.descend(vectors, 2, self.tree.settings.build_beam_size).nearest(1)[:, 0]

    def _delete_block(self, rows: Numbers) -> None:
        tree = self.tree
        beam_size = _DELETE_BEAM_FACTOR * tree.settings.build_beam_size
        if tree.levels == 1:
            read = np.full((len(rows), 1), ROOT, np.int64)
        else:
            read = tree.descend(tree.vectors[rows], 2, beam_size).nearest(beam_size)
        is_found = (read == tree.leaves[rows][:, None]).any(axis=1)
        tree.changes.dangling += int((~is_found).sum())
        found = rows[is_found]
        for key in np.unique(tree.leaves[found]).tolist():
            partition = tree.partitions[key]
            partition.keep(~np.isin(partition.members, found))
        tree.leaves[found] = 0
        for key in np.unique(read[read >= 0]).tolist():
            self._fixups.notice(tree.partitions[key])
        self._fixups.run()
