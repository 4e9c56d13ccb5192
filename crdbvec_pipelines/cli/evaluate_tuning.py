"""What `crdbvec evaluate --tune` requires and shows: the search effort and the weights that it finds."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from crdbvec_pipelines.cli.output import print_table, print_text
from crdbvec_pipelines.config.entry_edit import flow_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crdbvec_pipelines.config import VectorColumn
    from crdbvec_pipelines.search.evaluation import Evaluation, Tuned
    from crdbvec_pipelines.search.questions import Question
    from crdbvec_pipelines.search.searcher import Searcher
    from crdbvec_pipelines.search.tuning import TunedEffort, TunedSettings

_MIN_QUESTIONS_TO_TUNE = 20


def check_tunable(searcher: "Searcher", questions: "Sequence[Question]") -> None:
    """Check that there are enough questions, and a setting that they can find.

    Raises:
        click.UsageError: There are not.
    """
    if searcher.column.spec.text_index is None and not searcher.has_index:
        raise click.UsageError(
            "--tune finds the search effort of a vector index and the weights of a hybrid search, and "
            f"{searcher.column.spec} has neither. Run `crdbvec index build`, or add text_index to its entry."
        )
    if len(questions) < _MIN_QUESTIONS_TO_TUNE:
        raise click.UsageError(
            f"--tune needs at least {_MIN_QUESTIONS_TO_TUNE} questions, and there are {len(questions)}."
        )


def print_tuned(tuned: "TunedSettings", evaluation: "Evaluation") -> None:
    """Print the settings that were found, what they are worth, and the lines for crdbvec.yaml."""
    effort, spec, k = tuned.effort, evaluation.searcher.column.spec, evaluation.k
    print_text()
    if effort is None:
        print_text(_why_no_effort(evaluation.searcher, tuned))
    else:
        _print_efforts(effort, k)
        print_text(_which_effort(effort, k))
        print_text()
        _print_other_half(effort, k)
        for line in _setting_lines(effort, spec):
            print_text(line)
    if tuned.weights is not None:
        print_text()
        _print_weights(tuned.weights, "" if effort is None else f" at {effort.setting} {effort.effort}", k)
    if tuned.searches:
        print_text()
        print_text(f"{tuned.searches:,} searches were executed to find this, after those of the evaluation.")


def tuned_json(tuned: "TunedSettings | None") -> dict[str, Any]:
    """Return the fields of the settings that were found; each is None if it was not."""
    weights, effort = (None, None) if tuned is None else (tuned.weights, tuned.effort)
    return {
        "tuned": None
        if weights is None
        else {
            "weights": weights.weights.model_dump(),
            "default": asdict(weights.default),
            "tuned": asdict(weights.tuned),
        },
        "tuned_effort": None if effort is None else asdict(effort),
        "tuning_searches": 0 if tuned is None else tuned.searches,
    }


def _why_no_effort(searcher: "Searcher", tuned: "TunedSettings") -> str:
    if not searcher.has_index:
        return "There is no vector index, so searches have no search effort; only the weights are tuned."
    only = "" if tuned.weights is None else "; only the weights are tuned"
    return (
        "The server used the vector index for none of the questions, so there is no search effort to find"
        f"{only}. Run `crdbvec search --explain` for a query plan."
    )


def _print_efforts(tuned: "TunedEffort", k: int) -> None:
    header = [tuned.setting, f"recall@{k}", f"nDCG@{k}", "nearest rows", "by the index"]
    rows = [
        [
            str(each.effort),
            str(each.quality.recall),
            str(each.quality.ndcg),
            f"{each.nearest_share:.3f}",
            f"{each.index_scans:,} of {each.quality.questions:,}",
        ]
        for each in tuned.measurements
    ]
    exact = tuned.exact
    print_table(header, [*rows, ["exact scan", str(exact.recall), str(exact.ndcg), "1.000", ""]])


def _which_effort(tuned: "TunedEffort", k: int) -> str:
    """Return which effort was found, and why."""
    from crdbvec_pipelines.search.tuning import TOLERANCE

    if tuned.suffices:
        return (
            f"{tuned.setting} {tuned.effort} is the smallest of these values with which recall@{k} and nDCG@{k} of "
            f"searches by vectors are at most {TOLERANCE:g} lower than by an exact scan, for half of the questions."
        )
    return (
        f"With each of these values of {tuned.setting} for which the index answers the questions, recall@{k} or "
        f"nDCG@{k} of searches by vectors is over {TOLERANCE:g} lower than by an exact scan, for half of the "
        f"questions; {tuned.effort} is the best one. Larger storage parameters of the index usually raise them."
    )


def _print_other_half(tuned: "TunedEffort", k: int) -> None:
    from crdbvec_pipelines.search.evaluation import measure_texts

    rows = [[f"{tuned.configured} (now)", *measure_texts(tuned.at_configured).values()]]
    if not tuned.is_configured:
        rows += [
            [str(tuned.effort), *measure_texts(tuned.at_tuned).values()],
            ["difference", *measure_texts(tuned.difference).values()],
        ]
    print_table(["the other half", f"recall@{k}", f"MRR@{k}", f"nDCG@{k}"], rows)


def _setting_lines(tuned: "TunedEffort", spec: "VectorColumn") -> list[str]:
    """Return the line for crdbvec.yaml, and what the check of the index may say about it."""
    if tuned.is_configured:
        return [f"Searches have {tuned.setting} {tuned.effort} now: nothing has to be changed."]
    # The other settings of the index stay in its line.
    settings = {} if spec.index is None else spec.index.model_dump(mode="json", exclude_defaults=True)
    lines = [f"index: {flow_text({**settings, 'effort': tuned.effort})}"]
    wanted, share = spec.index.wanted_recall if spec.index else 0.0, tuned.found.nearest_share
    if share < wanted:
        lines.append(
            f"With {tuned.effort}, searches return {share:.3f} of the nearest rows, relevant or not. The asset check "
            f"recall_at_k requires {wanted:g} for its own queries (index.wanted_recall)."
        )
    return lines


def _print_weights(tuned: "Tuned", at_effort: str, k: int) -> None:
    weights = tuned.weights
    print_text(
        f"nDCG@{k} of a hybrid search{at_effort} for the half of the questions that was not used to find the weights: "
        f"{tuned.default.ndcg} with the configured weights, {tuned.tuned.ndcg} with these:\n"
        f"text_index: {{language: {weights.language}, vector_weight: {weights.vector_weight:g}, "
        f"keyword_weight: {weights.keyword_weight:g}, exact_weight: {weights.exact_weight:g}}}"
    )
