"""`crdbvec status`: the row counts of each vector column. Changes nothing."""

import click
from rich.console import Console
from rich.table import Table

from crdbvec_pipelines.cli.output import print_json
from crdbvec_pipelines.cli.target import Selection, Target, column_options
from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.column import open_column
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.rows.counts import column_counts


@click.command()
@column_options
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def command(
    selection: Selection,
    as_json: bool,
) -> None:
    """Show the row counts of each vector column.

    Prints how many rows exist and how many are embedded, pending and failed. Changes nothing.
    """
    target = selection.resolve()
    with target.open() as database:
        columns = [_status(database, target, column) for column in target.columns]
    if as_json:
        print_json(columns)
        return
    output = Table("table", "output", "model", "rows", "embedded", "pending", "failed", box=None)
    for facts in columns:
        output.add_row(*(f"{value:,}" if isinstance(value, int) else str(value) for value in facts.values()))
    # Names may contain brackets and colons, which rich would interpret.
    Console(markup=False, emoji=False).print(output)


def _status(database: Database, target: Target, column: VectorColumn) -> dict[str, str | int]:
    counts = column_counts(open_column(database, column, target.registry.load(column.model)))
    return {
        "table": str(column.table),
        "output": column.output,
        "model": column.model,
        "rows": counts.rows,
        "embedded": counts.embedded,
        "pending": counts.pending,
        "failed": counts.failed,
    }
