"""The scheduled maintenance of a vector column: sync its partitions, embed edited rows again, evaluate its checks."""

from dataclasses import replace

import dagster as dg

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.rows.claims import delete_expired_claims
from crdbvec_pipelines.database.rows.health import oldest_pending_seconds
from crdbvec_pipelines.database.rows.lag import delete_expired_lags, measure_lag
from crdbvec_pipelines.database.rows.range_state import RangeState
from crdbvec_pipelines.database.rows.usage import delete_expired_usage
from crdbvec_pipelines.database.rows.vector_rows import VectorRows
from crdbvec_pipelines.database.schema.migrations import present_column
from crdbvec_pipelines.database.schema.prepare import prepare_column
from crdbvec_pipelines.encoding.registry import ModelRegistry
from crdbvec_pipelines.errors import ConfigurationError
from crdbvec_pipelines.keyspace import parse_partition_key
from crdbvec_pipelines.orchestration.asset_names import AssetNames, run_tags
from crdbvec_pipelines.orchestration.assets.check_results import report_checks
from crdbvec_pipelines.orchestration.assets.metadata import materialization
from crdbvec_pipelines.orchestration.assets.profile import profile_observation
from crdbvec_pipelines.orchestration.assets.usage import usage_observation
from crdbvec_pipelines.orchestration.failures import as_dagster_failures
from crdbvec_pipelines.orchestration.instance.connections import keep_connections_open
from crdbvec_pipelines.orchestration.instance.dagster_internals import (
    current_partitions,
    materialized_partitions,
    version_tags,
)
from crdbvec_pipelines.orchestration.instance.prune import prune_runs
from crdbvec_pipelines.orchestration.partitions.sync import code_location, sync_partitions
from crdbvec_pipelines.orchestration.resources import background_database
from crdbvec_pipelines.profile.table import profile_ranges
from crdbvec_pipelines.refresh.completion import complete_range
from crdbvec_pipelines.refresh.options import options_for
from crdbvec_pipelines.telemetry.runs import run_metrics
from crdbvec_pipelines.telemetry.state import read_gauges
from crdbvec_pipelines.telemetry.tracing import traced_run


def build_maintenance(spec: VectorColumn, names: AssetNames, registry: ModelRegistry) -> dg.Definitions:
    """Return the maintenance job of a vector column, and its schedule.

    Raises:
        ConfigurationError: The schedule is not a cron expression.
    """

    @dg.op(name=names.op("maintain"), out=dg.Out(dg.Nothing), required_resource_keys={names.resource})
    def maintain(context: dg.OpExecutionContext) -> None:
        with (
            as_dagster_failures(),
            traced_run(spec, "maintain", context.run_id),
            run_metrics(spec) as metrics,
        ):
            keep_connections_open(context.instance)
            database = background_database(context.resources, names.resource, spec)
            present = present_column(database, spec)
            encoder = registry.encoder_of(present)
            column = prepare_column(database, present, encoder)
            rows = VectorRows(column)
            plan = sync_partitions(context.instance, column, names, code_location(context.run))
            context.log.info(str(plan))
            shown = materialized_partitions(context.instance, names, plan.keys)
            # The model in the configuration has changed: the vectors of a finished migration are those of the new one.
            current = shown & current_partitions(context.instance, names, plan.keys)
            versions = version_tags(context.instance, names)
            total = RangeState()
            options = options_for(spec)
            if metrics is not None:
                options = replace(options, on_batch=metrics.on_batch(spec))
            for key in plan.keys:
                done = complete_range(rows, encoder, parse_partition_key(key, spec.table), options)
                if metrics is not None:
                    metrics.add_report(spec, done.report)
                total += done.state
                changed = done.report.rows_read or done.report.rows_cleared
                # A partition may be complete and not materialized, or by another model: the command line embedded it,
                # its run was canceled after the last row, or it was split. The last one's is logged in any case, for
                # the freshness policy.
                if done.is_done and (changed or key not in current or key == plan.keys[-1]):
                    context.log_event(materialization(names, column, key, done, versions=versions))
                elif done.rows_locked:
                    context.log.warning(
                        f"{done.rows_locked:,} rows of partition {key} are still pending because other transactions "
                        "have locked them."
                    )
                elif done.is_claimed:
                    context.log.info(f"Partition {key} is left to another process that is embedding it.")
            delete_expired_claims(column)
            if rows.errors.count().total:
                rows.errors.delete_resolved()
            if metrics is not None:
                read_gauges(metrics, rows)
            age = oldest_pending_seconds(column)
            extra = {} if age is None else {"oldest_pending_seconds": round(age, 3)}
            profile = profile_ranges(column, encoder, [parse_partition_key(key, spec.table) for key in plan.keys])
            sample = None if profile is None else profile.texts.sample
            lag = measure_lag(column, with_edited=True)
            delete_expired_lags(column)
            for name, passed in report_checks(context.instance, names, spec, total, sample, extra, lag).items():
                context.log.info(f"check {name}: {'passed' if passed else 'warns'}")
            if profile is not None and profile.texts.rows:
                context.log_event(profile_observation(names, spec, profile))
            context.log_event(usage_observation(column, names))
            delete_expired_usage(column)
            prune_runs(context, names, spec.keep_runs_days)

    @dg.job(
        name=names.job("maintain"),
        description=f"Syncs the partitions of {spec.table}, embeds edited rows again, evaluates the checks.",
        executor_def=dg.in_process_executor,
        tags=run_tags(spec, names),
    )
    def maintain_job() -> None:
        maintain()

    try:
        schedule = dg.ScheduleDefinition(
            name=names.job("maintain_schedule"),
            job=maintain_job,
            cron_schedule=spec.schedule,
            execution_timezone=spec.schedule_timezone,
            description=f"Maintains {spec.output} of {spec.table}. Switch it on in the UI.",
        )
    except dg.DagsterInvalidDefinitionError:
        raise ConfigurationError(
            f"{spec.origin}.schedule: {spec.schedule!r} is not a cron expression. Write one such as 0 3 * * *."
        ) from None
    return dg.Definitions(jobs=[maintain_job], schedules=[schedule])
