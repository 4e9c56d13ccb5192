"""The scheduled care of a vector column: partitions planned anew, edited rows embedded again, checks evaluated."""

import dagster as dg

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.health import VectorHealth
from crdbvec_pipelines.encoding.registry import ModelRegistry
from crdbvec_pipelines.errors import ConfigurationError
from crdbvec_pipelines.keyspace import parse_partition_key
from crdbvec_pipelines.orchestration.assets import open_rows
from crdbvec_pipelines.orchestration.checks import check_names, evaluate
from crdbvec_pipelines.orchestration.failures import as_failures
from crdbvec_pipelines.orchestration.follow_job import log_materialization
from crdbvec_pipelines.orchestration.metadata import follow_metadata
from crdbvec_pipelines.orchestration.names import COLUMN_TAG, Names
from crdbvec_pipelines.orchestration.partitions import sync_partitions
from crdbvec_pipelines.orchestration.resources import CockroachResource
from crdbvec_pipelines.refresh import refresh


def build_maintenance(spec: VectorColumn, names: Names, registry: ModelRegistry) -> dg.Definitions:
    """The maintenance job of a vector column, and its schedule.

    Raises:
        ConfigurationError: the schedule is no cron expression.
    """

    @dg.op(name=names.op("maintain"), out=dg.Out(dg.Nothing))
    def maintain(context: dg.OpExecutionContext, cockroach: CockroachResource) -> None:
        with as_failures():
            encoder = registry.load(spec.model)
            rows = open_rows(cockroach, spec, encoder)
            plan = sync_partitions(context.instance, cockroach.database, spec, names)
            for key in plan.keys:
                key_range = parse_partition_key(key, spec.table)
                report = refresh(rows, encoder, key_range, batch_size=spec.batch_size, workers=spec.workers)
                # The tail's each time: the asset was looked after, which is what its freshness policy asks.
                if report.rows_read or report.rows_cleared or key == plan.keys[-1]:
                    log_materialization(context, spec, names, key_range, follow_metadata(report, report.rows_embedded))
            health = VectorHealth(cockroach.database, rows.table, spec, encoder.model_id, encoder.dim)
            for name in check_names(spec):
                result = evaluate(name, rows, health, plan.keys)
                context.instance.report_runless_asset_event(
                    dg.AssetCheckEvaluation(
                        asset_key=dg.AssetKey(names.asset),
                        check_name=name,
                        passed=result.passed,
                        metadata=result.metadata,
                        severity=result.severity,
                    )
                )
                context.log.info(f"check {name}: {'passed' if result.passed else 'warns'}")

    @dg.job(
        name=names.job("maintain"),
        description=f"Plans the partitions of {spec.table}, embeds edited rows again, evaluates the checks.",
        executor_def=dg.in_process_executor,
        tags={COLUMN_TAG: names.stem},
    )
    def maintain_job() -> None:
        maintain()

    try:
        schedule = dg.ScheduleDefinition(
            name=names.job("maintain_schedule"),
            job=maintain_job,
            cron_schedule=spec.schedule,
            description=f"Looks after {spec.output} of {spec.table}. Switch it on in the UI.",
        )
    except dg.DagsterInvalidDefinitionError:
        raise ConfigurationError(
            f"{spec.origin}.schedule: {spec.schedule!r} is no cron expression; write for example 0 3 * * *."
        ) from None
    return dg.Definitions(jobs=[maintain_job], schedules=[schedule])
