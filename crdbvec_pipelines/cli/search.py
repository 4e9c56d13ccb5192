"""`crdbvec search`: the nearest rows, in the terminal."""

import click

from crdbvec_pipelines.cli.output import key_text, print_json, stderr
from crdbvec_pipelines.cli.target import Selection, column_options
from crdbvec_pipelines.database.introspect import read_table
from crdbvec_pipelines.search import Hit, search


@click.command()
@column_options
@click.argument("text")
@click.option("-l", "--limit", type=click.IntRange(1, 10_000), default=10, show_default=True, help="Rows to show.")
@click.option("-v", "--verbose", is_flag=True, help="Say what the table's key is.")
@click.option("--json", "as_json", is_flag=True, help="Print the hits as JSON.")
def command(
    selection: Selection,
    text: str,
    limit: int,
    verbose: bool,
    as_json: bool,
) -> None:
    """Find the rows whose input is nearest to TEXT."""
    target = selection.resolve()
    column = target.column
    with target.open() as database:
        if verbose:
            key = ", ".join(f"{part.name} ({part.cast})" for part in read_table(database, column.table).key)
            stderr.print(f"[INFO] PK: {key}", markup=False, highlight=False)
        (hits,) = search(database, column, target.registry.load(column.model), [text], limit=limit)
    if as_json:
        print_json([{"distance": hit.distance, "key": hit.key, "input": hit.input} for hit in hits])
        return
    for hit in hits:
        click.echo(f"\n{hit_text(hit)}")


def hit_text(hit: Hit) -> str:
    """A hit in two lines: distance and key, and the text."""
    shown = f"<{len(hit.input)} bytes>" if isinstance(hit.input, (bytes, memoryview)) else hit.input
    return f"{hit.distance} --> {key_text(hit.key.values())}\n{shown}"
