"""`crdbvec status`: the row counts of each vector column. Changes nothing."""

from collections.abc import Iterator
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from crdbvec_pipelines.cli.output import failed_text, output_stream, print_info, print_json, print_text, share_text
from crdbvec_pipelines.cli.target import Selection, Target, column_options
from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.column import open_column
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.rows.counts import column_counts
from crdbvec_pipelines.keyspace import KeyRange
from crdbvec_pipelines.refresh.input_sample import sample_column

_SHOWN = ("table", "output", "model", "rows", "embedded", "pending", "failed")


@click.command()
@column_options
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def command(
    selection: Selection,
    as_json: bool,
) -> None:
    """Show the row counts of each vector column.

    Prints how many rows exist, and how many are embedded, pending, failed, and deferred after a failure. A sample shows
    which share of the embedded texts the model truncates or cannot read. Changes nothing.
    """
    target = selection.resolve()
    with target.open() as database:
        columns = [_status(database, target, column) for column in target.columns]
        has_follower_reads = database.dialect.vectors.follower_read_clause is not None
    if as_json:
        print_json(columns)
        return
    if has_follower_reads:
        print_info("The numbers are those of a few seconds ago (follower read).")
    output = Table(*_SHOWN, box=None)
    for facts in columns:
        shown = (facts[name] for name in _SHOWN)
        output.add_row(*(f"{value:,}" if isinstance(value, int) else str(value) for value in shown))
    # Names may contain brackets and colons, which rich would interpret.
    Console(markup=False, emoji=False, file=output_stream()).print(output)
    for facts in columns:
        for note in _notes(facts):
            print_text(note)


def _notes(facts: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong with a vector column although its rows are embedded or not pending."""
    name = f"{facts['table']}.{facts['output']}"
    if facts["failed"]:
        yield f"{name}: {failed_text(facts['failed'], facts['deferred'])}."
    for fault in ("truncated", "unreadable"):
        if facts[fault]:
            yield f"{name}: {share_text(facts[fault])} of the texts are {fault} ({facts['sampled']:,} sampled)."


def _status(database: Database, target: Target, column: VectorColumn) -> dict[str, Any]:
    encoder = target.registry.load(column.model)
    bound = open_column(database.with_quality_of_service(column.quality_of_service), column, encoder)
    counts = column_counts(bound, "follower_read")
    sample = sample_column(bound, encoder, [KeyRange()]) if counts.embedded else None
    return {
        "table": str(column.table),
        "output": column.output,
        "model": column.model,
        "rows": counts.rows,
        "embedded": counts.embedded,
        "pending": counts.pending,
        "failed": counts.failed,
        "deferred": counts.deferred,
        "truncated": sample.truncated if sample else None,
        "unreadable": sample.unreadable if sample else None,
        "sampled": sample.rows if sample else 0,
    }
