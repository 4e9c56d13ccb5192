"""The scheduled maintenance of a vector column: sync its partitions, embed edited rows again, evaluate its checks."""

import dagster as dg

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.rows.health import VectorHealth
from crdbvec_pipelines.encoding.registry import ModelRegistry
from crdbvec_pipelines.errors import ConfigurationError
from crdbvec_pipelines.keyspace import parse_partition_key
from crdbvec_pipelines.orchestration.asset_names import COLUMN_TAG, AssetNames
from crdbvec_pipelines.orchestration.assets.checks import check_names, evaluate
from crdbvec_pipelines.orchestration.assets.metadata import follow_metadata
from crdbvec_pipelines.orchestration.assets.vector_column import open_rows
from crdbvec_pipelines.orchestration.failures import as_dagster_failures
from crdbvec_pipelines.orchestration.jobs.follow import log_materialization
from crdbvec_pipelines.orchestration.partitions.sync import sync_partitions
from crdbvec_pipelines.orchestration.resources import CockroachResource
from crdbvec_pipelines.refresh.engine import refresh
from crdbvec_pipelines.refresh.options import options_for


def build_maintenance(spec: VectorColumn, names: AssetNames, registry: ModelRegistry) -> dg.Definitions:
    """Return the maintenance job of a vector column, and its schedule.

    Raises:
        ConfigurationError: The schedule is not a cron expression.
    """

    @dg.op(name=names.op("maintain"), out=dg.Out(dg.Nothing))
    def maintain(context: dg.OpExecutionContext, cockroach: CockroachResource) -> None:
        with as_dagster_failures():
            encoder = registry.load(spec.model)
            rows = open_rows(cockroach, spec, encoder)
            plan = sync_partitions(context.instance, cockroach.database, spec, names)
            for key in plan.keys:
                key_range = parse_partition_key(key, spec.table)
                report = refresh(rows, encoder, key_range, options_for(spec))
                # The last partition's is logged in any case, for the freshness policy.
                if report.rows_read or report.rows_cleared or key == plan.keys[-1]:
                    log_materialization(context, spec, names, key_range, follow_metadata(report, report.rows_embedded))
            health = VectorHealth(rows.column)
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
        description=f"Syncs the partitions of {spec.table}, embeds edited rows again, evaluates the checks.",
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
            description=f"Maintains {spec.output} of {spec.table}. Switch it on in the UI.",
        )
    except dg.DagsterInvalidDefinitionError:
        raise ConfigurationError(
            f"{spec.origin}.schedule: {spec.schedule!r} is not a cron expression. Write one such as 0 3 * * *."
        ) from None
    return dg.Definitions(jobs=[maintain_job], schedules=[schedule])
