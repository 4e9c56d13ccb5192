"""`crdbvec evaluate`: how good searches are for questions with known answers."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from crdbvec_pipelines.cli.evaluate_tuning import check_tunable, print_tuned, tuned_json
from crdbvec_pipelines.cli.output import print_info, print_json, print_table, print_text
from crdbvec_pipelines.cli.target import Selection, column_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crdbvec_pipelines.config import VectorColumn
    from crdbvec_pipelines.search.evaluation import Evaluation, Quality


@click.command(epilog="Example: crdbvec evaluate questions.jsonl --make 200")
@column_options
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--make", "count", type=click.IntRange(1, 10_000), help="Make this many questions from the table.")
@click.option("--tune", is_flag=True, help="Find search effort and weights on half of the questions.")
@click.option("--both", is_flag=True, help="Evaluate both columns of a model migration (crdbvec migrate).")
@click.option("-k", "k", type=click.IntRange(1, 1_000), default=10, show_default=True, help="Hits that count.")
@click.option("--plot", "plot_file", type=click.Path(path_type=Path, dir_okay=False), help="Write a plot as PNG.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def command(
    selection: Selection,
    file: Path | None,
    count: int | None,
    tune: bool,
    both: bool,
    k: int,
    plot_file: Path | None,
    as_json: bool,
) -> None:
    """Measure how good searches are for questions.

    FILE has one JSON object per line: {"query": "...", "relevant": [<key>, ...]}, with "filter" and "kind" if you like.
    With --make, questions are made from the texts of the table, and written to FILE if it is given. Recall, MRR and
    nDCG are shown for vectors, keywords and both, with 95 % confidence intervals. Changes nothing.
    """
    # Imported here, so that the help is shown without them.
    from crdbvec_pipelines.search.evaluation import Evaluation
    from crdbvec_pipelines.search.questions import make_questions, read_questions, write_questions
    from crdbvec_pipelines.search.searcher import Searcher
    from crdbvec_pipelines.search.tuning import tune_settings

    if file is None and count is None:
        raise click.UsageError("Give a file of questions, or --make to make some from the table.")
    target = selection.resolve(also_second=True)
    column = target.column
    if tune and both:
        raise click.UsageError("Give one of --tune and --both.")
    questions = read_questions(file) if file is not None and count is None else []
    target.registry.encoder_of(column).load_in_background()
    with target.open() as databases:
        columns = target.present(databases, with_second=both).columns
        if both and len(columns) < 2:
            raise click.UsageError(f"{column} is not being migrated, so it has no second column. Leave out --both.")
        column = columns[0]
        searchers = [
            Searcher(databases.of(each), each, target.registry.encoder_of(each), target.registry) for each in columns
        ]
        for searcher in searchers:
            if searcher.warning is not None:
                print_info(f"Warning: {searcher.warning}")
        if count is not None:
            questions = make_questions(searchers[0].column, count)
            if file is not None:
                write_questions(file, questions)
                print_info(f"{len(questions):,} questions written to {file}.")
        if tune:
            check_tunable(searchers[0], questions)
        evaluations = [Evaluation(searcher, questions, k) for searcher in searchers]
        evaluation = evaluations[0]
        tuned = tune_settings(evaluation) if tune else None
    if both:
        _show_both(columns, evaluations, k, plot_file, as_json=as_json)
        return
    qualities = evaluation.qualities()
    if plot_file is not None:
        from crdbvec_pipelines.search.plot import by_mode, quality_plot

        plot_file.write_bytes(quality_plot(by_mode(qualities), str(column), k))
    if as_json:
        print_json(
            {
                "k": k,
                "questions": len(questions),
                "qualities": [asdict(each) for each in qualities],
                **tuned_json(tuned),
            }
        )
        return
    _print(qualities, k)
    if count is not None:
        print_text(
            "The questions are parts of the texts, so they contain their words, which favors keywords. Write questions "
            "of your own to compare the modes."
        )
    if tuned is not None:
        print_tuned(tuned, evaluation)


def _print(qualities: "list[Quality]", k: int) -> None:
    print_table(_heads(k), [_cells(each) for each in qualities])


def _heads(k: int) -> list[str]:
    return ["mode", "questions of", "number", f"recall@{k}", f"MRR@{k}", f"nDCG@{k}"]


def _cells(quality: "Quality") -> list[str]:
    from crdbvec_pipelines.search.evaluation import measure_texts

    return [quality.mode, quality.kind or "all", f"{quality.questions:,}", *measure_texts(quality).values()]


def _show_both(
    columns: "Sequence[VectorColumn]",
    evaluations: "Sequence[Evaluation]",
    k: int,
    plot_file: Path | None,
    *,
    as_json: bool,
) -> None:
    """Print the quality of two columns side by side, and how much better the second one is in each mode."""
    from crdbvec_pipelines.search.evaluation import difference, measure_texts

    first, second = evaluations
    qualities = [first.qualities(), second.qualities()]
    differences = {mode: difference(first, second, mode) for mode in first.modes}
    if plot_file is not None:
        from crdbvec_pipelines.search.plot import by_mode, quality_plot

        series = {
            f"{column.model}, {mode}": of_mode
            for column, found in zip(columns, qualities, strict=True)
            for mode, of_mode in by_mode(found).items()
        }
        plot_file.write_bytes(quality_plot(series, str(columns[0]), k))
    if as_json:
        shown = [
            {"output": column.output, "model": column.model, "qualities": [asdict(each) for each in found]}
            for column, found in zip(columns, qualities, strict=True)
        ]
        gained = {mode: asdict(each) for mode, each in differences.items()}
        print_json({"k": k, "questions": qualities[0][0].questions, "columns": shown, "differences": gained})
        return
    rows = [
        [column.output, column.model, *_cells(each)]
        for of_both in zip(*qualities, strict=True)
        for column, each in zip(columns, of_both, strict=True)
    ]
    rows += [["difference", "", mode, "all", "", *measure_texts(each).values()] for mode, each in differences.items()]
    print_table(["column", "model", *_heads(k)], rows)
