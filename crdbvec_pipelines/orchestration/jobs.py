"""The jobs of one vector column."""

import dagster as dg

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.orchestration.assets import IN_PROCESS_TAG
from crdbvec_pipelines.orchestration.executors import multiprocess
from crdbvec_pipelines.orchestration.failures import as_failures
from crdbvec_pipelines.orchestration.names import Names
from crdbvec_pipelines.orchestration.partitions import sync_partitions
from crdbvec_pipelines.orchestration.resources import CockroachResource


def build_jobs(spec: VectorColumn, names: Names) -> dg.Definitions:
    """All jobs of a vector column."""
    selection = dg.AssetSelection.assets(dg.AssetKey(names.asset))
    jobs = [
        dg.define_asset_job(
            names.job("encode"),
            selection,
            description=f"Embeds the pending rows of {spec.table} into {spec.output}, one process a slice.",
            executor_def=multiprocess(),
        ),
        dg.define_asset_job(
            names.job("encode_in_process"),
            selection,
            description=f"Embeds the pending rows of {spec.table} into {spec.output} in one process, for small work.",
            executor_def=dg.in_process_executor,
            tags={IN_PROCESS_TAG: "true"},
        ),
    ]
    return dg.Definitions(jobs=[*jobs, _sync_job(spec, names)])


def _sync_job(spec: VectorColumn, names: Names) -> dg.JobDefinition:
    @dg.op(name=f"{names.stem}__sync_partitions")
    def sync(context: dg.OpExecutionContext, cockroach: CockroachResource) -> None:
        with as_failures():
            plan = sync_partitions(context.instance, cockroach.database, spec, names)
        context.log.info(f"{len(plan.keys)} partitions, {len(plan.added)} added, {len(plan.removed)} removed")

    @dg.job(
        name=names.job("sync_partitions"),
        description=f"Cuts {spec.table} into the partitions of {spec.output}; run it once before the first backfill.",
        executor_def=dg.in_process_executor,
    )
    def sync_job() -> None:
        sync()

    return sync_job
