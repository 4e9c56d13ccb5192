"""The search effort, and then the weights of a hybrid search, found on one half of questions with known answers.

The effort comes first, for searches by vectors alone. In a hybrid search, the keywords find some of the rows that the
index misses, so that an effort found for it would be too small for the others. The weights depend on the candidates,
and so on the effort: they are found at that effort.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crdbvec_pipelines.database.search.query import SearchQuery
from crdbvec_pipelines.search.evaluation import (
    Difference,
    Evaluation,
    Quality,
    Tuned,
    difference_of,
    measures,
    quality_of,
)
from crdbvec_pipelines.search.recall import nearest_share
from crdbvec_pipelines.value_text import value_text

TOLERANCE = 0.01
"""How much lower than by an exact scan recall and nDCG may be: as if one of a hundred questions lost its answer."""


@dataclass(frozen=True)
class EffortMeasurement:
    """The measured values of one search effort.

    Attributes:
        effort: Beam size, ef_search or probes.
        quality: The quality of searches by vectors.
        nearest_share: The share of the rows of an exact scan that they return, relevant or not.
        index_scans: The number of questions that the index answered; an exact scan answered the others.
    """

    effort: int
    quality: Quality
    nearest_share: float
    index_scans: int


@dataclass(frozen=True)
class TunedEffort:
    """The search effort that suffices for half of the questions, and what it is worth for the other half.

    Attributes:
        setting: The server's name of the search effort.
        configured: The configured effort, otherwise the server's default.
        effort: The smallest effort that suffices; if none does, the best one.
        suffices: Whether recall and nDCG of that effort are lower than those of an exact scan by at most `TOLERANCE`.
        exact: The quality of an exact scan for the first half.
        measurements: One measurement per effort, for the first half.
        at_configured: The quality of the configured effort for the other half.
        at_tuned: The quality of the found effort for the other half.
        difference: How much better the found effort is for the other half, question by question.
        searches: The number of searches that found it.
    """

    setting: str
    configured: int
    effort: int
    suffices: bool
    exact: Quality
    measurements: tuple[EffortMeasurement, ...]
    at_configured: Quality
    at_tuned: Quality
    difference: Difference
    searches: int

    @property
    def is_configured(self) -> bool:
        """Whether the found effort is the configured one, so that nothing has to be changed."""
        return self.effort == self.configured

    @property
    def found(self) -> EffortMeasurement:
        """The measurement of the found effort."""
        return next(each for each in self.measurements if each.effort == self.effort)


@dataclass(frozen=True)
class TunedSettings:
    """The settings of searches that were found on half of the questions.

    Attributes:
        effort: The search effort; None if there is no vector index, or the server uses it for none of the questions.
        weights: The weights of a hybrid search, at that effort; None without a text index.
        searches: The number of searches that found them, after those of the evaluation.
    """

    effort: TunedEffort | None
    weights: Tuned | None
    searches: int


def tune_settings(evaluation: Evaluation) -> TunedSettings:
    """Return the search effort and the weights that are best for one half of the questions, measured on the other.

    Args:
        evaluation: The evaluation of the questions, while its database is open.

    Raises:
        CrdbvecError: As for `tune_effort`.
    """
    effort = tune_effort(evaluation)
    searches = 0 if effort is None else effort.searches
    if evaluation.searcher.column.spec.text_index is None:
        return TunedSettings(effort, None, searches)
    if effort is None or effort.is_configured:
        return TunedSettings(effort, evaluation.tune(), searches)
    return TunedSettings(effort, evaluation.at_effort(effort.effort).tune(), searches + len(evaluation.questions))


def tune_effort(evaluation: Evaluation) -> TunedEffort | None:
    """Return the smallest search effort that suffices for one half of the questions, measured on the other.

    An effort suffices if recall and nDCG of searches by vectors are lower than those of an exact scan by at most
    `TOLERANCE`, and if the index answers as many questions as at any other effort.

    Args:
        evaluation: The evaluation of the questions, while its database is open. Their vectors are not computed again.

    Returns:
        The effort; None if there is no vector index, or the server uses it for none of the questions.

    Raises:
        ColumnExchanged: The column has the vectors of another model now (`crdbvec migrate`).
        ConfigurationError: The configured effort exceeds the maximum of the server, or there is only one question.
        DatabaseError: The server rejected a search.
    """
    if not evaluation.searcher.has_index:
        return None
    setting, index = evaluation.searcher.effort, evaluation.searcher.column.spec.index
    configured = (index.effort if index else None) or setting.default
    training, other = evaluation.halves
    of_efforts = {effort: _search(evaluation, training, effort) for effort in setting.measured(configured)}
    if not any(each.index_scans for each in of_efforts.values()):
        return None
    exact = _search(evaluation, training, None)
    measurements = tuple(_measurement(effort, each, exact) for effort, each in of_efforts.items())
    quality = quality_of("vector", exact.values)
    sufficient = [each for each in _by_index(measurements) if _suffices(each.quality, quality)]
    chosen = sufficient[0] if sufficient else max(_by_index(measurements), key=_rank)
    of_other = {effort: _search(evaluation, other, effort) for effort in sorted({configured, chosen.effort})}
    before, after = of_other[configured].values, of_other[chosen.effort].values
    return TunedEffort(
        setting.setting,
        configured,
        chosen.effort,
        bool(sufficient),
        quality,
        measurements,
        quality_of("vector", before),
        quality_of("vector", after),
        difference_of(before, after),
        len(training) * (len(of_efforts) + 1) + len(other) * len(of_other),
    )


@dataclass(frozen=True)
class _Searches:
    """The measures of each question, the key and the distance of the rows found, and how many the index answered."""

    values: NDArray[np.float64]
    rows: Sequence[Sequence[tuple[Hashable, float]]]
    index_scans: int


def _search(evaluation: Evaluation, chosen: Sequence[int], effort: int | None) -> _Searches:
    """Search for some of the questions by their vectors at an effort; None is an exact scan."""
    vectors = evaluation.vectors
    values, rows, index_scans = [], [], 0
    for number in chosen:
        question = evaluation.questions[number]
        query = SearchQuery(limit=evaluation.k, filters=question.filters, exact=effort is None, effort=effort)
        result = evaluation.searcher.search_vector(vectors[number], query)
        keys = [tuple(map(value_text, hit.key.values())) for hit in result.hits]
        values.append(measures(keys, question.relevant, evaluation.k))
        rows.append(list(zip(keys, (hit.distance for hit in result.hits), strict=True)))
        index_scans += result.strategy == "index_scan"
    return _Searches(np.array(values), rows, index_scans)


def _measurement(effort: int, found: _Searches, exact: _Searches) -> EffortMeasurement:
    shares = [nearest_share(rows, nearest) for rows, nearest in zip(found.rows, exact.rows, strict=True)]
    return EffortMeasurement(effort, quality_of("vector", found.values), float(np.mean(shares)), found.index_scans)


def _by_index(measurements: Sequence[EffortMeasurement]) -> list[EffortMeasurement]:
    """Return those at which the index answers the most questions: the others measure exact scans, too."""
    most = max(each.index_scans for each in measurements)
    return [each for each in measurements if each.index_scans == most]


def _suffices(quality: Quality, exact: Quality) -> bool:
    lost = max(exact.recall.value - quality.recall.value, exact.ndcg.value - quality.ndcg.value)
    # The margin is that of rounding.
    return lost <= TOLERANCE + 1e-9


def _rank(measured: EffortMeasurement) -> tuple[float, float]:
    return measured.quality.ndcg.value, measured.quality.recall.value
