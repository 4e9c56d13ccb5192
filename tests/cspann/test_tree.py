"""Trees: their invariants, the same result in blocks and one by one, splits, merges, deletes and updates."""

import numpy as np
import pytest

from crdbvec_pipelines.cspann.accuracy import measure, true_neighbors
from crdbvec_pipelines.cspann.build import IncrementalBuild
from crdbvec_pipelines.cspann.kmeans import assign, divide
from crdbvec_pipelines.cspann.partition import ROOT
from crdbvec_pipelines.cspann.search import SearchOptions
from crdbvec_pipelines.cspann.settings import IndexSettings, Metric
from crdbvec_pipelines.cspann.space import Space
from crdbvec_pipelines.cspann.tree import Tree
from tests.cspann.simulated import simulate
from tests.support.embeddings import Vectors, mixture
from tests.support.vectors import METRICS

SMALL = IndexSettings("cosine", 4, 16, 4)


def check(tree: Tree, rows: set[int]) -> None:
    """Check that each row is in one leaf, and each partition in its parent, one level above."""
    found = [row for leaf in tree.on_level(1) for row in leaf.members.tolist()]
    assert sorted(found) == sorted(rows)
    for partition in tree.partitions.values():
        if partition.level == 1:
            assert (tree.leaves[partition.members] == partition.key).all()
        for child in partition.members.tolist() if partition.level > 1 else []:
            assert tree.partitions[child].parent == partition.key
            assert tree.partitions[child].level == partition.level - 1
        if partition.key != ROOT:
            assert partition.key in tree.partitions[partition.parent].members
        assert len(partition) <= tree.settings.max_partition_size
    below = len(tree.partitions) - 1
    # Each split of the root adds two partitions, any other one adds one and leaves one dead, and a merge removes one.
    assert tree.dead_partitions == below - 2 * tree.changes.root_splits + 2 * tree.changes.merges


@pytest.mark.parametrize("metric", METRICS)
def test_every_row_is_in_one_leaf_and_no_partition_is_too_large(metric: Metric, topics: Vectors) -> None:
    simulated = simulate(topics[:1_300], IndexSettings(metric, 4, 16, 4), 1_200)
    check(simulated.tree, set(range(1_200)))
    assert simulated.tree.levels == 3
    assert simulated.tree.changes.moved_in > 0


@pytest.mark.parametrize(("rows", "leaves"), [(1, 1), (100, 1), (128, 1), (129, 2)])
def test_tree_of_at_most_the_maximum_is_one_partition(rows: int, leaves: int, topics: Vectors) -> None:
    tree = simulate(topics[: rows + 1], IndexSettings(), rows).tree
    assert len(tree.on_level(1)) == leaves
    assert tree.levels == (1 if leaves == 1 else 2)


def test_same_seed_gives_the_same_tree_and_another_one_does_not(topics: Vectors) -> None:
    def leaves(seed: int) -> list[int]:
        settings = IndexSettings("cosine", 4, 16, 4, seed)
        return list(simulate(topics[:500], settings, 490).tree.leaves)

    assert leaves(1) == leaves(1)
    assert leaves(1) != leaves(2)


def test_rows_in_blocks_give_the_tree_of_single_inserts(topics: Vectors) -> None:
    vectors = Space(SMALL, topics.shape[1]).prepare(topics[:700])
    whole, single = IncrementalBuild(SMALL, vectors), IncrementalBuild(SMALL, vectors)
    whole.insert(np.arange(700))
    for row in range(700):
        single.insert(np.array([row]))
    # The products of a block and of a single vector differ in their last digit, which rarely decides a comparison.
    assert abs(len(whole.tree.partitions) - len(single.tree.partitions)) <= 2
    assert (whole.tree.leaves == single.tree.leaves).mean() > 0.95


def test_division_is_balanced_and_separates_clusters() -> None:
    random = np.random.default_rng(0)
    clusters = np.concatenate([random.normal(5, 1, (40, 8)), random.normal(-5, 1, (60, 8))]).astype(np.float32)
    for metric in METRICS:
        division = divide(metric, clusters, random)
        is_left = assign(metric, clusters, division.left, division.right)
        assert is_left[:40].all() != is_left[40:].all()
        assert len({*is_left[:40].tolist()}) == len({*is_left[40:].tolist()}) == 1
    one_outlier = np.concatenate([np.ones((99, 8)), np.full((1, 8), 50)]).astype(np.float32)
    division = divide("l2", one_outlier, random)
    assert 33 <= assign("l2", one_outlier, division.left, division.right).sum() <= 67


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_division_of_few_or_equal_vectors(count: int) -> None:
    division = divide("l2", np.ones((count, 4), np.float32), np.random.default_rng(0))
    np.testing.assert_allclose(division.left, np.full(4, bool(count)))
    np.testing.assert_allclose(division.right, np.full(4, bool(count)))


def test_equal_vectors_are_split_too() -> None:
    vectors = np.tile(mixture(1, 32), (100, 1))
    check(simulate(np.concatenate([vectors, vectors[:1]]), SMALL, 100).tree, set(range(100)))


def test_deletes_empty_and_merge_partitions(topics: Vectors) -> None:
    vectors = Space(SMALL, topics.shape[1]).prepare(topics[:1_000])
    build = IncrementalBuild(SMALL, vectors)
    build.insert(np.arange(1_000))
    before = len(build.tree.partitions)
    deleted = np.random.default_rng(0).permutation(1_000)[:800]
    build.delete(deleted)
    tree = build.tree
    assert tree.changes.merges > 20
    assert len(tree.partitions) < 0.6 * before
    assert tree.changes.dangling < 0.1 * len(deleted)
    dangling = {row for row in deleted.tolist() if tree.leaves[row]}
    assert len(dangling) == tree.changes.dangling
    check(tree, set(range(1_000)) - set(deleted.tolist()) | dangling)


def test_all_rows_can_be_deleted(topics: Vectors) -> None:
    vectors = Space(SMALL, topics.shape[1]).prepare(topics[:200])
    build = IncrementalBuild(SMALL, vectors)
    build.insert(np.arange(200))
    build.delete(np.arange(200))
    assert sum(map(len, build.tree.on_level(1))) == build.tree.changes.dangling


def test_updated_rows_are_found_with_their_new_vector(topics: Vectors) -> None:
    vectors = Space(SMALL, topics.shape[1]).prepare(topics[:1_300])
    build = IncrementalBuild(SMALL, vectors[:1_200])
    build.insert(np.arange(900))
    build.update(np.arange(300), np.arange(900, 1_200))
    is_alive = np.arange(1_200) >= 300
    queries = vectors[1_200:]
    truth = true_neighbors("cosine", queries, vectors[:1_200], 10, is_alive)
    assert truth.min() >= 300
    accuracy = measure(build.tree, queries, truth, SearchOptions(10, 64), is_alive)
    assert accuracy.recall > 0.93


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"min_partition_size": 16, "max_partition_size": 63}, "at least 4 times min_partition_size"),
        ({"build_beam_size": 0}, "must be 1 or more"),
    ],
)
def test_invalid_settings_are_rejected(values: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        IndexSettings(**values)  # type: ignore[arg-type]
