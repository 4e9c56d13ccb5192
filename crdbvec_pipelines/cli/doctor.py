"""`crdbvec doctor`: what prevents or limits the work with these vector columns, and what to do. Changes nothing."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import click

from crdbvec_pipelines.cli.findings import caught, failed, has_error, print_findings
from crdbvec_pipelines.cli.target import Selection, Target, column_options
from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.column import open_column
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.diagnosis.finding import Finding
from crdbvec_pipelines.database.diagnosis.server import server_findings
from crdbvec_pipelines.database.diagnosis.table import table_findings
from crdbvec_pipelines.database.dialects import CockroachDialect
from crdbvec_pipelines.database.errors import SharedSessions
from crdbvec_pipelines.database.schema.migrations import present_column
from crdbvec_pipelines.errors import CrdbvecError
from crdbvec_pipelines.orchestration.instance.storage import URL_VARIABLE

HOME_VARIABLE = "DAGSTER_HOME"


@click.command(epilog="Example: crdbvec doctor -t article")
@column_options
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_context
def command(context: click.Context, selection: Selection, as_json: bool) -> None:
    """Check what the commands need, and say what to do.

    Checks the connection, the server, a pooler in between, privileges, types, triggers, policies, indexes, clocks and
    Dagster's storage. Changes nothing. The exit code is 2 if something prevents work, otherwise 0.
    """
    target = selection.resolve()
    findings = [*_databases(target), *_dagster()]
    print_findings(findings, as_json=as_json)
    context.exit(2 if has_error(findings) else 0)


def _databases(target: Target) -> Iterator[Finding]:
    with target.open() as databases:
        for name in dict.fromkeys(column.database for column in target.columns):
            columns = [column for column in target.columns if column.database == name]
            try:
                database = databases.of(columns[0])
            except CrdbvecError as error:
                yield failed("pooler" if isinstance(error, SharedSessions) else "connection", name, error)
                continue
            yield from caught("server", name, partial(server_findings, database))
            for column in columns:
                yield from caught("table", str(column), partial(_column, database, target, column))


def _column(database: Database, target: Target, column: VectorColumn) -> Iterator[Finding]:
    present = present_column(database, column)
    yield from table_findings(open_column(database, present, target.registry.encoder_of(present)))


def _dagster() -> Iterator[Finding]:
    home = os.environ.get(HOME_VARIABLE)
    if home and not (Path(home) / "dagster.yaml").is_file():
        yield Finding(
            "warning",
            "dagster",
            None,
            f"{HOME_VARIABLE} names a folder without dagster.yaml, so Dagster keeps its data in SQLite files there.",
            "Copy dagster.yaml of this project into it.",
        )
    url = os.environ.get(URL_VARIABLE)
    if not url:
        yield Finding(
            "ok",
            "dagster",
            None,
            f"{URL_VARIABLE} is not set: Dagster runs keep their data in the embedded PostgreSQL of the working "
            "directory.",
            f"Set {URL_VARIABLE} in production.",
        )
        return
    try:
        with Database(url, max_connections=1, attempts=1) as storage:
            if isinstance(storage.dialect, CockroachDialect):
                yield Finding(
                    "error",
                    "dagster",
                    None,
                    f"{URL_VARIABLE} names a CockroachDB database, on which Dagster's event log does not work.",
                    "Set it to a PostgreSQL database.",
                )
                return
            yield Finding("ok", "dagster", None, f"Dagster's storage is the database {storage.name}.")
    except CrdbvecError as error:
        yield Finding("error", "dagster", None, f"Dagster's storage at {URL_VARIABLE} cannot be used. {error}")
