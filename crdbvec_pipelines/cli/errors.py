"""`crdbvec errors list` and `crdbvec errors retry`: the failed rows."""

from dataclasses import asdict

import click

from crdbvec_pipelines.cli.databases import Databases
from crdbvec_pipelines.cli.output import print_json, print_table, print_text
from crdbvec_pipelines.cli.target import Selection, Target, column_names, column_options
from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.column import BoundColumn, bind_column
from crdbvec_pipelines.database.rows.row_errors import RowErrors
from crdbvec_pipelines.database.schema.prepare import is_prepared
from crdbvec_pipelines.encoding.reasons import reason_in
from crdbvec_pipelines.value_text import key_text


@click.group(epilog="Example: crdbvec errors list -l 10")
def command() -> None:
    """List failed rows, or release them for another attempt."""


@command.command("list", epilog="Example: crdbvec errors list -t article")
@column_options
@click.option("-l", "--limit", type=click.IntRange(1), default=50, show_default=True, help="Rows to list per column.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def list_errors(
    selection: Selection,
    limit: int,
    as_json: bool,
) -> None:
    """List the failed rows.

    Prints key, status, attempts, next retry and reason of each row. The input of a failed row is not stored.
    """
    target = selection.resolve(also_second=True)
    found = []
    with target.open() as databases:
        target = target.present(databases, with_second=True)
        for column in target.columns:
            bound = _bind(databases, target, column)
            if is_prepared(bound):
                found += [(column, error) for error in RowErrors(bound).list(limit)]
    if as_json:
        print_json(
            [
                {
                    **column_names(column),
                    **asdict(error),
                    "reason": reason_in(error.message),
                }
                for column, error in found
            ]
        )
        return
    if not found:
        print_text("No rows have failed.")
        return
    rows = [
        [
            str(column),
            key_text(error.key),
            error.status,
            str(error.attempts),
            error.next_retry_at.strftime("%Y-%m-%d %H:%M:%S"),
            error.message,
        ]
        for column, error in found
    ]
    print_table(["column", "key", "status", "attempts", "next retry (UTC)", "reason"], rows)


@command.command("retry", epilog="Example: crdbvec errors retry -t article -k 42")
@column_options
@click.option("-k", "--key", multiple=True, help="Release only the row with this key; repeat -k for each key column.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def retry(
    selection: Selection,
    key: tuple[str, ...],
    as_json: bool,
) -> None:
    """Release failed rows for another attempt.

    The next refresh or follow tick tries them again without waiting for their next retry time.
    """
    target = selection.resolve(also_second=True)
    released = 0
    with target.open() as databases:
        target = target.present(databases, with_second=True)
        for column in target.columns:
            bound = _bind(databases, target, column)
            if key and len(key) != len(bound.table.key):
                names = ", ".join(part.name for part in bound.table.key)
                raise click.UsageError(f"The key of {column.table} is ({names}). Give -k once for each column.")
            if is_prepared(bound):
                released += RowErrors(bound).retry(key or None)
    if as_json:
        print_json({"released": released})
    else:
        print_text(f"{released:,} failed rows released; the next refresh tries them again.")


def _bind(databases: Databases, target: Target, column: VectorColumn) -> BoundColumn:
    """Bind a column without a call to its model: the failed rows can be listed while a model server is unavailable."""
    return bind_column(databases.of(column), column, target.registry.encoder_of(column))
