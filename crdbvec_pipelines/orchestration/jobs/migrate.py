"""The job of one vector column for its model migration, as `crdbvec migrate` does it."""

import json
from dataclasses import asdict
from typing import Literal

import dagster as dg
from pydantic import Field

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.column import BoundColumn, bind_column, open_existing_column
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.schema.exchange import exchange_columns, finish_migration
from crdbvec_pipelines.database.schema.migrations import Migration, find_migration
from crdbvec_pipelines.encoding.registry import ModelRegistry
from crdbvec_pipelines.errors import ConfigurationError
from crdbvec_pipelines.orchestration.asset_names import COLUMN_TAG, AssetNames
from crdbvec_pipelines.orchestration.failures import as_dagster_failures
from crdbvec_pipelines.orchestration.resources import background_database
from crdbvec_pipelines.search.comparison import compare_columns
from crdbvec_pipelines.search.migration import wait_until_ready

_PHASES = {"compare": ("started", "switched"), "switch": ("started", "switching")}
_PHASES |= {"rollback": ("switched", "rolling back"), "finish": ("switched", "finishing")}
_WAIT_SECONDS = 30.0


class MigrationConfig(dg.Config):
    """The configuration of one run."""

    action: Literal["compare", "switch", "rollback", "finish"] = Field(
        default="compare",
        description="What to do with the migration that `crdbvec migrate start` has started: compare the two columns, "
        "exchange them, exchange them back, or drop the old one.",
    )


def build_migration_job(spec: VectorColumn, names: AssetNames, registry: ModelRegistry) -> dg.JobDefinition:
    """Return the job; it fails for a column that is not being migrated."""

    @dg.op(name=names.op("migrate"), required_resource_keys={names.resource})
    def migrate(context: dg.OpExecutionContext, config: MigrationConfig) -> None:
        with as_dagster_failures():
            database = background_database(context.resources, names.resource, spec)
            migration = find_migration(database, spec.table, spec.output)
            if migration is None or migration.phase not in _PHASES[config.action]:
                phase = "not started" if migration is None else migration.phase
                raise ConfigurationError(
                    f"The migration of {spec} is {phase}, so it cannot {config.action}. Run `crdbvec migrate status`."
                )
            metadata = _run(database, spec, registry, migration, config.action)
            after = find_migration(database, migration.table, migration.output)
            metadata["phase"] = after.phase if after else "none"
        context.log.info(json.dumps(metadata, default=str))
        context.log_event(dg.AssetObservation(dg.AssetKey(names.asset), metadata=metadata))

    @dg.job(
        name=names.job("migrate"),
        description=f"Compares the two columns of a model migration of {spec.output}, or exchanges them.",
        executor_def=dg.in_process_executor,
        tags={COLUMN_TAG: names.stem},
    )
    def migrate_job() -> None:
        migrate()

    return migrate_job


def _run(
    database: Database, spec: VectorColumn, registry: ModelRegistry, migration: Migration, action: str
) -> dict[str, float | str]:
    """Do one action, and return what Dagster shows of it."""
    if action == "finish":
        second = spec.model_copy(update={"output": migration.second, "model": migration.first_model})
        column = bind_column(database, second, registry.encoder_of(second))
        finish_migration(column, migration, abandon=False)
        return {}
    entry = spec.model_copy(update={"output": migration.output})
    if migration.is_exchanging:
        return {"seconds": exchange_columns(database, migration, back=action == "rollback").seconds}
    own, other = (_open(database, each, registry) for each in migration.columns_of(entry))
    if action == "compare":
        encoders = registry.encoder_of(own.spec), registry.encoder_of(other.spec)
        compared = compare_columns((own, other), encoders)
        return {
            "queries": compared.queries,
            f"overlap_at_{compared.k}": compared.overlap.mean,
            "rank_correlation": compared.rank_correlation.mean,
            **{f"{own.spec.model}_{name}": value for name, value in _numbers(asdict(compared.first)).items()},
            **{f"{other.spec.model}_{name}": value for name, value in _numbers(asdict(compared.second)).items()},
        }
    wait_until_ready(own, other, _WAIT_SECONDS, lambda _: None)
    return {"seconds": exchange_columns(database, migration, back=action == "rollback").seconds}


def _open(database: Database, column: VectorColumn, registry: ModelRegistry) -> BoundColumn:
    return open_existing_column(database, column, registry.encoder_of(column))


def _numbers(values: dict[str, float | int | None]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items() if value is not None}
