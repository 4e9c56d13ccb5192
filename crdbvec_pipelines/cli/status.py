"""`crdbvec status`: how complete each vector column is. Changes nothing."""

import click
from rich.console import Console
from rich.table import Table

from crdbvec_pipelines.cli.output import print_json
from crdbvec_pipelines.cli.target import Selection, Target, column_options
from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.status import column_counts


@click.command()
@column_options
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def command(
    selection: Selection,
    as_json: bool,
) -> None:
    """Show how complete the vector columns are."""
    target = selection.resolve()
    with target.open() as database:
        columns = [_status(database, target, column) for column in target.columns]
    if as_json:
        print_json(columns)
        return
    shown = Table("table", "output", "model", "rows", "embedded", "pending", "failed", box=None)
    for facts in columns:
        shown.add_row(*(f"{value:,}" if isinstance(value, int) else str(value) for value in facts.values()))
    # Names are shown as they are, brackets and colons included.
    Console(markup=False, emoji=False).print(shown)


def _status(database: Database, target: Target, column: VectorColumn) -> dict[str, str | int]:
    encoder = target.registry.load(column.model)
    counts = column_counts(database, column, encoder.dim, encoder.model_id)
    return {
        "table": str(column.table),
        "output": column.output,
        "model": column.model,
        "rows": counts.rows,
        "embedded": counts.embedded,
        "pending": counts.pending,
        "failed": counts.failed,
    }
