"""Splits and merges of partitions, as CockroachDB's background workers execute them."""

from collections import deque

import numpy as np
from numpy.typing import NDArray

from crdbvec_pipelines.cspann.kmeans import assign, divide
from crdbvec_pipelines.cspann.metrics import Numbers, Vectors
from crdbvec_pipelines.cspann.partition import ROOT, Partition
from crdbvec_pipelines.cspann.tree import Tree, mask_of

_MERGE_CANDIDATES = 4
# A search for vectors to move reads twice as many partitions as an insert.
_REASSIGNMENT_BEAM_FACTOR = 2


class Fixups:
    """The queue of splits and merges of a tree.

    Args:
        tree: The tree.
    """

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._random = np.random.default_rng([tree.settings.seed, 2])
        self._queue: deque[int] = deque()

    def notice(self, partition: Partition) -> None:
        """Queue a partition that is too large or too small."""
        settings = self._tree.settings
        is_small = partition.key != ROOT and len(partition) < settings.min_partition_size
        if (len(partition) > settings.max_partition_size or is_small) and partition.key not in self._queue:
            self._queue.append(partition.key)

    def queue_split(self, partition: Partition) -> None:
        """Queue a partition that an insert has found full."""
        self._queue.append(partition.key)

    def run(self) -> None:
        """Execute the queued splits and merges, and those that they cause."""
        while self._queue:
            partition = self._tree.partitions.get(self._queue.popleft())
            if partition is None:
                continue
            if len(partition) > self._tree.settings.split_threshold:
                self._split(partition)
            elif partition.key != ROOT and len(partition) < self._tree.settings.merge_threshold:
                self._merge(partition)

    def _split(self, source: Partition) -> None:
        tree, metric = self._tree, self._tree.settings.metric
        vectors = tree.read(source.level, source.members)
        division = divide(metric, vectors, self._random)
        parent = None if source.key == ROOT else tree.partitions[source.parent]
        left = tree.new_partition(source.level, division.left, source.parent or ROOT)
        right = tree.new_partition(source.level, division.right, source.parent or ROOT)
        if source.level == 1:
            tree.changes.rewritten += len(source)
        if parent is None:
            self._split_root(source, left, right)
            return
        tree.place(parent, np.array([left.key, right.key]))
        # The parent has both targets and the source now, and searches of this split see its size.
        self.notice(parent)
        stays = self._move_out(source, parent, left, right)
        self._move_in(source, left, right)
        vectors, members = vectors[stays], source.members[stays]
        is_left = assign(metric, vectors, division.left, division.right)
        tree.place(left, members[is_left])
        tree.place(right, members[~is_left])
        parent.remove(source.key)
        del tree.partitions[source.key]
        tree.changes.splits += 1
        for partition in (left, right):
            self.notice(partition)

    def _split_root(self, root: Partition, left: Partition, right: Partition) -> None:
        """Move the entries of the root to two new partitions below it."""
        tree = self._tree
        members = root.members.copy()
        is_left = assign(tree.settings.metric, tree.read(root.level, members), left.centroid, right.centroid)
        tree.place(left, members[is_left])
        tree.place(right, members[~is_left])
        root.keep(np.zeros(len(root), bool))
        root.level += 1
        tree.place(root, np.array([left.key, right.key]))
        tree.changes.root_splits += 1
        for partition in (left, right):
            self.notice(partition)

    def _move_out(self, source: Partition, parent: Partition, left: Partition, right: Partition) -> NDArray[np.bool_]:
        """Move entries to a sibling that is nearer than both targets of the split; return which entries stay."""
        tree = self._tree
        distances, _ = tree.distances(tree.read(source.level, source.members), parent)
        keys = parent.members
        is_target = np.isin(keys, [left.key, right.key])
        is_sibling = ~is_target & (keys != source.key)
        stays = np.ones(len(source), bool)
        if not is_sibling.any():
            return stays
        to_sibling = np.where(is_sibling, distances, np.inf)
        stays[:] = to_sibling.min(axis=1) >= distances[:, is_target].min(axis=1)
        siblings = keys[to_sibling.argmin(axis=1)]
        for key in np.unique(siblings[~stays]).tolist():
            sibling = tree.partitions[key]
            tree.place(sibling, source.members[~stays & (siblings == key)])
            self.notice(sibling)
        tree.changes.moved_out += int((~stays).sum())
        return stays

    def _move_in(self, source: Partition, left: Partition, right: Partition) -> None:
        """Move entries of other partitions that are nearer to a target of the split than to their own centroid."""
        tree, settings = self._tree, self._tree.settings
        targets = (left, right)
        queries = np.stack([tree.routing_vector(target.key) for target in targets])
        scan = tree.descend(queries, source.level, _REASSIGNMENT_BEAM_FACTOR * settings.build_beam_size)
        capacity = scan.distances.shape[1] // scan.slots.shape[1]
        own = {
            key: self._own_distances(tree.partitions[key])
            for key in np.unique(scan.slots).tolist()
            if key >= 0 and key not in (source.key, left.key, right.key)
        }
        moved = np.empty(0, np.int64)
        for number, target in enumerate(targets):
            slots = scan.slots[number]
            is_usable = np.repeat(np.isin(slots, list(own)), capacity) & (scan.members[number] >= 0)
            distances = np.where(is_usable & mask_of(scan.members[number], moved), scan.distances[number], np.inf)
            limit = min(settings.max_partition_size // 2, len(distances))
            nearest = np.argpartition(distances, limit - 1)[:limit]
            nearest = nearest[np.isfinite(distances[nearest])]
            owners = slots[nearest // capacity]
            own_distances = np.array(
                [own[key][place] for key, place in zip(owners.tolist(), nearest % capacity, strict=True)], np.float32
            )
            is_nearer = distances[nearest] < own_distances
            members = scan.members[number][nearest]
            for key in np.unique(owners[is_nearer]).tolist():
                self._move(members[is_nearer & (owners == key)], tree.partitions[key], target)
            moved = members[is_nearer]

    def _own_distances(self, owner: Partition) -> Vectors:
        """Return the exact distances of entries from the centroid of their own partition, which the index stores."""
        tree, metric = self._tree, self._tree.settings.metric
        codes = owner.codes(tree.quantizer, lambda members: tree.read(owner.level, members))
        if metric == "l2":
            return codes.radii**2
        length = float(np.linalg.norm(owner.centroid)) or 1.0
        products = codes.centroid_products / np.float32(length)
        return 1 - products if metric == "cosine" else -products

    def _move(self, members: Numbers, owner: Partition, target: Partition) -> None:
        owner.keep(mask_of(owner.members, members))
        self._tree.place(target, members)
        self._tree.changes.moved_in += len(members)
        self._tree.changes.rewritten += len(members) if owner.level == 1 else 0
        self.notice(owner)

    def _merge(self, source: Partition) -> None:
        """Move the entries of a small partition to others of its level, if there are any near it."""
        tree = self._tree
        query = tree.routing_vector(source.key)[None]
        scan = tree.descend(query, source.level + 1, tree.settings.build_beam_size)
        near = scan.nearest(_MERGE_CANDIDATES)[0]
        if not set(near[near >= 0].tolist()) - {source.key}:
            return
        parent = tree.partitions[source.parent]
        parent.remove(source.key)
        del tree.partitions[source.key]
        tree.changes.merges += 1
        if len(source):
            vectors = tree.read(source.level, source.members)
            scan = tree.descend(vectors, source.level + 1, tree.settings.build_beam_size)
            targets = scan.nearest(1)[:, 0]
            for key in np.unique(targets).tolist():
                target = tree.partitions[key]
                tree.place(target, source.members[targets == key])
                self.notice(target)
            tree.changes.rewritten += len(source) if source.level == 1 else 0
        self.notice(parent)
