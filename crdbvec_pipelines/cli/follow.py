"""`crdbvec embed --follow`: a warm process that follows, stopped by Ctrl-C or SIGTERM after the batch in hand."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

import click

from crdbvec_pipelines.cli.target import Target
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.rows import VectorRows
from crdbvec_pipelines.database.schema import ensure_schema
from crdbvec_pipelines.follower import Followed, Follower
from crdbvec_pipelines.following import Round
from crdbvec_pipelines.refresh import BatchDone, RefreshReport

if TYPE_CHECKING:
    from crdbvec_pipelines.orchestration.reporting import MaterializationReporter

Reporters = dict[str, "MaterializationReporter"]


def follow_target(
    target: Target, max_idle: float | None, on_batch: Callable[[BatchDone], None] | None
) -> RefreshReport:
    """Follows all columns of a target until stopped or idle for `max_idle` seconds; returns what was done in all."""
    with stopped_by_signals() as stop, target.open() as database, _reporters(target) as reporters:
        columns = [_followed(database, target, position, reporters) for position in range(len(target.columns))]

        def on_round(followed: Followed, done: Round) -> None:
            reporter = reporters.get(str(followed.spec))
            if reporter is not None and reporter.add(done):
                # A table's tail is cut further as it grows.
                followed.ranges = reporter.ranges()

        names = ", ".join(map(str, target.columns))
        click.echo(f"Following {names}; Ctrl-C stops after the batch in hand.", err=True)
        return Follower(columns, stop=stop, max_idle=max_idle, on_batch=on_batch, on_round=on_round).run()


@contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set, instead of ending the process in the middle of something."""
    stop = threading.Event()

    def handle(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    earlier = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def _followed(database: Database, target: Target, position: int, reporters: Reporters) -> Followed:
    column = target.columns[position]
    encoder = target.registry.load(column.model)
    table = ensure_schema(database, column, encoder.dim, encoder.model_id)
    encoder.warm_up()
    reporter = reporters.get(str(column))
    rows = VectorRows(database, table, column, encoder.model_id)
    return Followed(rows, encoder, reporter.ranges() if reporter else ())


@contextmanager
def _reporters(target: Target) -> Iterator[Reporters]:
    """One reporter for each column that Dagster knows: with a configuration file, and where DAGSTER_HOME is set."""
    if target.config is None or not os.environ.get("DAGSTER_HOME"):
        yield {}
        return
    # Imported here, since a follower without Dagster should start without it.
    import dagster as dg

    from crdbvec_pipelines.orchestration.names import names_of
    from crdbvec_pipelines.orchestration.reporting import MaterializationReporter

    names = names_of(target.config)
    with dg.DagsterInstance.get() as instance:
        reporters = {
            str(column): MaterializationReporter(instance, column, names[str(column)])
            for column in target.columns
            if str(column) in names
        }
        try:
            yield reporters
        finally:
            for reporter in reporters.values():
                reporter.flush()
