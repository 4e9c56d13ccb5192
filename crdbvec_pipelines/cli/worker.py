"""`crdbvec worker`: a Celery worker that executes Dagster runs on this machine, after it has checked what they need."""

import os
import socket
import sys
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import click

from crdbvec_pipelines.cli.databases import Databases
from crdbvec_pipelines.cli.findings import caught, has_error, print_findings
from crdbvec_pipelines.cli.target import Selection, Target, model_options
from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.column import open_column
from crdbvec_pipelines.database.diagnosis.finding import Finding
from crdbvec_pipelines.errors import ConfigurationError

DEFINITIONS = "crdbvec_pipelines.definitions"
_DEFAULT_QUEUE = "dagster"


@click.command(epilog="Example: crdbvec worker --slots 2 --queue gpu")
@click.option("-q", "--queue", "queues", multiple=True, help=f"A queue to take runs from.  [default: {_DEFAULT_QUEUE}]")
@click.option("-s", "--slots", type=click.IntRange(1, 64), default=1, show_default=True, help="Runs at the same time.")
@click.option("-n", "--name", help="The name of the worker.  [default: crdbvec@<host name>]")
@click.option(
    "-m", "--module", default=DEFINITIONS, show_default=True, help="The module of the code location, with `defs`."
)
@click.option("--check", "only_checks", is_flag=True, help="Print what was checked, and take no runs.")
@click.option("--json", "as_json", is_flag=True, help="With --check: print as JSON.")
@model_options
@click.pass_context
def command(
    context: click.Context,
    queues: tuple[str, ...],
    slots: int,
    name: str | None,
    module: str,
    only_checks: bool,
    as_json: bool,
    config_path: Path | None,
) -> None:
    """Run a Celery worker that executes Dagster runs on this machine.

    First checks Dagster's storage, the versions, the broker, the code location, the database and the models, and takes
    no run if something prevents work (exit code 2). SIGTERM ends the worker after its runs in progress.
    """
    if find_spec("dagster_celery") is None:
        raise ConfigurationError("dagster-celery is not installed. Install crdbvec-pipelines[celery].")
    worker = name if name and "@" in name else f"{name or 'crdbvec'}@{socket.gethostname()}"
    findings = [*_findings(module, worker, slots, config_path)]
    failed = has_error(findings)
    if only_checks or failed:
        print_findings(findings, as_json=as_json)
        context.exit(2 if failed else 0)
    print_findings([finding for finding in findings if finding.level != "ok"], as_json=False)
    _become_worker(worker, slots, queues or (_DEFAULT_QUEUE,))


def _findings(module: str, worker: str, slots: int, config_path: Path | None) -> Iterator[Finding]:
    # Imported here, because Dagster and Celery take a second.
    from crdbvec_pipelines.orchestration.celery.readiness import code_location_finding, instance_findings

    yield from instance_findings(worker, slots)
    yield code_location_finding(module)
    if module != DEFINITIONS:
        yield Finding(
            "warning", "database", None, "Databases and models of another code location are not checked before a run."
        )
        return
    yield from caught("configuration", None, partial(_target_findings, config_path))


def _target_findings(config_path: Path | None) -> Iterator[Finding]:
    target = Selection(config_path).resolve()
    with target.open() as databases:
        for column in target.columns:
            yield from caught("model", str(column), partial(_model, target, column))
            yield from caught("table", str(column), partial(_table, databases, target, column))


def _model(target: Target, column: VectorColumn) -> Iterator[Finding]:
    target.registry.encoder_of(column).load()
    yield Finding("ok", "model", str(column), f"The model {column.model} can be used.")


def _table(databases: Databases, target: Target, column: VectorColumn) -> Iterator[Finding]:
    database = databases.of(column)
    open_column(database, column, target.registry.encoder_of(column))
    message = f"The table in the database {database.name} has the input and can hold the vectors."
    yield Finding("ok", "table", str(column), message)


def _become_worker(worker: str, slots: int, queues: tuple[str, ...]) -> None:
    """Replace this process by Celery's worker, so that nothing of the checks, such as a model, is left in its children.

    The pool has processes: with one thread, a worker that executes a run could not answer the launcher.
    """
    options = [
        "--pool=prefork",
        f"--concurrency={slots}",
        f"--hostname={worker}",
        f"--queues={','.join(queues)}",
        "--loglevel=INFO",
        "--without-gossip",
        "--without-mingle",
    ]
    sys.stdout.flush()
    app = "crdbvec_pipelines.orchestration.celery.app:app"
    os.execv(sys.executable, [sys.executable, "-m", "celery", "-A", app, "worker", *options])  # noqa: S606
