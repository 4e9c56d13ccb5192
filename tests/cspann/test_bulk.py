"""The bulk construction: its invariants, and how far it is from an incremental build."""

import numpy as np
import pytest

from crdbvec_pipelines.cspann.bulk import bulk_tree
from crdbvec_pipelines.cspann.settings import IndexSettings, Metric
from crdbvec_pipelines.cspann.sizes import shape_of
from crdbvec_pipelines.cspann.space import Space
from tests.cspann.simulated import Simulated, midpoints, simulate
from tests.cspann.test_tree import check
from tests.support.embeddings import Glosses, Vectors
from tests.support.vectors import METRICS


@pytest.mark.parametrize("metric", METRICS)
def test_every_row_is_in_one_leaf(metric: Metric, topics: Vectors) -> None:
    settings = IndexSettings(metric, 4, 16, 4)
    done: list[int] = []
    tree = bulk_tree(settings, Space(settings, topics.shape[1]).prepare(topics[:2_000]), done.append)
    check(tree, set(range(2_000)))
    assert tree.levels in (3, 4)
    assert sum(done) == 2_000


@pytest.mark.parametrize("rows", [1, 16, 17])
def test_few_rows(rows: int, topics: Vectors) -> None:
    tree = bulk_tree(IndexSettings("l2", 4, 16, 4), topics[:rows])
    assert tree.levels == (1 if rows <= 16 else 2)
    check(tree, set(range(rows)))


def test_recall_and_shape_are_those_of_an_incremental_build(glosses: Glosses) -> None:
    vectors = np.concatenate([glosses.glosses, midpoints(glosses.glosses, 300, seed=1)])
    settings = IndexSettings()
    incremental = simulate(vectors, settings, 2_000)
    prepared = Space(settings, vectors.shape[1]).prepare(vectors)
    bulk = Simulated(bulk_tree(settings, prepared[:2_000]), prepared[2_000:])
    for beam_size in (2, 4, 8):
        expected, found = incremental.accuracy(beam_size), bulk.accuracy(beam_size)
        assert found.recall == pytest.approx(expected.recall, abs=0.05)
        assert found.leaf_entries == pytest.approx(expected.leaf_entries, rel=0.2)
    assert shape_of(incremental.tree).levels == shape_of(bulk.tree).levels


def test_leaves_are_as_many_as_those_of_an_incremental_build(glosses: Glosses) -> None:
    vectors = glosses.glosses[:2_000]
    incremental = bulk = 0.0
    # A tree has some twenty leaves, which depends on when its last splits were; three trees have enough.
    for seed in range(3):
        settings = IndexSettings(seed=seed)
        prepared = Space(settings, vectors.shape[1]).prepare(vectors)
        incremental += shape_of(simulate(vectors, settings, len(vectors)).tree).partitions[0]
        bulk += shape_of(bulk_tree(settings, prepared)).partitions[0]
    assert bulk == pytest.approx(incremental, rel=0.2)


def test_vectors_may_be_in_a_file(tmp_path_factory: pytest.TempPathFactory, topics: Vectors) -> None:
    settings = IndexSettings("cosine", 4, 16, 4)
    prepared = Space(settings, topics.shape[1]).prepare(topics)
    file = np.memmap(tmp_path_factory.mktemp("bulk") / "vectors", np.float32, "w+", shape=prepared.shape)
    file[:] = prepared
    np.testing.assert_array_equal(bulk_tree(settings, file).leaves, bulk_tree(settings, prepared).leaves)
