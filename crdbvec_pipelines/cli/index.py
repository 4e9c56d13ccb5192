"""`crdbvec index status`, `build` and `tune`: the vector index from the command line."""

from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from crdbvec_pipelines.cli.output import bytes_text, print_json, say
from crdbvec_pipelines.cli.target import Selection, Target, column_options
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.metrics import metric_of
from crdbvec_pipelines.database.vector_index import VectorIndex, left_out
from crdbvec_pipelines.indexing import build_when_covered, open_index
from crdbvec_pipelines.recall import QUERIES, K, RecallCurve, measure_recall, picture
from crdbvec_pipelines.search import Searcher


@click.group()
def command() -> None:
    """Show, build and tune the vector index."""


@command.command("status")
@column_options
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def status(selection: Selection, as_json: bool) -> None:
    """Show the index: whether it is there and as asked, and how large it is."""
    target = selection.resolve()
    column = target.column
    with target.open() as database:
        index = _index(database, target)
        existing = index.existing().get(index.name)
        sizes = index.sizes()
        differences = index.differences()
        others = sorted(set(index.existing()) - {index.name})
        facts = {
            "index": index.name,
            "exists": existing is not None,
            "definition": asdict(existing) if existing else None,
            "differences": differences,
            "others": others,
            "vectors": sizes.vectors,
            "table_bytes": sizes.table,
            "index_bytes": sizes.index,
            "full_precision_bytes": sizes.full_precision,
        }
    if as_json:
        print_json(facts)
        return
    click.echo(f"{column}: index {index.name} {'exists' if existing else 'does not exist'}")
    if existing is not None:
        click.echo(f"  {existing.operator_class}, prefix {', '.join(existing.prefix) or 'none'}")
    click.echo(
        f"  table {_size_text(sizes.table)} in all"
        + (f", of which index {_size_text(sizes.index)}" if existing is not None else "")
        + f"; {sizes.vectors:,} vectors in full precision take {bytes_text(sizes.full_precision)}"
    )
    for other in others:
        click.echo(f"  there is also the vector index {other} over this column")
    for difference in differences:
        click.echo(f"  not as asked: {difference}; crdbvec index build --replace builds it anew")


@command.command("build")
@column_options
@click.option("--replace", is_flag=True, help="Drop an index that differs from what is asked, and build anew.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def build(selection: Selection, replace: bool, as_json: bool) -> None:
    """Build the index, once enough rows have a vector. Writers go on meanwhile."""
    target = selection.resolve()
    column = target.column
    encoder = target.registry.load(column.model)
    with target.open() as database, _bar(f"building {column.output}") as bar:
        task = bar.add_task("", total=1.0)
        sentence = left_out(database.dialect, column)
        built = build_when_covered(
            database, column, encoder, replace=replace, on_progress=lambda share: bar.update(task, completed=share)
        )
        name = _index(database, target).name
    if sentence:
        say(sentence)
    if as_json:
        print_json({"index": name, "built": built})
    else:
        click.echo(f"The index {name} {'is built' if built else 'was there already, as asked'}.")


@command.command("tune")
@column_options
@click.option("-q", "--queries", type=click.IntRange(1), default=QUERIES, show_default=True, help="Rows to sample.")
@click.option("-k", "k", type=click.IntRange(1), default=K, show_default=True, help="Nearest rows to compare.")
@click.option("--picture", "picture_file", type=click.Path(path_type=Path), help="Write the curve to this PNG file.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def tune(selection: Selection, queries: int, k: int, picture_file: Path | None, as_json: bool) -> None:
    """Measure recall and latency of the index at several efforts, on rows of the table itself."""
    target = selection.resolve()
    column = target.column
    encoder = target.registry.load(column.model)
    wanted = column.index.wanted_recall if column.index else 0.95
    with target.open() as database:
        table = Searcher(database, column, encoder).table
        curve = measure_recall(database, table, column, metric_of(column, encoder.metric), queries=queries, k=k)
    smallest = curve.smallest(wanted)
    if picture_file is not None:
        picture_file.write_bytes(picture(curve, str(column), wanted))
    if as_json:
        print_json({**asdict(curve), "wanted": wanted, "smallest": smallest.effort if smallest else None})
        return
    Console().print(_table(curve, k))
    without = ", ".join(str(each.effort) for each in curve.measurements if not each.by_index)
    if without:
        click.echo(f"At {without} the server did not answer every query by the index; see crdbvec search --explain.")
    click.echo(
        f"{curve.setting} {smallest.effort} is the smallest that reaches recall {wanted:g}; "
        f"an exact search takes {curve.exact_p50:,.1f} ms."
        if smallest
        else f"No {curve.setting} that was tried reaches recall {wanted:g}."
    )


def _size_text(size: int | None) -> str:
    return "of unknown size" if size is None else bytes_text(size)


def _index(database: Database, target: Target) -> VectorIndex:
    return open_index(database, target.column, target.registry.load(target.column.model))


def _bar(what: str) -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn(what),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )


def _table(curve: RecallCurve, k: int) -> Table:
    table = Table(curve.setting, f"recall at {k}", "worst query", "p50 ms", "p95 ms", box=None)
    for each in curve.measurements:
        table.add_row(
            str(each.effort), f"{each.recall:.4f}", f"{each.worst:.2f}", f"{each.p50:,.2f}", f"{each.p95:,.2f}"
        )
    return table
