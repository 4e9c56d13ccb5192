"""Reciprocal rank fusion: one order of rows from their ranks by vectors and by keywords. Pure computation."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from crdbvec_pipelines.config import TextIndexSpec

K = TypeVar("K", bound=Hashable)

RANK_CONSTANT = 60
"""What is added to each rank: the constant of Cormack, Clarke and Buettcher (2009), who measured 60 to be robust."""


@dataclass(frozen=True)
class Ranks:
    """Where the searches found a row.

    Attributes:
        vector: The rank by vectors, from 1; None if it is not among the candidates.
        keyword: The rank by keywords, from 1; None if it is not among the candidates.
        exactness: How much of the query stands verbatim in the row, from 0 to 1.
        score: The weighted sum by which hits are sorted; higher is better.
    """

    vector: int | None
    keyword: int | None
    exactness: float
    score: float


def fuse(
    by_vectors: Sequence[K], by_keywords: Sequence[K], exactness: Mapping[K, float], weights: TextIndexSpec
) -> dict[K, Ranks]:
    """Return the ranks of all candidates, best first.

    An exact match adds as much as a first rank with its weight. Candidates with the same score are in the order of the
    keywords, then of the vectors.

    Args:
        by_vectors: The candidates of the vectors, nearest first.
        by_keywords: The candidates of the keywords, best first.
        exactness: How much of the query stands verbatim in each of them.
        weights: The weights of the two ranks and of exact matches.
    """
    vector = {key: rank for rank, key in enumerate(by_vectors, start=1)}
    keyword = {key: rank for rank, key in enumerate(by_keywords, start=1)}
    ranks = {}
    for key in dict.fromkeys([*by_keywords, *by_vectors]):
        score = weights.exact_weight * exactness.get(key, 0.0) / (RANK_CONSTANT + 1)
        for weight, rank in ((weights.vector_weight, vector.get(key)), (weights.keyword_weight, keyword.get(key))):
            score += 0.0 if rank is None else weight / (RANK_CONSTANT + rank)
        ranks[key] = Ranks(vector.get(key), keyword.get(key), exactness.get(key, 0.0), score)
    return dict(sorted(ranks.items(), key=lambda item: -item[1].score))
