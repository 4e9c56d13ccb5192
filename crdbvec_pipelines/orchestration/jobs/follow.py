"""The in-process job that embeds the rows that have become pending, wherever in the table they are."""

import time
from dataclasses import replace
from datetime import datetime

import dagster as dg
from pydantic import Field, field_validator

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.rows.vector_rows import VectorRows
from crdbvec_pipelines.database.schema.migrations import present_column
from crdbvec_pipelines.database.schema.prepare import prepare_column
from crdbvec_pipelines.encoding.registry import ModelRegistry
from crdbvec_pipelines.keyspace import parse_partition_key
from crdbvec_pipelines.orchestration.asset_names import AssetNames, run_tags
from crdbvec_pipelines.orchestration.assets.check_results import log_partition_checks
from crdbvec_pipelines.orchestration.assets.touched import TouchedPartitions
from crdbvec_pipelines.orchestration.failures import as_dagster_failures
from crdbvec_pipelines.orchestration.instance.connections import keep_connections_open
from crdbvec_pipelines.orchestration.partitions.sync import code_location, sync_partitions
from crdbvec_pipelines.orchestration.resources import database_of
from crdbvec_pipelines.orchestration.run_config import checked_at_launch
from crdbvec_pipelines.refresh.options import options_for
from crdbvec_pipelines.refresh.rounds import RoundResult, follow_round, passes_since
from crdbvec_pipelines.refresh.settling import Settling
from crdbvec_pipelines.telemetry.runs import run_metrics
from crdbvec_pipelines.telemetry.state import read_gauges
from crdbvec_pipelines.telemetry.tracing import traced_run

# The waits between two rounds that find nothing but locked rows.
_MIN_PAUSE_SECONDS, _MAX_PAUSE_SECONDS = 0.5, 10.0


class FollowConfig(dg.Config):
    """The configuration of a follow run."""

    edited_since: str | None = Field(
        default=None,
        description="Also embed rows updated since this time, such as 2027-01-31T12:00:00Z, according to the column "
        "`updated_at`; by default none.",
    )
    minutes: float = Field(
        default=10.0,
        gt=0,
        description="Start no further round after this many minutes; more than 0, by default 10.",
    )

    @field_validator("edited_since")
    @classmethod
    def _check_time(cls, text: str | None) -> str | None:
        if text is not None:
            datetime.fromisoformat(text)
        return text


def build_follow_job(spec: VectorColumn, names: AssetNames, registry: ModelRegistry) -> dg.JobDefinition:
    """Return the follow job of a vector column, which logs one materialization for each partition that it touched."""

    @dg.op(name=names.op("follow"), out=dg.Out(dg.Nothing), required_resource_keys={names.resource})
    def follow(context: dg.OpExecutionContext, config: FollowConfig) -> None:
        with (
            as_dagster_failures(),
            traced_run(spec, "follow", context.run_id),
            run_metrics(spec) as metrics,
        ):
            keep_connections_open(context.instance)
            database = database_of(context.resources, names.resource)
            present = present_column(database, spec)
            encoder = registry.encoder_of(present)
            encoder.load_in_background()
            column = prepare_column(database, present, encoder)
            rows = VectorRows(column)
            plan = sync_partitions(context.instance, column, names, code_location(context.run))
            partitions = TouchedPartitions(context.instance, names, column)
            ranges = [parse_partition_key(key, spec.table) for key in plan.keys]
            since = datetime.fromisoformat(config.edited_since) if config.edited_since else None
            deadline = time.monotonic() + config.minutes * 60

            def log(done: RoundResult) -> None:
                if metrics is not None:
                    metrics.add_report(spec, done.report)
                for event in partitions.materializations(done.report, done.touched):
                    context.log_event(event)
                if done.touched:
                    partitions.report_checks()
                context.log.info(
                    f"{done.report.rows_embedded:,} rows embedded in {len(done.touched)} partitions, "
                    f"{done.report.rows_failed:,} failed, {done.report.rows_per_second:,.0f} rows/s"
                )

            # All rounds share one cache, so that a row that is locked is not encoded again in each of them.
            options = replace(options_for(spec), passes=passes_since(since), settling=Settling())
            if metrics is not None:
                options = replace(options, on_batch=metrics.on_batch(spec))
            pause = _MIN_PAUSE_SECONDS
            while True:
                done = follow_round(rows, encoder, ranges, options, on_interrupted=log)
                if done.has_changed_rows or not done.report.rows_locked:
                    log(done)
                is_over = time.monotonic() > deadline
                if done.report.rows_locked and is_over:
                    context.log.warning(
                        f"{done.report.rows_locked:,} rows of {spec.table} are still pending because other "
                        "transactions have locked them."
                    )
                # A row that was edited since it was read, or whose update was discarded, is found by a further round.
                is_done = not (done.report.rows_embedded or done.report.rows_changed or done.report.rows_locked)
                if is_over or is_done:
                    break
                if done.has_changed_rows:
                    pause = _MIN_PAUSE_SECONDS
                else:
                    time.sleep(pause)
                    pause = min(2 * pause, _MAX_PAUSE_SECONDS)
            if metrics is not None:
                read_gauges(metrics, rows)
            # Dagster stores one result of a check per run and partition.
            for key, state in partitions.states.items():
                log_partition_checks(context, names, spec, key, state)
            if partitions.states:
                partitions.report_checks()

    @dg.job(
        name=names.job("follow"),
        description=f"Embeds the rows of {spec.table} that have become pending, wherever they are, in one process.",
        executor_def=dg.in_process_executor,
        tags=run_tags(spec, names),
    )
    def follow_job() -> None:
        checked_at_launch(follow, FollowConfig)()

    return follow_job
