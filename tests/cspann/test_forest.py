"""An index with prefix columns: independent trees, and sizes by the histogram of their rows."""

import numpy as np
import pytest

from crdbvec_pipelines.cspann.forest import Forest, PrefixSizes
from crdbvec_pipelines.cspann.search import SearchOptions
from crdbvec_pipelines.cspann.settings import IndexSettings
from crdbvec_pipelines.cspann.sizes import KeyBytes, RecordBytes, expected_shape, shape_of
from crdbvec_pipelines.cspann.space import Space
from tests.support.embeddings import Vectors

SETTINGS = IndexSettings("cosine")
SIZES = RecordBytes.of("cosine", 384, KeyBytes(prefix=19))


def test_each_prefix_has_its_own_tree(topics: Vectors) -> None:
    vectors = Space(SETTINGS, topics.shape[1]).prepare(topics)
    prefixes = np.repeat([0, 1, 2], [2_000, 1_000, 300])
    done: list[int] = []
    forest = Forest(SETTINGS, vectors, prefixes, done.append)
    assert {prefix: len(tree.vectors) for prefix, tree in forest.trees.items()} == {0: 2_000, 1: 1_000, 2: 300}
    assert sum(done) == 3_300
    accuracy = forest.measure(vectors[::100], prefixes[::100], SearchOptions(10, 64))
    assert accuracy.recall > 0.97


def test_size_is_the_sum_over_the_histogram_not_that_of_the_mean() -> None:
    half_flat = PrefixSizes.of([(100, 50), (200, 50)])
    assert (half_flat.total_rows, half_flat.total_prefixes) == (15_000, 100)
    expected = 50 * (expected_shape(SETTINGS, 100).live_bytes(SIZES) + expected_shape(SETTINGS, 200).live_bytes(SIZES))
    assert half_flat.live_bytes(SETTINGS, SIZES) == pytest.approx(expected)
    mean = PrefixSizes.of([(150, 100)])
    assert half_flat.live_bytes(SETTINGS, SIZES) > 2 * mean.live_bytes(SETTINGS, SIZES)


def test_unquantized_trees_cost_many_times_as_much_per_vector() -> None:
    """384 dimensions with a UUID prefix: 100 vectors take 162 kB, 200 vectors 35 kB."""
    one, two = (expected_shape(SETTINGS, rows).live_bytes(SIZES) for rows in (100, 200))
    assert one == pytest.approx(162_000, rel=0.03)
    assert two == pytest.approx(35_000, rel=0.05)
    assert PrefixSizes.of([(100, 3), (128, 2), (129, 7)]).unquantized(SETTINGS).total_rows == 556
    assert PrefixSizes.of([(20, 3)]).unquantized(SETTINGS.with_max_partition_size(16)).total_prefixes == 0


def test_growth_adds_prefix_values_of_the_same_sizes() -> None:
    grown = PrefixSizes.of([(10, 6), (100, 2)]).scaled(2_600)
    assert (grown.total_rows, grown.total_prefixes) == (2_600, 80)


def test_sizes_of_simulated_trees_are_those_of_the_formula(topics: Vectors) -> None:
    settings = IndexSettings("cosine", 4, 16, 4)
    vectors = Space(settings, topics.shape[1]).prepare(topics)
    sizes = RecordBytes.of("cosine", topics.shape[1], KeyBytes(prefix=19))
    prefixes = np.repeat(np.arange(60), np.arange(60) + 1)
    forest = Forest(settings, vectors[: len(prefixes)], prefixes)
    simulated = sum(shape_of(tree).live_bytes(sizes) for tree in forest.trees.values())
    histogram = PrefixSizes.of([(rows, 1) for rows in range(1, 61)])
    assert histogram.live_bytes(settings, sizes) == pytest.approx(simulated, rel=0.1)
