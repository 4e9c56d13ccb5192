"""`crdbvec index status`, `build` and `tune`: the vector index. `predict` and `explain` have modules of their own."""

from dataclasses import asdict
from pathlib import Path

import click

from crdbvec_pipelines.cli.index_explain import explain
from crdbvec_pipelines.cli.index_predict import predict
from crdbvec_pipelines.cli.output import bytes_text, print_info, print_json, print_table, print_text, progress_bar
from crdbvec_pipelines.cli.target import Selection, Target, column_options
from crdbvec_pipelines.config import IndexSpec
from crdbvec_pipelines.database.chunks.table import vectors_of
from crdbvec_pipelines.database.column import BoundColumn, open_column, open_existing_column
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.index.statements import unsupported_options
from crdbvec_pipelines.database.index.text_index import TextIndex
from crdbvec_pipelines.database.index.vector_index import VectorIndex
from crdbvec_pipelines.search.index_build import build_text_index_when_covered, build_when_covered
from crdbvec_pipelines.search.index_size_check import check_size
from crdbvec_pipelines.search.index_use import read_index_use
from crdbvec_pipelines.search.plot import recall_plot
from crdbvec_pipelines.search.recall import DEFAULT_K, DEFAULT_QUERIES, RecallCurve, measure_recall


def _new_file(_context: click.Context, _parameter: click.Parameter, path: Path | None) -> Path | None:
    """Return a path in a folder that exists; the measurement, which takes long, comes before the file is written."""
    if path is not None and not path.parent.is_dir():
        raise click.BadParameter(f"There is no folder {path.parent}.")
    return path


@click.group(epilog="Example: crdbvec index status -t article")
def command() -> None:
    """Show the vector index, build it, and tune the search effort."""


command.add_command(explain)
command.add_command(predict)


@command.command("status", epilog="Example: crdbvec index status -t article")
@column_options
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def status(selection: Selection, as_json: bool) -> None:
    """Show the state, the definition and the size of the index."""
    target = selection.resolve(also_second=True)
    with target.open() as databases:
        target = target.present(databases)
        column = target.column
        bound = vectors_of(_open(databases.of(column), target))
        index = VectorIndex(bound)
        existing = index.existing()
        definition = existing.get(index.name)
        sizes = index.sizes()
        differences = index.differences()
        use = read_index_use(bound, 1) if definition is not None else None
        check = check_size(bound, index, definition) if definition is not None else None
        replacement = index.replacement
        state = replacement.state
    others = sorted(existing.keys() - {index.name, replacement.index})
    if as_json:
        print_json(
            {
                "index": index.name,
                "exists": definition is not None,
                "definition": asdict(definition) if definition else None,
                "differences": differences,
                "others": others,
                "replacement": {"index": replacement.index, "state": state} if state else None,
                "used_by": use.by_form if use else {},
                **asdict(sizes),
                "live": asdict(check) if check else None,
            }
        )
        return
    print_text(f"{column}: index {index.name} {'exists' if definition else 'does not exist'}")
    if definition is not None:
        print_text(f"  {definition.operator_class}, prefix {', '.join(definition.prefix) or 'none'}")
    print_text(
        f"  table with indexes: {_size_text(sizes.table_bytes)}"
        + (f"; index: {_size_text(sizes.index_bytes)}" if definition is not None else "")
        + f"; {sizes.vectors:,} vectors in full precision: {bytes_text(sizes.full_precision_bytes)}"
    )
    if check is not None:
        print_text(
            f"  live: {bytes_text(check.live_bytes)} in {check.live_records:,} records; predicted: "
            f"{bytes_text(check.predicted_bytes)} in {check.predicted_records:,.0f} records ({check.difference:+.1%})"
        )
    for form, is_used in use.by_form.items() if use else ():
        print_text(f"  {'used' if is_used else 'not used'} by {form}, according to the query plan")
    for note in use.notes if use else ():
        print_text(f"  {note}")
    if state is not None:
        print_text(f"  {replacement.description(state)}")
    for other in others:
        print_text(f"  another vector index over this column: {other}")
    if differences:
        print_text(
            f"  The index differs from the configuration ({'; '.join(differences)}). "
            "Run `crdbvec index build --replace`."
        )


@command.command("build", epilog="Example: crdbvec index build -t article --replace")
@column_options
@click.option("--replace", is_flag=True, help="Build an index in place of one that differs from the configuration.")
@click.option(
    "--min-recall",
    type=click.FloatRange(0, 1),
    help="With --replace: keep the old index if the recall of the new one is lower.",
)
@click.option("--text", "text_only", is_flag=True, help="Build the text index only.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def build(selection: Selection, replace: bool, min_recall: float | None, text_only: bool, as_json: bool) -> None:
    """Build the index if enough rows have a vector.

    The text index, if the configuration has one, is built after the vector index. Writers are not blocked during the
    build. With --replace, searches use the old vector index until the new one is built; its recall is measured before
    it takes the place of the old one. If the command is interrupted, run it again.
    """
    if text_only and replace:
        raise click.UsageError("--text builds the text index only and cannot be combined with --replace.")
    if min_recall is not None and not replace:
        raise click.UsageError("--min-recall requires --replace.")
    measured: list[RecallCurve] = []
    text: dict[str, object] = {}
    target = selection.resolve(also_second=True)
    with target.open() as databases, progress_bar() as bar:
        target = target.present(databases)
        column = target.column
        database = databases.of(column)
        bound = _open(database, target)
        warning = unsupported_options(database.dialect, column)
        built, name = False, None
        if not text_only:
            task = bar.add_task(f"building the index over {column.output}", total=1.0)
            built = build_when_covered(
                bound,
                replace=replace,
                on_progress=lambda share: bar.update(task, completed=share),
                min_recall=min_recall,
                on_measured=measured.append,
            )
            name = VectorIndex(vectors_of(bound)).name
        if text_only or column.text_index is not None:
            is_text_built = build_text_index_when_covered(bound)
            text = {"text_index": TextIndex(bound).name, "text_index_built": is_text_built}
    if warning and not text_only:
        print_info(warning)
    if as_json:
        recall = {"replaced": bool(measured), "recall": _recall(measured)}
        print_json({"index": name, "built": built, **recall, **text})
        return
    for curve in measured:
        print_text(_replacement_text(curve))
    for index, is_built in ((name, built), (text.get("text_index"), text.get("text_index_built"))):
        if index is not None:
            print_text(f"The index {index} {'has been built' if is_built else 'is up to date'}.")


@command.command("tune", epilog="Example: crdbvec index tune -t article --plot recall.png")
@column_options
@click.option(
    "-q", "--queries", type=click.IntRange(1), default=DEFAULT_QUERIES, show_default=True, help="Number of queries."
)
@click.option(
    "-k", "k", type=click.IntRange(1), default=DEFAULT_K, show_default=True, help="Nearest rows to compare per query."
)
@click.option(
    "--plot",
    "plot_file",
    type=click.Path(path_type=Path, dir_okay=False),
    callback=_new_file,
    help="Write a plot of recall to this PNG file.",
)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def tune(selection: Selection, queries: int, k: int, plot_file: Path | None, as_json: bool) -> None:
    """Measure recall and latency of the index at several efforts.

    The queries are midpoints between rows of the table.
    """
    target = selection.resolve(also_second=True)
    with target.open() as databases:
        column = target.present(databases).column
        encoder = target.registry.encoder_of(column)
        target_recall = (column.index or IndexSpec()).wanted_recall
        bound = open_existing_column(databases.of(column), column, encoder)
        index = VectorIndex(vectors_of(bound))
        has_index = index.name in index.existing()
        curve = measure_recall(bound, queries=queries, k=k)
    smallest = curve.smallest_effort_with_recall(target_recall)
    if plot_file is not None:
        plot_file.write_bytes(recall_plot(curve, str(column), target_recall))
    if as_json:
        smallest_effort = smallest.effort if smallest else None
        print_json({**asdict(curve), "target_recall": target_recall, "smallest_effort": smallest_effort})
        return
    header = [curve.setting, f"recall at {k}", "worst query", "p50 ms", "p95 ms"]
    rows = [
        [
            str(each.effort),
            f"{each.recall:.4f}",
            f"{each.worst_recall:.2f}",
            f"{each.p50_ms:,.2f}",
            f"{each.p95_ms:,.2f}",
        ]
        for each in curve.measurements
    ]
    print_table(header, rows)
    print_text(_conclusion(curve, target_recall, has_index=has_index))


def _conclusion(curve: RecallCurve, target_recall: float, *, has_index: bool) -> str:
    """Return what the measurements mean; those of exact scans say nothing about the index."""
    exact = f"an exact scan takes {curve.exact_p50_ms:,.1f} ms"
    if not has_index:
        return f"There is no vector index; {exact}. Run `crdbvec index build` to build it."
    without_index = [str(each.effort) for each in curve.measurements if not each.used_index]
    if len(without_index) == len(curve.measurements):
        return (
            f"The server did not use the index for every query, whatever the value of {curve.setting}: it compares all "
            f"rows of a small table, because that is faster; {exact}. The values above are not those of the index. "
            "Run `crdbvec search --explain` for a query plan."
        )
    sentences = []
    if without_index:
        sentences.append(
            f"At {curve.setting} {', '.join(without_index)} the server did not use the index for every query. "
            "Run `crdbvec search --explain` for a query plan."
        )
    smallest = curve.smallest_effort_with_recall(target_recall)
    sentences.append(
        f"{curve.setting} {smallest.effort} is the smallest value that reaches the target recall of {target_recall:g}; "
        f"{exact}."
        if smallest
        else f"No measured value of {curve.setting} reaches the target recall of {target_recall:g} with the index."
    )
    return "\n".join(sentences)


def _replacement_text(curve: RecallCurve) -> str:
    recall = _recall([curve])
    if recall is None:
        return "The recall of the new index was not measured, because the server did not use it for all searches."
    return f"The recall at {curve.k} of the new index is {recall:.3f} ({curve.queries} queries)."


def _recall(measured: list[RecallCurve]) -> float | None:
    """Return the recall of the index that took the place of another one; None if the server did not use it."""
    values = [curve.measurements[0].recall for curve in measured if curve.measurements[0].used_index]
    return values[-1] if values else None


def _size_text(size: int | None) -> str:
    return "unknown size" if size is None else bytes_text(size)


def _open(database: Database, target: Target) -> BoundColumn:
    column = target.column
    return open_column(
        database.with_quality_of_service(column.quality_of_service), column, target.registry.encoder_of(column)
    )
