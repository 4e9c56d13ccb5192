"""`crdbvec index status` and `tune`: the vector index. `build`, `predict` and `explain` have modules of their own."""

from dataclasses import asdict
from pathlib import Path

import click

from crdbvec_pipelines.cli.index_build import build, open_unprepared
from crdbvec_pipelines.cli.index_explain import explain
from crdbvec_pipelines.cli.index_predict import predict
from crdbvec_pipelines.cli.output import bytes_text, print_json, print_table, print_text
from crdbvec_pipelines.cli.target import Selection, column_options
from crdbvec_pipelines.config import IndexSpec
from crdbvec_pipelines.database.chunks.table import vectors_of
from crdbvec_pipelines.database.column import open_existing_column
from crdbvec_pipelines.database.index.vector_index import VectorIndex
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


command.add_command(build)
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
        bound = vectors_of(open_unprepared(databases.of(column), target, column))
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


def _size_text(size: int | None) -> str:
    return "unknown size" if size is None else bytes_text(size)
