"""Claims of Cockroach Labs' article on the index, each with the number that the simulator has for it.

docs/cspann.md lists them. Where the product differs from the article, the test states what holds for the product.
"""

import numpy as np
import pytest

from crdbvec_pipelines.cspann.accuracy import measure, true_neighbors
from crdbvec_pipelines.cspann.build import IncrementalBuild
from crdbvec_pipelines.cspann.forest import Forest
from crdbvec_pipelines.cspann.search import SearchOptions
from crdbvec_pipelines.cspann.settings import IndexSettings
from crdbvec_pipelines.cspann.sizes import KeyBytes, RecordBytes, expected_shape
from crdbvec_pipelines.cspann.space import Space
from tests.cspann.simulated import midpoints
from tests.support.embeddings import Glosses, Vectors, mixture

SETTINGS = IndexSettings("cosine", 8, 32, 8)
BEAM_SIZE = 16


def recall(build: IncrementalBuild, queries: Vectors, alive: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> float:
    truth = true_neighbors("cosine", queries, build.tree.vectors, 10, alive)
    return measure(build.tree, queries, truth, SearchOptions(10, BEAM_SIZE), alive).recall


def fresh(vectors: Vectors, rows: np.ndarray[tuple[int], np.dtype[np.int64]]) -> IncrementalBuild:
    """Return an index over some rows that is built at once in random order."""
    build = IncrementalBuild(SETTINGS, vectors)
    build.insert(np.random.default_rng(1).permutation(rows))
    return build


@pytest.fixture(scope="module")
def prepared(glosses: Glosses) -> tuple[Vectors, Vectors]:
    space = Space(SETTINGS, glosses.glosses.shape[1])
    return space.prepare(glosses.glosses), space.prepare(midpoints(glosses.glosses, 300, seed=5))


def test_index_of_1536_dimensions_is_94_percent_smaller() -> None:
    """The article compares 200 bytes with 3 kB of two-byte numbers; the product stores four-byte numbers."""
    sizes = RecordBytes.of("cosine", 1_536, KeyBytes())
    assert sizes.leaf == 259
    per_vector = expected_shape(IndexSettings(), 1e6).live_bytes(sizes) / 1e6
    assert 1 - per_vector / sizes.row == pytest.approx(0.934, abs=0.003)
    assert 1 - sizes.leaf / sizes.row > 0.94


def test_quantization_saves_nothing_in_a_tree_of_one_partition() -> None:
    sizes = RecordBytes.of("cosine", 1_536, KeyBytes())
    assert expected_shape(IndexSettings(), 100).live_bytes(sizes) / 100 > sizes.row


def test_fanout_is_around_100_and_trees_are_shallow() -> None:
    """The article: 3 levels for a million, 5 for ten billion. By the product's defaults: 3 to 0.95 million, then 4."""
    assert expected_shape(IndexSettings(), 1e6).fill == pytest.approx(86, abs=1)
    levels = {rows: expected_shape(IndexSettings(), rows).levels for rows in (9.4e5, 1e6, 6e9, 1e10)}
    assert levels == {9.4e5: 3, 1e6: 4, 6e9: 5, 1e10: 6}


def test_accuracy_after_doubling_is_that_of_a_new_index(prepared: tuple[Vectors, Vectors]) -> None:
    vectors, queries = prepared
    everything = np.ones(len(vectors), bool)
    build = IncrementalBuild(SETTINGS, vectors)
    build.insert(np.arange(len(vectors) // 2))
    build.insert(np.arange(len(vectors) // 2, len(vectors)))
    rebuilt = fresh(vectors, np.arange(len(vectors)))
    assert recall(build, queries, everything) == pytest.approx(recall(rebuilt, queries, everything), abs=0.03)


def test_accuracy_after_deleting_half_is_that_of_a_new_index(prepared: tuple[Vectors, Vectors]) -> None:
    vectors, queries = prepared
    build = fresh(vectors, np.arange(len(vectors)))
    deleted = np.random.default_rng(2).permutation(len(vectors))[: len(vectors) // 2]
    build.delete(deleted)
    alive = ~np.isin(np.arange(len(vectors)), deleted)
    rebuilt = fresh(vectors, np.flatnonzero(alive))
    # Partitions hold fewer rows after the deletes, so a search of the same beam compares fewer.
    assert recall(build, queries, alive) >= recall(rebuilt, queries, alive) - 0.08
    assert build.tree.changes.dangling < 0.02 * len(deleted)


def test_accuracy_after_many_updates_is_that_of_a_new_index(prepared: tuple[Vectors, Vectors]) -> None:
    """Half of the rows get the vector of another text, one after another."""
    vectors, queries = prepared
    half = len(vectors) // 2
    build = fresh(vectors, np.arange(half))
    old = np.random.default_rng(3).permutation(half)[: half // 2]
    new = np.arange(half, half + len(old))
    build.update(old, new)
    alive = np.zeros(len(vectors), bool)
    alive[: half + len(old)] = True
    alive[old] = False
    rebuilt = fresh(vectors, np.flatnonzero(alive))
    assert recall(build, queries, alive) >= recall(rebuilt, queries, alive) - 0.04


def test_work_is_proportional_to_the_vectors_of_one_owner() -> None:
    """Up to a beam of full partitions; beyond that, a search reads no more."""
    vectors = Space(IndexSettings(), 64).prepare(mixture(8_000, 64))
    owners = np.repeat([0, 1, 2, 3], [300, 1_200, 2_400, 4_100])
    forest = Forest(IndexSettings(), vectors, owners)
    work = [
        forest.measure(vectors[owners == owner][:20], np.full(20, owner), SearchOptions(10, 16)).leaf_entries
        for owner in range(4)
    ]
    assert work[:2] == [300, 1_200]
    assert work[2] == pytest.approx(work[3], rel=0.25)
    assert work[3] < 2_100


def test_larger_tables_of_other_owners_do_not_change_the_work_of_one() -> None:
    vectors = Space(IndexSettings(), 64).prepare(mixture(3_000, 64))
    few, many = np.repeat([0, 1], [500, 100]), np.repeat([0, 1], [500, 2_500])
    queries, of = vectors[:20], np.zeros(20, np.int64)
    one = Forest(IndexSettings(), vectors[:600], few).measure(queries, of, SearchOptions())
    other = Forest(IndexSettings(), vectors, many).measure(queries, of, SearchOptions())
    assert one == other
