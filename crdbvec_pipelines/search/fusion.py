"""Reciprocal rank fusion: one order of rows from their ranks by vectors and by keywords. Pure computation."""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from crdbvec_pipelines.config import TextIndexSpec
from crdbvec_pipelines.search.evidence import NO_EVIDENCE, Evidence

K = TypeVar("K", bound=Hashable)

RANK_CONSTANT = 10
"""What is added to each rank.

Cormack, Clarke and Buettcher (2009) use 60 for lists of 1,000 rows. With 60, a row at the end of two lists of 50 has a
higher score than the first row of one list, so that what only one search finds has no chance.
"""

# The weight of the keyword rank of a text in which only other forms of the words are found.
_MIN_KEYWORD_SHARE = 0.1


@dataclass(frozen=True)
class Ranks:
    """Where the searches found a row.

    Attributes:
        vector: The rank by vectors, from 1; None if it is not among the candidates.
        keyword: The rank by keywords, from 1; None if it is not among the candidates.
        exactness: How much of the query's information stands verbatim in the row, from 0 to 1.
        is_exact: Whether all that is exact in the query does.
        score: The weighted sum by which hits are sorted; higher is better.
    """

    vector: int | None
    keyword: int | None
    exactness: float
    is_exact: bool
    score: float


def fuse(
    by_vectors: Sequence[K], by_keywords: Sequence[K], evidence: Mapping[K, Evidence], weights: TextIndexSpec
) -> dict[K, Ranks]:
    """Return the ranks of all candidates, best first.

    A rank by keywords counts by the square root of the share of the query's information that the row contains. A row
    that contains it only in a part that the model does not read has no better rank by vectors than chance, so its rank
    by keywords counts for both. What stands verbatim in the row adds as much as a first rank with its weight.
    Candidates with the same score are in the order of the keywords, then of the vectors.

    Args:
        by_vectors: The candidates of the vectors, nearest first.
        by_keywords: The candidates of the keywords, best first.
        evidence: What each of them contains of the query; nothing for one that is missing.
        weights: The weights of the two ranks and of exact matches.
    """
    vector = {key: rank for rank, key in enumerate(by_vectors, start=1)}
    keyword = {key: rank for rank, key in enumerate(by_keywords, start=1)}
    ranks = {}
    for key in dict.fromkeys([*by_keywords, *by_vectors]):
        found = evidence.get(key, NO_EVIDENCE)
        share = max(math.sqrt(found.coverage), _MIN_KEYWORD_SHARE)
        by_keyword = share * _reciprocal(keyword.get(key))
        by_vector = _reciprocal(vector.get(key))
        if vector:
            by_vector = max(by_vector, found.unread * by_keyword)
        score = weights.exact_weight * found.exactness / (RANK_CONSTANT + 1)
        score += weights.vector_weight * by_vector + weights.keyword_weight * by_keyword
        ranks[key] = Ranks(vector.get(key), keyword.get(key), found.exactness, found.is_exact, score)
    return dict(sorted(ranks.items(), key=lambda item: -item[1].score))


def _reciprocal(rank: int | None) -> float:
    return 0.0 if rank is None else 1 / (RANK_CONSTANT + rank)
