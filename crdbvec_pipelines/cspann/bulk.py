"""The construction of a tree from all its vectors at once, for samples that are too large for single inserts.

The rows are divided in two again and again until each group fits into a partition; then every row moves to the leaf
that an insert would choose. The tree has the shape of an incremental one to a few percent. Its recall differs by one or
two hundredths with partitions of 128 entries, and by up to five with smaller partitions and beams, because its
centroids are means of the final vectors and not of those at the time of a split.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from crdbvec_pipelines.cspann.fixups import Fixups
from crdbvec_pipelines.cspann.kmeans import assign, divide
from crdbvec_pipelines.cspann.metrics import Numbers, Vectors
from crdbvec_pipelines.cspann.partition import ROOT
from crdbvec_pipelines.cspann.quantizer import Quantizer
from crdbvec_pipelines.cspann.settings import IndexSettings, Metric
from crdbvec_pipelines.cspann.tree import Tree

# The centroids of a large group are computed from a sample of this many rows, and its rows are read in such blocks.
_SAMPLE_ROWS = 8_192


def bulk_tree(
    settings: IndexSettings, vectors: Vectors, on_progress: Callable[[int], None] = lambda count: None
) -> Tree:
    """Return the tree of all rows.

    Only row numbers, centroids and one block of vectors are in memory, so that the vectors may be in a file.

    Args:
        settings: The settings of the index.
        vectors: The prepared vectors.
        on_progress: Receives how many rows have been placed since the last call.
    """
    tree = Tree(settings, vectors, Quantizer(settings.metric, vectors.shape[1], settings.seed), keeps_codes=False)
    rows = np.arange(len(vectors))
    if len(rows) <= settings.max_partition_size:
        tree.place(tree.root, rows)
        on_progress(len(rows))
        return tree
    random = np.random.default_rng([settings.seed, 3])
    groups = _groups(settings, rows, vectors, random)
    _add_levels(tree, groups, random)
    targets = _reassigned(tree, on_progress)
    _place_rows(tree, targets)
    fixups = Fixups(tree)
    for partition in list(tree.partitions.values()):
        fixups.notice(partition)
    fixups.run()
    _estimate_changes(tree)
    return tree


def _groups(
    settings: IndexSettings, members: Numbers, vectors: Vectors, random: np.random.Generator
) -> list[tuple[Vectors, Numbers]]:
    """Return groups of at most the maximum number of members, each with its centroid."""
    done: list[tuple[Vectors, Numbers]] = []
    waiting = [(np.zeros(vectors.shape[1], np.float32), members)]
    while waiting:
        centroid, group = waiting.pop()
        if len(group) <= settings.max_partition_size:
            done.append((centroid, group))
            continue
        sample = group if len(group) <= _SAMPLE_ROWS else np.sort(random.choice(group, _SAMPLE_ROWS, replace=False))
        division = divide(settings.metric, vectors[sample], random)
        is_left = _assign(settings.metric, vectors, group, division.left, division.right)
        waiting += [(division.left, group[is_left]), (division.right, group[~is_left])]
    return done


def _assign(metric: Metric, vectors: Vectors, group: Numbers, left: Vectors, right: Vectors) -> NDArray[np.bool_]:
    """Return for each member whether it belongs to the left half; a block of vectors is read at a time."""
    blocks = [
        assign(metric, vectors[group[start : start + _SAMPLE_ROWS]], left, right)
        for start in range(0, len(group), _SAMPLE_ROWS)
    ]
    return np.concatenate(blocks)


def _add_levels(tree: Tree, groups: list[tuple[Vectors, Numbers]], random: np.random.Generator) -> None:
    """Create the leaves, and partitions above them until all fit into the root."""
    level = 1
    while True:
        created = []
        for centroid, members in groups:
            partition = tree.new_partition(level, centroid, ROOT)
            if level > 1:
                tree.place(partition, members)
            created.append(partition.key)
        keys = np.array(created)
        level += 1
        if len(keys) <= tree.settings.max_partition_size:
            tree.root.level = level
            tree.place(tree.root, keys)
            return
        vectors = tree.read(level, keys)
        groups = [
            (centroid, keys[of]) for centroid, of in _groups(tree.settings, np.arange(len(keys)), vectors, random)
        ]


def _reassigned(tree: Tree, on_progress: Callable[[int], None]) -> Numbers:
    """Return the leaf that an insert of each row would choose."""
    found = []
    for start in range(0, len(tree.vectors), _SAMPLE_ROWS // 8):
        block = np.asarray(tree.vectors[start : start + _SAMPLE_ROWS // 8])
        found.append(tree.descend(block, 2, tree.settings.build_beam_size).nearest(1)[:, 0])
        on_progress(len(block))
    return np.concatenate(found)


def _place_rows(tree: Tree, targets: Numbers) -> None:
    order = np.argsort(targets, kind="stable")
    boundaries = np.flatnonzero(np.diff(targets[order])) + 1
    for rows in np.split(order, boundaries):
        tree.place(tree.partitions[int(targets[rows[0]])], rows)


def _estimate_changes(tree: Tree) -> None:
    """Set the numbers of splits and rewritten entries to those of an incremental build of the same tree."""
    root_splits = tree.levels - 1
    tree.changes.root_splits = root_splits
    tree.changes.splits = max(0, len(tree.partitions) - 1 - 2 * root_splits + tree.changes.merges)
    tree.changes.rewritten = len(tree.on_level(1)) * tree.settings.max_partition_size
