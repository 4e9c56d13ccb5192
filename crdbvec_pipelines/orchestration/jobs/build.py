"""The jobs of the vector columns."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from crdbvec_pipelines.config import ProjectConfig, VectorColumn
from crdbvec_pipelines.database.schema.migrations import present_column
from crdbvec_pipelines.database.schema.prepare import prepare_column
from crdbvec_pipelines.encoding.registry import ModelRegistry
from crdbvec_pipelines.orchestration.asset_names import AssetNames, run_tags
from crdbvec_pipelines.orchestration.assets.vector_column import IN_PROCESS_TAG
from crdbvec_pipelines.orchestration.failures import as_dagster_failures
from crdbvec_pipelines.orchestration.jobs.follow import build_follow_job
from crdbvec_pipelines.orchestration.jobs.migrate import build_migration_jobs
from crdbvec_pipelines.orchestration.jobs.suspension import suspension_jobs
from crdbvec_pipelines.orchestration.partitions.sync import code_location, sync_partitions
from crdbvec_pipelines.orchestration.resources import background_database
from crdbvec_pipelines.orchestration.sensors.follow import build_follow_sensor

# Dagster's retry from failure skips mapped steps that were never planned. These runs have one step, so it would be safe
# too; the tag keeps it so if a run gets further steps. A retry costs little: embedded rows are not pending.
WHOLE_RUN_RETRY = {"dagster/retry_strategy": "ALL_STEPS"}


def refresh_jobs(spec: VectorColumn, names: AssetNames, registry: ModelRegistry) -> list[Any]:
    """Return the jobs that the follow sensor of a vector column may request."""
    selection = dg.AssetSelection.assets(dg.AssetKey(names.asset))
    return [
        dg.define_asset_job(
            names.job("encode"),
            selection,
            description=f"Embeds the pending rows of {spec.table} into {spec.output}; one process per run.",
            executor_def=dg.in_process_executor,
            tags={**run_tags(spec, names), **WHOLE_RUN_RETRY},
        ),
        dg.define_asset_job(
            names.job("encode_in_process"),
            selection,
            description=f"Embeds the pending rows of {spec.table} into {spec.output} without further processes.",
            executor_def=dg.in_process_executor,
            tags={IN_PROCESS_TAG: "true", **run_tags(spec, names), **WHOLE_RUN_RETRY},
        ),
        _sync_job(spec, names, registry),
        build_follow_job(spec, names, registry),
    ]


def build_jobs(config: ProjectConfig, names: Mapping[str, AssetNames], registry: ModelRegistry) -> dg.Definitions:
    """Return the jobs that embed the vector columns, and the sensors that request them.

    The second column of a model migration has no sensor of its own: that of the first one follows both.

    Args:
        config: The configuration.
        names: The names of the columns, those of the second columns of model migrations, too.
        registry: The models.
    """
    jobs: list[Any] = []
    sensors = []
    vectors = config.with_second_columns().vectors
    refreshing = {str(spec): refresh_jobs(spec, names[str(spec)], registry) for spec in vectors}
    for spec in vectors:
        own = names[str(spec)]
        jobs += [*refreshing[str(spec)], *suspension_jobs(spec, own, registry)]
        if spec.second_of is not None:
            continue
        second = spec.second_column()
        followed = [*refreshing[str(spec)], *(refreshing[str(second)] if second else ())]
        of_second = None if second is None else (second, names[str(second)])
        sensors.append(build_follow_sensor(spec, own, registry, followed, of_second))
        jobs += build_migration_jobs(spec, config, names, registry)
    return dg.Definitions(jobs=jobs, sensors=sensors)


def _sync_job(spec: VectorColumn, names: AssetNames, registry: ModelRegistry) -> dg.JobDefinition:
    @dg.op(name=names.op("sync_partitions"), required_resource_keys={names.resource})
    def sync(context: dg.OpExecutionContext) -> None:
        with as_dagster_failures():
            database = background_database(context.resources, names.resource, spec)
            present = present_column(database, spec)
            column = prepare_column(database, present, registry.encoder_of(present))
            plan = sync_partitions(context.instance, column, names, code_location(context.run))
        context.log.info(str(plan))

    @dg.job(
        name=names.job("sync_partitions"),
        description=f"Prepares {spec.table} for {spec.output} and makes its partitions. Launch this job first.",
        executor_def=dg.in_process_executor,
        tags=run_tags(spec, names),
    )
    def sync_job() -> None:
        sync()

    return sync_job
