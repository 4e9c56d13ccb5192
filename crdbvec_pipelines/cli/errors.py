"""`crdbvec errors list` and `crdbvec errors retry`: the rows that could not be embedded."""

from dataclasses import asdict

import click
from rich.console import Console
from rich.table import Table

from crdbvec_pipelines.cli.output import key_text, print_json
from crdbvec_pipelines.cli.target import Selection, column_options
from crdbvec_pipelines.database.introspect import read_table
from crdbvec_pipelines.database.row_errors import RowErrors
from crdbvec_pipelines.database.schema import is_prepared


@click.group()
def command() -> None:
    """List the rows that could not be embedded, and release them for another try."""


@command.command("list")
@column_options
@click.option("-l", "--limit", type=click.IntRange(1), default=50, show_default=True, help="Rows to show of a column.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def list_errors(
    selection: Selection,
    limit: int,
    as_json: bool,
) -> None:
    """List the rows that failed: key, class, attempts, next try and reason. Their text is not kept."""
    target = selection.resolve()
    found = []
    with target.open() as database:
        for column in target.columns:
            known = read_table(database, column.table)
            if is_prepared(database, known, column):
                found += [(column, error) for error in RowErrors(database, known, column).list(limit)]
    if as_json:
        print_json([{"table": str(column.table), "output": column.output, **asdict(error)} for column, error in found])
        return
    if not found:
        click.echo("No rows have failed.")
        return
    shown = Table("column", "key", "class", "attempts", "next try (UTC)", "reason", box=None)
    for column, error in found:
        next_try = error.next_try.strftime("%Y-%m-%d %H:%M:%S")
        shown.add_row(str(column), key_text(error.key), error.error_class, str(error.attempts), next_try, error.message)
    Console().print(shown)


@command.command("retry")
@column_options
@click.option("-k", "--key", multiple=True, help="Only the row with this key; once for each column of the key.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def retry(
    selection: Selection,
    key: tuple[str, ...],
    as_json: bool,
) -> None:
    """Make failed rows due at once; the next refresh or follow tick tries them again."""
    target = selection.resolve()
    released = 0
    with target.open() as database:
        for column in target.columns:
            known = read_table(database, column.table)
            if key and len(key) != len(known.key):
                names = ", ".join(part.name for part in known.key)
                raise click.UsageError(f"The key of {column.table} is ({names}); give -k once for each of them.")
            if is_prepared(database, known, column):
                released += RowErrors(database, known, column).retry(key or None)
    if as_json:
        print_json({"released": released})
    else:
        click.echo(f"{released:,} failed rows are due now.")
