"""Searches: which candidates are compared exactly, what a larger beam finds, and deleted rows."""

import itertools

import numpy as np
import pytest

from crdbvec_pipelines.cspann.accuracy import measure, true_neighbors
from crdbvec_pipelines.cspann.search import RerankLimits, SearchOptions, candidates, rerank_limits, search
from crdbvec_pipelines.cspann.settings import IndexSettings, Metric, beam_width
from tests.cspann.simulated import simulate
from tests.support.embeddings import Vectors
from tests.support.vectors import METRICS


@pytest.mark.parametrize(
    ("k", "results", "extras_of_32", "extras_of_8"),
    [(1, 10, 250, 150), (5, 10, 550, 300), (10, 12, 800, 450), (20, 24, 1050, 600), (50, 60, 1400, 800)],
)
def test_rerank_limits(k: int, results: int, extras_of_32: int, extras_of_8: int) -> None:
    assert rerank_limits(k, 32) == RerankLimits(results, extras_of_32)
    assert rerank_limits(k, 8) == RerankLimits(results, extras_of_8)


def test_candidates_end_at_the_first_one_whose_bounds_do_not_overlap() -> None:
    distances = np.array([5, 1, 2, 3, 4, 6], np.float32)
    bounds = np.array([1.5, 0, 0, 0.5, 0.4, 3], np.float32)
    members = np.array([50, 10, 20, 30, 40, 60])
    # The third result is at 3, and its bound is 0.5: 4 - 0.4 is too far, and nothing after it is considered.
    assert candidates(distances, bounds, members, RerankLimits(3, 10)).tolist() == [10, 20, 30]
    bounds[4] = 0.5
    assert candidates(distances, bounds, members, RerankLimits(3, 10)).tolist() == [10, 20, 30, 40, 50, 60]
    assert candidates(distances, bounds, members, RerankLimits(3, 1)).tolist() == [10, 20, 30, 40]
    assert candidates(distances, bounds, members, RerankLimits(3, 0)).tolist() == [10, 20, 30]
    assert candidates(distances, bounds, members, RerankLimits(9, 9)).tolist() == [10, 20, 30, 40, 50, 60]


@pytest.mark.parametrize("metric", METRICS)
def test_flat_tree_is_searched_exactly(metric: Metric, topics: Vectors) -> None:
    simulated = simulate(topics[:130], IndexSettings(metric), 100)
    accuracy = simulated.accuracy(1)
    assert (accuracy.recall, accuracy.partitions, accuracy.leaf_entries) == (1, 1, 100)
    assert accuracy.full_vectors == 12


@pytest.mark.parametrize("metric", METRICS)
def test_larger_beams_find_more_and_read_more(metric: Metric, topics: Vectors) -> None:
    simulated = simulate(topics[:2_100], IndexSettings(metric, 4, 16, 4), 2_000)
    measured = [simulated.accuracy(beam_size) for beam_size in (1, 4, 16, 64, 256)]
    recalls = [each.recall for each in measured]
    assert recalls == sorted(recalls)
    assert recalls[0] < 0.5
    assert recalls[-1] > 0.98
    assert measured[-1].leaf_entries == 2_000
    for one, other in itertools.pairwise(measured):
        assert (one.partitions, one.leaf_entries) < (other.partitions, other.leaf_entries)


def test_rerank_multiplier_of_zero_reads_no_further_rows(topics: Vectors) -> None:
    simulated = simulate(topics[:1_050], IndexSettings("cosine", 4, 16, 4), 1_000)
    found = list(search(simulated.tree, simulated.queries, SearchOptions(10, 32, rerank_multiplier=0)))
    assert {each.full_vectors for each in found} == {12}


def test_blocks_of_queries_give_the_results_of_single_queries(topics: Vectors) -> None:
    simulated = simulate(topics[:1_050], IndexSettings("l2", 4, 16, 4), 1_000)
    together = list(search(simulated.tree, simulated.queries, SearchOptions()))
    single = [each for query in simulated.queries for each in search(simulated.tree, query[None], SearchOptions())]
    assert [each.partitions for each in together] == [each.partitions for each in single]
    same = [set(one.rows) == set(other.rows) for one, other in zip(together, single, strict=True)]
    assert np.mean(same) > 0.95


def test_entries_of_deleted_rows_are_read_and_excluded(topics: Vectors) -> None:
    simulated = simulate(topics[:1_050], IndexSettings("cosine", 4, 16, 4), 1_000)
    is_alive = np.arange(1_000) % 2 == 0
    truth = true_neighbors("cosine", simulated.queries, simulated.tree.vectors, 10, is_alive)
    all_rows = simulated.accuracy(64)
    alive = measure(simulated.tree, simulated.queries, truth, SearchOptions(10, 64), is_alive)
    assert alive.full_vectors == all_rows.full_vectors
    for each in search(simulated.tree, simulated.queries, SearchOptions(10, 64), is_alive):
        assert is_alive[each.rows].all()


def test_true_neighbors_are_those_of_a_sort(topics: Vectors) -> None:
    queries, rows = topics[:5], topics[5:300]
    expected = np.argsort(1 - queries @ rows.T, axis=1)[:, :7]
    np.testing.assert_array_equal(true_neighbors("cosine", queries, rows, 7), expected)
    few = true_neighbors("cosine", queries, rows[:3], 7)
    assert (few[:, 3:] == -1).all()


@pytest.mark.parametrize(("beam_size", "widths"), [(1, [1, 1, 1]), (8, [8, 4, 2]), (33, [33, 17, 9])])
def test_beam_is_halved_per_level(beam_size: int, widths: list[int]) -> None:
    assert [beam_width(beam_size, level) for level in (1, 2, 3)] == widths
