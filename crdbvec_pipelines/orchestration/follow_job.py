"""The in-process job that works through the rows that have become pending, wherever in the table they are."""

import time
from datetime import datetime

import dagster as dg
from pydantic import Field

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.encoding.registry import ModelRegistry
from crdbvec_pipelines.following import Round, follow_round, passes_since
from crdbvec_pipelines.keyspace import KeyRange, parse_partition_key, partition_key
from crdbvec_pipelines.orchestration.assets import open_rows
from crdbvec_pipelines.orchestration.failures import as_failures
from crdbvec_pipelines.orchestration.metadata import follow_metadata
from crdbvec_pipelines.orchestration.names import COLUMN_TAG, Names
from crdbvec_pipelines.orchestration.partitions import sync_partitions
from crdbvec_pipelines.orchestration.resources import CockroachResource


class FollowConfig(dg.Config):
    """What the sensor tells a follow run."""

    edited_since: str | None = Field(default=None, description="Also rows updated since (ISO 8601), by updated_at.")
    minutes: float = Field(default=10.0, gt=0, description="Begin no further round after so many minutes.")


def build_follow_job(spec: VectorColumn, names: Names, registry: ModelRegistry) -> dg.JobDefinition:
    """The follow job of a vector column: logs one materialization for each partition it touched."""

    @dg.op(name=names.op("follow"), out=dg.Out(dg.Nothing))
    def follow(context: dg.OpExecutionContext, config: FollowConfig, cockroach: CockroachResource) -> None:
        with as_failures():
            encoder = registry.load(spec.model)
            encoder.warm_up_aside()
            rows = open_rows(cockroach, spec, encoder)
            plan = sync_partitions(context.instance, cockroach.database, spec, names)
            ranges = [parse_partition_key(key, spec.table) for key in plan.keys]
            since = datetime.fromisoformat(config.edited_since) if config.edited_since else None
            deadline = time.monotonic() + config.minutes * 60

            def log(done: Round) -> None:
                for touched, count in done.touched.items():
                    log_materialization(context, spec, names, touched, follow_metadata(done.report, count))
                context.log.info(
                    f"{done.report.rows_embedded:,} rows embedded in {len(done.touched)} partitions, "
                    f"{done.report.rows_failed:,} failed, {done.report.rows_per_second:,.0f} rows/s"
                )

            while True:
                done = follow_round(
                    rows,
                    encoder,
                    ranges,
                    batch_size=spec.batch_size,
                    workers=spec.workers,
                    passes=passes_since(since),
                    on_interrupted=log,
                )
                log(done)
                if done.report.rows_embedded == 0 or time.monotonic() > deadline:
                    return

    @dg.job(
        name=names.job("follow"),
        description=f"Embeds the rows of {spec.table} that have become pending, wherever they are, in one process.",
        executor_def=dg.in_process_executor,
        tags={COLUMN_TAG: names.stem},
    )
    def follow_job() -> None:
        follow()

    return follow_job


def log_materialization(
    context: dg.OpExecutionContext,
    spec: VectorColumn,
    names: Names,
    touched: KeyRange,
    metadata: dict[str, int | float],
) -> None:
    """Marks one partition of the vector column as materialized by an op of a job."""
    context.log_event(
        dg.AssetMaterialization(
            asset_key=dg.AssetKey(names.asset), partition=partition_key(spec.table, touched), metadata=metadata
        )
    )
