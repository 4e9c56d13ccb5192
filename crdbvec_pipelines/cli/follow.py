"""`crdbvec embed --follow`: a process that keeps the model loaded and embeds new rows until Ctrl-C or SIGTERM."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import click

from crdbvec_pipelines.cli.databases import Databases
from crdbvec_pipelines.cli.signals import stop_event
from crdbvec_pipelines.cli.target import Target
from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.rows.row_errors import ErrorCounts
from crdbvec_pipelines.database.rows.vector_rows import VectorRows
from crdbvec_pipelines.database.schema.prepare import prepare_column
from crdbvec_pipelines.keyspace import KeyRange
from crdbvec_pipelines.refresh.follower import FollowedColumn, Follower
from crdbvec_pipelines.refresh.report import RefreshReport, WrittenBatch
from crdbvec_pipelines.refresh.rounds import RoundResult
from crdbvec_pipelines.telemetry.exporter import Exporter, metrics_host
from crdbvec_pipelines.telemetry.tracing import tracing

if TYPE_CHECKING:
    from crdbvec_pipelines.orchestration.instance.reporting import MaterializationReporter

Reporters = dict[str, "MaterializationReporter"]


def follow_target(
    target: Target,
    max_idle: float | None,
    on_batch: Callable[[WrittenBatch], None],
    metrics_port: int | None = None,
) -> tuple[RefreshReport, list[ErrorCounts], float | None]:
    """Follow all columns of a target until stopped or idle for `max_idle` seconds.

    Args:
        target: The columns.
        max_idle: Seconds without work after which it ends; None for no limit.
        on_batch: Called after each written batch.
        metrics_port: The port for Prometheus; None without one.

    Returns:
        The total, for each column the failed rows that are recorded, those of earlier runs included, and the price of
        the tokens if that is known.
    """
    with target.open() as databases, _reporters(target) as reporters:

        def reload(followed: Sequence[FollowedColumn]) -> Sequence[FollowedColumn]:
            """Return the columns that the entries stand for now; those that are followed already stay as they are."""
            known = {_identity(each.spec): each for each in followed}
            present = target.present(databases, with_second=True).columns
            if followed and known.keys() == set(map(_identity, present)):
                return followed
            return [
                known.get(_identity(each)) or _open_followed(databases, target, each, reporters) for each in present
            ]

        columns = reload(())
        exporter = None if metrics_port is None else Exporter(columns, metrics_host(), metrics_port)

        costs: list[float] = []

        def on_round(followed: FollowedColumn, done: RoundResult) -> None:
            if (cost := followed.spec.price_of(done.report.tokens_encoded)) is not None:
                costs[:] = [sum(costs, cost)]
            if exporter is not None:
                exporter.metrics.add_report(followed.spec, done.report)
            reporter = reporters.get(str(followed.spec))
            if reporter is not None and reporter.add(done):
                # The last partition is split as the table grows.
                followed.ranges = reporter.ranges()

        names = ", ".join(str(each.spec) for each in columns)
        click.echo(f"Following {names}. Ctrl-C stops after the current batch.", err=True)
        with stop_event() as stop, exporter or nullcontext(), tracing():
            follower = Follower(
                columns, stop=stop, max_idle=max_idle, on_batch=on_batch, on_round=on_round, reload=reload
            )
            report = follower.run()
        return report, [followed.rows.errors.count() for followed in follower.columns], sum(costs) if costs else None


def _identity(column: VectorColumn) -> tuple[str | None, str, str]:
    return column.database, str(column), column.model


def _open_followed(databases: Databases, target: Target, column: VectorColumn, reporters: Reporters) -> FollowedColumn:
    database = databases.of(column)
    encoder = target.registry.encoder_of(column)
    reporter = reporters.get(str(column))

    def prepare() -> tuple[VectorRows, Sequence[KeyRange]]:
        prepared = prepare_column(database, column, encoder)
        if reporter is None:
            return VectorRows(prepared), ()
        reporter.follow(prepared)
        return VectorRows(prepared), reporter.ranges()

    rows, ranges = prepare()
    encoder.load()
    return FollowedColumn(rows, encoder, ranges, prepare)


@contextmanager
def _reporters(target: Target) -> Iterator[Reporters]:
    """Yield a reporter for each column of the configuration file if DAGSTER_HOME is set, otherwise none."""
    if target.config is None or not os.environ.get("DAGSTER_HOME"):
        yield {}
        return
    # Imported here, because importing Dagster takes seconds and most followers do not need it.
    import dagster as dg

    from crdbvec_pipelines.orchestration.asset_names import asset_names
    from crdbvec_pipelines.orchestration.instance.reporting import MaterializationReporter

    names = asset_names(target.config)
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
