"""How good searches are for given questions: recall, MRR and nDCG of each mode with confidence intervals, and tuning.

The measures are those of the TREC evaluations for relevance that is yes or no. They are computed here, in a few lines
of numpy, because the libraries that compute them need a compiler or a large dependency (docs/decisions).
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from crdbvec_pipelines.config import TextIndexSpec
from crdbvec_pipelines.database.connection import Row
from crdbvec_pipelines.database.search.query import SearchMode, SearchQuery
from crdbvec_pipelines.errors import ConfigurationError
from crdbvec_pipelines.search.questions import Key, Question
from crdbvec_pipelines.search.searcher import Searcher
from crdbvec_pipelines.value_text import value_text

EvaluatedMode = SearchMode | Literal["reranked"]
"""What orders the rows: a mode of search, or the reranker after the best of them, hybrid or else by vectors."""

DEFAULT_K = 10
MEASURES = ("recall", "mrr", "ndcg")
_RESAMPLES = 1_000
_SEED = 7
# A few steps on each side of the default: finer ones differ by less than the confidence intervals of some hundred
# questions.
_KEYWORD_WEIGHTS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
_EXACT_WEIGHTS = (0.0, 0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True)
class Estimate:
    """The mean of a measure over questions, and its 95 % confidence interval by bootstrapping the questions."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.2f}-{self.high:.2f})"


@dataclass(frozen=True)
class Quality:
    """The quality of one mode over a set of questions.

    Attributes:
        mode: What orders the rows.
        kind: The kind of the questions; empty for all.
        questions: Their number.
        recall: The share of the relevant rows that are among the first k.
        mrr: The reciprocal rank of the first relevant row, 0 if it is not among the first k.
        ndcg: The normalized discounted cumulative gain of the first k.
    """

    mode: EvaluatedMode
    kind: str
    questions: int
    recall: Estimate
    mrr: Estimate
    ndcg: Estimate


@dataclass(frozen=True)
class Difference:
    """How much higher the measures of one search are than those of another one, for the same questions.

    Attributes:
        recall: The difference of recall.
        mrr: The difference of the reciprocal rank.
        ndcg: The difference of nDCG.
    """

    recall: Estimate
    mrr: Estimate
    ndcg: Estimate


def measure_texts(measured: Quality | Difference) -> dict[str, str]:
    """Return each measure with its interval as text, by its name."""
    return {name: str(getattr(measured, name)) for name in MEASURES}


@dataclass(frozen=True)
class Tuned:
    """The weights that are best for half of the questions, and what they are worth for the other half.

    Attributes:
        weights: The weights.
        default: The quality of the configured weights for the other half.
        tuned: The quality of these weights for the other half.
    """

    weights: TextIndexSpec
    default: Quality
    tuned: Quality


def measures(found: Sequence[Key], relevant: Sequence[Key], k: int) -> tuple[float, float, float]:
    """Return recall, reciprocal rank and nDCG of the first k found rows."""
    wanted = set(relevant)
    gains = [key in wanted for key in found[:k]]
    discounts = 1 / np.log2(np.arange(2, k + 2))
    ideal = discounts[: min(len(wanted), k)].sum()
    first = next((rank for rank, is_relevant in enumerate(gains, start=1) if is_relevant), None)
    gained = float((discounts[: len(gains)] * gains).sum()) if gains else 0.0
    return sum(gains) / len(wanted), 0.0 if first is None else 1 / first, gained / float(ideal)


class Evaluation:
    """The rows that each mode finds for each question, read from the database once.

    Args:
        searcher: The searches.
        questions: The questions; at least one.
        k: The number of hits that count.
        effort: The search effort; by default the configured one.
        vectors: The vectors of the questions if they are known; otherwise the model computes them.
        rerank: Whether the mode `reranked` is evaluated if the entry has a reranker; it takes most of the time.

    Attributes:
        searcher: The searches.
        questions: The questions.
        k: The number of hits that count.

    Raises:
        TableError: A filter of a question names a column that does not exist.
    """

    def __init__(
        self,
        searcher: Searcher,
        questions: Sequence[Question],
        k: int = DEFAULT_K,
        *,
        effort: int | None = None,
        vectors: Sequence[NDArray[np.float32]] = (),
        rerank: bool = True,
    ) -> None:
        self._spec = searcher.column.spec
        self._key_columns = len(searcher.column.table.key)
        self.searcher = searcher
        self.questions = questions
        self.k = k
        known: Sequence[NDArray[np.float32] | None] = vectors or [None] * len(questions)
        self._found = [
            searcher.candidates(each.query, SearchQuery(limit=k, filters=each.filters, effort=effort), vector)
            for each, vector in zip(questions, known, strict=True)
        ]
        can_rerank = rerank and searcher.can_rerank
        self._reranked = [self._rerank(each, effort) for each in questions] if can_rerank else None

    def at_effort(self, effort: int) -> "Evaluation":
        """Return the evaluation of the same questions at another search effort; they are searched for again."""
        return Evaluation(self.searcher, self.questions, self.k, effort=effort, vectors=self.vectors, rerank=False)

    @property
    def vectors(self) -> list[NDArray[np.float32]]:
        """The vector of each question."""
        return [each.vector for each in self._found if each.vector is not None]

    @property
    def halves(self) -> tuple[list[int], list[int]]:
        """The numbers of the questions that settings are found with, and of those that measure them.

        They are random, and the same ones each time.

        Raises:
            ConfigurationError: There is only one question.
        """
        if len(self.questions) < 2:
            raise ConfigurationError(
                "Settings are found with one half of the questions and measured with the other, and there is only one "
                "question. Add questions."
            )
        order = list(range(len(self.questions)))
        random.Random(_SEED).shuffle(order)  # noqa: S311
        return order[::2], order[1::2]

    @property
    def modes(self) -> tuple[EvaluatedMode, ...]:
        """The modes that can be compared: without a text index only vectors, and reranked with a reranker."""
        modes: tuple[EvaluatedMode, ...] = self._search_modes
        return modes if self._reranked is None else (*modes, "reranked")

    @property
    def _search_modes(self) -> tuple[SearchMode, ...]:
        return ("vector",) if self._spec.text_index is None else ("vector", "keyword", "hybrid")

    def qualities(self, modes: Sequence[EvaluatedMode] = ()) -> list[Quality]:
        """Return the quality of each mode for all questions, then for those of each kind if there are several.

        Args:
            modes: The modes; by default all that can be compared.
        """
        kinds = sorted({each.kind for each in self.questions})
        return [
            self._quality(mode, kind)
            for kind in ("", *(kinds if len(kinds) > 1 else ()))
            for mode in modes or self.modes
        ]

    def measured(self, mode: EvaluatedMode) -> NDArray[np.float64]:
        """Return the measures of each question: one row of recall, reciprocal rank and nDCG for each."""
        return self._values(mode, range(len(self.questions)), self._spec.text_index or TextIndexSpec())

    def tune(self) -> Tuned:
        """Return the weights of a hybrid search that are best for one half of the questions, measured on the other.

        The entry has a text index.

        Raises:
            ConfigurationError: There is only one question.
        """
        configured = self._spec.text_index or TextIndexSpec()
        training, other = self.halves

        def distance(weights: TextIndexSpec) -> float:
            return abs(weights.keyword_weight - configured.keyword_weight) + abs(
                weights.exact_weight - configured.exact_weight
            )

        candidates = [
            configured.model_copy(update={"vector_weight": 1.0, "keyword_weight": keyword, "exact_weight": exact})
            for keyword in _KEYWORD_WEIGHTS
            for exact in _EXACT_WEIGHTS
        ]
        # Of equally good weights those that differ least from the configured ones.
        best = max(
            sorted([configured, *candidates], key=distance),
            key=lambda weights: round(float(self._values("hybrid", training, weights)[:, 2].mean()), 6),
        )
        return Tuned(
            best,
            quality_of("hybrid", self._values("hybrid", other, configured)),
            quality_of("hybrid", self._values("hybrid", other, best)),
        )

    def _quality(self, mode: EvaluatedMode, kind: str) -> Quality:
        chosen = [number for number, each in enumerate(self.questions) if not kind or each.kind == kind]
        return quality_of(mode, self._values(mode, chosen, self._spec.text_index or TextIndexSpec()), kind)

    def _values(self, mode: EvaluatedMode, chosen: Sequence[int], weights: TextIndexSpec) -> NDArray[np.float64]:
        return np.array(
            [measures(self._keys(number, mode, weights), self.questions[number].relevant, self.k) for number in chosen]
        )

    def _rerank(self, question: Question, effort: int | None) -> list[Key]:
        query = SearchQuery(self.k, question.filters, effort=effort, mode=self._search_modes[-1], rerank=True)
        (result,) = self.searcher.search_texts([question.query], query)
        return [tuple(map(value_text, hit.key.values())) for hit in result.hits]

    def _keys(self, number: int, mode: EvaluatedMode, weights: TextIndexSpec) -> list[Key]:
        if mode == "reranked":
            return [] if self._reranked is None else self._reranked[number]
        found = self._found[number]
        if mode == "vector" and found.vectors_alone is not None:
            return [self._key(row) for row in found.vectors_alone.rows]
        ordered: Sequence[str] | Mapping[str, object]
        if mode == "vector":
            ordered = found.by_vectors
        elif mode == "keyword":
            ordered = found.only_keywords(self.questions[number].query).ordered(weights)
        else:
            ordered = found.ordered(weights)
        return [self._key(found.rows[key]) for key in list(ordered)[: self.k]]

    def _key(self, row: Row) -> Key:
        return tuple(map(value_text, row[2 : 2 + self._key_columns]))


def difference(first: Evaluation, second: Evaluation, mode: EvaluatedMode) -> Difference:
    """Return how much better the second of two evaluations of the same questions is.

    The differences are those of each question, so the interval is narrower than those of the two means.
    """
    return difference_of(first.measured(mode), second.measured(mode))


def difference_of(first: NDArray[np.float64], second: NDArray[np.float64]) -> Difference:
    """Return how much higher the measures of each question, a row of recall, reciprocal rank and nDCG, are."""
    return Difference(*_estimates(second - first))


def quality_of(mode: EvaluatedMode, values: NDArray[np.float64], kind: str = "") -> Quality:
    """Return the quality of a mode from the measures of each question: a row of recall, reciprocal rank and nDCG."""
    return Quality(mode, kind, len(values), *_estimates(values))


def _estimates(values: NDArray[np.float64]) -> list[Estimate]:
    random_numbers = np.random.default_rng(_SEED)
    samples = random_numbers.integers(0, len(values), (_RESAMPLES, len(values)))
    means = values[samples].mean(axis=1)
    low, high = np.percentile(means, (2.5, 97.5), axis=0)
    return [Estimate(*map(float, each)) for each in zip(values.mean(axis=0), low, high, strict=True)]
