"""`crdbvec status`: how complete each vector column is. Changes nothing."""

from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from crdbvec_pipelines.cli.output import print_json
from crdbvec_pipelines.cli.target import Target, column_options, resolve
from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.status import column_counts


@click.command()
@column_options
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def command(
    config_path: Path | None,
    url: str | None,
    table: str | None,
    input_columns: tuple[str, ...],
    output: str | None,
    model: str | None,
    as_json: bool,
) -> None:
    """Show how complete the vector columns are."""
    target = resolve(config_path, url, table, input_columns, output, model)
    with target.open() as database:
        columns = [_status(database, target, column) for column in target.columns]
    if as_json:
        print_json(columns)
        return
    shown = Table("table", "output", "model", "rows", "embedded", "pending", "failed", box=None)
    for facts in columns:
        shown.add_row(*(f"{value:,}" if isinstance(value, int) else str(value) for value in facts.values()))
    Console().print(shown)


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
        "failed": 0,
    }
