"""Predictions: the grid, growth, prefix columns, and recommendations that hold on other queries."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from crdbvec_pipelines.cspann.accuracy import measure, true_neighbors
from crdbvec_pipelines.cspann.build import IncrementalBuild
from crdbvec_pipelines.cspann.bulk import bulk_tree
from crdbvec_pipelines.cspann.prediction import (
    Grid,
    IndexPrediction,
    Sample,
    SearchPrediction,
    SizePrediction,
    extrapolated_recall,
    predict,
    sizes_of,
)
from crdbvec_pipelines.cspann.recommendation import recommend
from crdbvec_pipelines.cspann.search import SearchOptions
from crdbvec_pipelines.cspann.settings import IndexSettings
from crdbvec_pipelines.cspann.sizes import KeyBytes
from crdbvec_pipelines.cspann.space import Space
from tests.cspann.simulated import midpoints
from tests.support.embeddings import Glosses, Vectors

KEYS = KeyBytes()
SETTINGS = IndexSettings("cosine")


def test_recommendation_holds_on_queries_it_has_not_seen(glosses: Glosses) -> None:
    grid = Grid((8, 16, 32, 64), (32,), rows=len(glosses.glosses))
    sample = Sample(glosses.glosses, midpoints(glosses.glosses, 300, seed=1))
    chosen = recommend(predict(sample, SETTINGS, grid, KEYS), SETTINGS, 0.95, glosses.glosses.shape[1])
    assert chosen.reaches_target
    assert chosen.recall >= 0.95
    settings = replace(SETTINGS.with_max_partition_size(chosen.max_partition_size), seed=7)
    space = Space(settings, glosses.glosses.shape[1])
    build = IncrementalBuild(settings, space.prepare(glosses.glosses))
    build.insert(np.random.default_rng(7).permutation(len(glosses.glosses)))
    unseen = space.prepare(midpoints(glosses.glosses, 500, seed=2))
    truth = true_neighbors("cosine", unseen, build.tree.vectors, 10)
    assert measure(build.tree, unseen, truth, SearchOptions(10, chosen.beam_size)).recall >= 0.94
    # Users search for words, which are farther from every row than points between rows are.
    words = space.prepare(glosses.words)
    truth = true_neighbors("cosine", words, build.tree.vectors, 10)
    assert measure(build.tree, words, truth, SearchOptions(10, chosen.beam_size)).recall >= 0.85


def test_prediction_counts_progress_and_is_deterministic(topics: Vectors) -> None:
    done: list[int] = []
    sample = Sample(topics[:1_000], topics[1_000:1_050])
    grid = Grid((4, 16), (16, 64))
    predicted = predict(sample, SETTINGS, grid, KEYS, done.append)
    assert sum(done) == 2_000
    assert predict(sample, SETTINGS, grid, KEYS) == predicted
    small, large = predicted
    assert (small.min_partition_size, large.min_partition_size) == (2, 8)
    for size in predicted:
        assert size.table == size.sample
        assert not size.table.is_extrapolated
        for each in size.table.searches:
            assert each.round_trips == size.table.levels + 1
            assert each.bytes_read > each.full_vectors * 4 * topics.shape[1]


def test_growth_keeps_the_fill_and_lowers_recall(topics: Vectors) -> None:
    grid = Grid((4, 16), (16,), rows=10_000, grown_rows=(10**6, 10**9))
    (size,) = predict(Sample(topics[:2_000], topics[2_000:2_100]), SETTINGS, grid, KEYS)
    indexes = (size.sample, size.table, *size.grown)
    assert [index.rows for index in indexes] == [2_000, 10_000, 10**6, 10**9]
    assert [index.is_extrapolated for index in indexes] == [False, True, True, True]
    assert [index.levels for index in indexes] == sorted(index.levels for index in indexes)
    for one, other in itertools.pairwise(indexes):
        assert other.fill == pytest.approx(one.fill)
        # Levels above the leaves add a little per vector.
        assert other.live_bytes / other.rows == pytest.approx(one.live_bytes / one.rows, rel=0.1)
        assert all(after.recall <= before.recall for before, after in zip(one.searches, other.searches, strict=True))


@pytest.mark.parametrize(
    ("measured", "rows", "expected"),
    [
        ([(100, 0.9)], 10**6, 0.9),
        ([(100, 0.95), (200, 0.9), (400, 0.8)], 400, 0.8),
        ([(100, 0.8), (200, 0.9)], 10**6, 0.9),
        ([(100, 1.0), (200, 1.0)], 10**9, 1 / (1 + np.exp(-8))),
    ],
)
def test_extrapolated_recall(measured: list[tuple[int, float]], rows: int, expected: float) -> None:
    assert extrapolated_recall(measured, rows) == pytest.approx(expected)


def test_extrapolated_recall_is_not_too_high(glosses: Glosses) -> None:
    """From 500 and 1,000 rows to 2,000."""
    queries = midpoints(glosses.glosses, 200, seed=3)
    half = Sample(glosses.glosses[:1_000], queries)
    (predicted,) = predict(half, SETTINGS, Grid((4, 8), (32,), rows=2_000), KEYS)
    (real,) = predict(replace(half, vectors=glosses.glosses), SETTINGS, Grid((4, 8), (32,)), KEYS)
    for one, other in zip(predicted.table.searches, real.table.searches, strict=True):
        assert other.recall - 0.25 < one.recall < other.recall + 0.02
        assert one.leaf_entries == pytest.approx(other.leaf_entries, rel=0.15)


def test_large_sample_is_placed_by_the_bulk_construction(monkeypatch: pytest.MonkeyPatch, topics: Vectors) -> None:
    monkeypatch.setattr("crdbvec_pipelines.cspann.prediction.MAX_INCREMENTAL_ROWS", 1_000)
    (size,) = predict(Sample(topics[:1_500], topics[1_500:1_520]), SETTINGS, Grid((32,), (64,)), KEYS)
    expected = bulk_tree(SETTINGS.with_max_partition_size(64), Space(SETTINGS, topics.shape[1]).prepare(topics[:1_500]))
    assert size.table.partitions == len(expected.partitions)
    assert size.table.searches[0].recall > 0.9


def test_prefixes_of_a_whole_table(topics: Vectors) -> None:
    prefixes = np.repeat(np.arange(20), 100)
    prefixes[:500] = 0
    sample = Sample(topics[:2_000], topics[2_000:2_050], prefixes, prefixes[:2_000:40])
    (size,) = predict(sample, SETTINGS, Grid((4,), (128,), grown_rows=(200_000,)), KEYS)
    assert (size.unquantized_prefixes, size.unquantized_rows) == (15, 1_500)
    assert not size.table.is_extrapolated
    (grown,) = size.grown
    assert grown.live_bytes == pytest.approx(100 * size.table.live_bytes, rel=0.05)
    # Each tree is as large as before, so a search reads as much.
    assert grown.searches == size.table.searches


def test_sizes_of_prefixes() -> None:
    sizes = sizes_of(np.array([0, 0, 2, 2, 5]))
    assert list(zip(sizes.rows.tolist(), sizes.prefixes.tolist(), strict=True)) == [(1, 1), (2, 2)]


def _size(
    max_partition_size: int,
    *searches: tuple[int, float, float],
    live_bytes: float = 1e6,
    build_beam_size: int = SETTINGS.build_beam_size,
) -> SizePrediction:
    index = IndexPrediction(
        *(1_000, False, 2, 10, 9, 80.0, live_bytes, 0.1, 2e6),
        tuple(SearchPrediction(beam, recall, 0.5, 0.01, 9, 700, 30, read, 3) for beam, recall, read in searches),
    )
    return SizePrediction(max_partition_size, 16, build_beam_size, index, index, ())


def test_recommended_is_the_size_whose_search_reads_the_fewest_bytes() -> None:
    sizes = [_size(64, (8, 0.97, 500.0)), _size(128, (8, 0.955, 600.0), (16, 0.98, 900.0)), _size(256, (8, 0.9, 1.0))]
    chosen = recommend(sizes, SETTINGS, 0.95, 64)
    # A recall of 0.955 with a standard error of 0.01 does not exceed 0.95 with certainty.
    assert (chosen.max_partition_size, chosen.beam_size, chosen.reaches_target) == (64, 8, True)


def test_default_size_is_recommended_unless_another_one_is_clearly_better() -> None:
    sizes = [_size(64, (8, 0.97, 500.0)), _size(128, (8, 0.97, 600.0))]
    assert recommend(sizes, SETTINGS, 0.95, 64).max_partition_size == 128


@pytest.mark.parametrize(("read", "recommended", "share"), [(450.0, 8, "90%"), (300.0, 16, "167%")])
def test_larger_build_beam_is_recommended_if_searches_read_a_fifth_less(
    read: float, recommended: int, share: str
) -> None:
    sizes = [_size(128, (8, 0.97, 500.0)), _size(128, (8, 0.97, read), build_beam_size=16)]
    chosen = recommend(sizes, SETTINGS, 0.95, 64)
    assert chosen.build_beam_size == recommended
    assert f"a search of this recall reads {share} of the bytes" in " ".join(chosen.reasons)


def test_larger_build_beam_that_alone_reaches_the_target_is_recommended() -> None:
    sizes = [_size(128, (8, 0.9, 5.0)), _size(128, (8, 0.97, 9.0), build_beam_size=16)]
    chosen = recommend(sizes, SETTINGS, 0.95, 64)
    assert (chosen.build_beam_size, chosen.reaches_target) == (16, True)
    assert "with 8 the recall is 0.9000 at beam size 8" in " ".join(chosen.reasons)


def test_unreachable_target_names_the_best() -> None:
    chosen = recommend([_size(64, (8, 0.7, 5.0)), _size(128, (8, 0.8, 6.0))], SETTINGS, 0.95, 100)
    assert (chosen.max_partition_size, chosen.recall, chosen.reaches_target) == (128, 0.8, False)
    assert "larger build beam size" in chosen.reasons[0]
    assert "100 dimensions take as much space as those of 128" in chosen.reasons[-1]


def test_prefix_with_small_trees_has_a_reason() -> None:
    large = replace(_size(128, (8, 0.97, 5.0), live_bytes=9e6), unquantized_prefixes=900, unquantized_rows=500)
    small = replace(_size(16, (8, 0.97, 5.0), live_bytes=1e6), unquantized_prefixes=1, unquantized_rows=2)
    reasons = " ".join(recommend([small, large], SETTINGS, 0.95, 64, ["tenant"]).reasons)
    assert "Prefix tenant" in reasons
    assert "900 values have at most 128 rows, 50.0% of all rows" in reasons
    assert (
        "With max_partition_size 16, more of these trees are quantized, and the index has 89% fewer bytes." in reasons
    )
