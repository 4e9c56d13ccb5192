"""Reciprocal rank fusion: the formula, and what the weights do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdbvec_pipelines.config import TextIndexSpec
from crdbvec_pipelines.search.evidence import Evidence
from crdbvec_pipelines.search.fusion import RANK_CONSTANT, fuse

DEFAULT = TextIndexSpec()
ROWS = st.lists(st.integers(0, 30), unique=True, max_size=20)


def test_score_is_the_weighted_sum_of_the_reciprocal_ranks() -> None:
    weights = TextIndexSpec(vector_weight=2, keyword_weight=3, exact_weight=4)
    ranks = fuse(["a", "b"], ["c", "a"], {"a": Evidence(coverage=0.8, exactness=0.5), "c": Evidence(1.0)}, weights)
    assert ranks["a"].score == pytest.approx(
        2 / (RANK_CONSTANT + 1) + 0.8**0.5 * 3 / (RANK_CONSTANT + 2) + 2 / (RANK_CONSTANT + 1)
    )
    assert (ranks["b"].vector, ranks["b"].keyword, ranks["c"].keyword) == (2, None, 1)
    assert list(ranks) == ["a", "c", "b"]


def test_an_exact_match_comes_before_every_row_without_one() -> None:
    others = [f"row {number}" for number in range(40)]
    ranks = fuse(others, [*others, "exact"], {"exact": Evidence(1.0, 1.0)}, DEFAULT)
    assert next(iter(ranks)) == "exact"


def test_the_first_row_of_one_search_comes_before_the_last_rows_of_both() -> None:
    last = [f"row {number}" for number in range(48)]
    ranks = list(fuse(["first", *last], last, {key: Evidence(1.0) for key in last}, DEFAULT))
    assert ranks.index("first") < ranks.index("row 47")


def test_a_keyword_rank_counts_by_what_the_row_contains_of_the_query() -> None:
    evidence = {"frequent": Evidence(0.2), "rare": Evidence(0.8)}
    assert list(fuse([], ["frequent", "rare"], evidence, DEFAULT)) == ["rare", "frequent"]
    assert next(iter(fuse(["near"], ["frequent"], evidence, DEFAULT))) == "near"


def test_a_row_that_the_model_cannot_have_found_is_ranked_by_its_keywords_for_both() -> None:
    near = [f"near {number}" for number in range(20)]
    evidence = {"late": Evidence(0.81, unread=1.0), "early": Evidence(0.81)}
    ranks = fuse(near, ["early", "late"], evidence, DEFAULT)
    assert ranks["late"].score == pytest.approx(2 * 0.9 / (RANK_CONSTANT + 2))
    assert (next(iter(ranks)), ranks["late"].vector) == ("late", None)
    # It is no worse than with its rank by vectors, and a search by keywords alone knows no vectors.
    found = fuse(["late"], ["late"], evidence, DEFAULT)["late"].score
    assert found == pytest.approx(1 / (RANK_CONSTANT + 1) + 0.9 / (RANK_CONSTANT + 1))
    assert list(fuse([], ["early", "late"], evidence, DEFAULT)) == ["early", "late"]


@given(ROWS, ROWS)
def test_every_candidate_is_ranked_once_and_a_weight_of_zero_leaves_the_other_order(
    by_vectors: list[int], by_keywords: list[int]
) -> None:
    assert set(fuse(by_vectors, by_keywords, {}, DEFAULT)) == {*by_vectors, *by_keywords}
    only_vectors = fuse(by_vectors, by_keywords, {}, TextIndexSpec(keyword_weight=0))
    assert [row for row in only_vectors if row in by_vectors] == by_vectors
