"""The jobs of one vector column for a change of its model: the steps of `crdbvec migrate`."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from crdbvec_pipelines.config import ProjectConfig, VectorColumn
from crdbvec_pipelines.config.migration_file import FileChange, write_migration, write_model
from crdbvec_pipelines.database.schema.migrations import find_migration
from crdbvec_pipelines.database.schema.prepare import prepare_column
from crdbvec_pipelines.encoding.registry import ModelRegistry
from crdbvec_pipelines.orchestration.asset_names import AssetNames, asset_names, run_tags
from crdbvec_pipelines.orchestration.assets.comparison import comparison_metadata
from crdbvec_pipelines.orchestration.failures import as_dagster_failures
from crdbvec_pipelines.orchestration.partitions.sync import code_location, sync_partitions
from crdbvec_pipelines.orchestration.resources import background_database, database_of
from crdbvec_pipelines.search.comparison import DEFAULT_K, DEFAULT_SAMPLE
from crdbvec_pipelines.search.model_migration import DEFAULT_WAIT_SECONDS, ModelMigration
from crdbvec_pipelines.search.questions import read_questions

Metadata = dict[str, Any]


class StartConfig(dg.Config):
    """The configuration of a start."""

    model: str = Field(description="The new model; `crdbvec model list` shows the names.")
    second: str | None = Field(
        default=None, description="The name of the second column; by default that of the first one and `_second`."
    )
    chunk_size: int | None = Field(
        default=None, description="With chunks: the tokens of a chunk for the new model; by default as now."
    )
    chunk_overlap: int | None = Field(
        default=None, description="With chunks: the tokens that a chunk repeats of the one before; by default as now."
    )


class CompareConfig(dg.Config):
    """The configuration of a comparison."""

    queries: int = Field(default=DEFAULT_SAMPLE, ge=2, description="The rows of the sample.")
    k: int = Field(default=DEFAULT_K, ge=1, description="The number of nearest rows that are compared.")
    questions: str | None = Field(
        default=None,
        description="A file of questions with their relevant rows, for recall and nDCG; by default `checks.questions` "
        "of the entry.",
    )


class ExchangeConfig(dg.Config):
    """The configuration of a switch or a rollback."""

    wait_seconds: float = Field(
        default=DEFAULT_WAIT_SECONDS, ge=0, description="How long to wait for rows that have only one of the vectors."
    )


class FinishConfig(dg.Config):
    """The configuration of the end."""

    abandon: bool = Field(
        default=False, description="Before a switch: drop the new vectors, and keep the old ones and their model."
    )


class MigrationJobs:
    """The jobs of one vector column.

    Args:
        spec: The vector column.
        config: The configuration, in whose file a start and an end are written.
        names: The names of the vector columns in Dagster.
        registry: The models.
    """

    def __init__(
        self, spec: VectorColumn, config: ProjectConfig, names: Mapping[str, AssetNames], registry: ModelRegistry
    ) -> None:
        self._spec = spec
        self._config = config
        self._names = names[str(spec)]
        self._all_names = names
        self._registry = registry

    def build(self) -> list[dg.JobDefinition]:
        """Return the jobs: `start`, and the others while a migration is in progress."""
        start = self._job("start", StartConfig, self._start, f"Adds a second column to {self._spec} for another model.")
        if self._spec.migration is None:
            return [start]
        second = self._spec.migration.second
        return [
            start,
            self._job("compare", CompareConfig, self._compare, f"Compares searches of {self._spec} and {second}."),
            self._job(
                "switch",
                ExchangeConfig,
                lambda context, config: self._exchange(context, config, back=False),
                f"Exchanges {self._spec} and {second}, so that applications use the new vectors.",
            ),
            self._job(
                "rollback",
                ExchangeConfig,
                lambda context, config: self._exchange(context, config, back=True),
                f"Exchanges {self._spec} and {second} back, so that applications use the old vectors.",
            ),
            self._job("finish", FinishConfig, self._finish, f"Drops {second}, which is no longer used."),
        ]

    def _job(
        self,
        step: str,
        config_type: type[dg.Config],
        work: Callable[[dg.OpExecutionContext, Any], Metadata],
        description: str,
    ) -> dg.JobDefinition:
        names, spec = self._names, self._spec

        def run(context: dg.OpExecutionContext, config: Any) -> None:
            with as_dagster_failures():
                metadata = work(context, config)
                after = find_migration(database_of(context.resources, names.resource), spec.table, spec.output)
                metadata["phase"] = "none" if after is None else after.phase
            # Without tables and plots, which belong on the page of the asset.
            plain = {name: value for name, value in metadata.items() if isinstance(value, (str, int, float))}
            context.log.info(json.dumps(plain))
            for asset in self._assets():
                context.log_event(dg.AssetObservation(asset, metadata=metadata))

        # Dagster reads the type of the configuration from the annotation.
        run.__annotations__["config"] = config_type
        op = dg.op(name=names.op(f"migrate_{step}"), required_resource_keys={names.resource}, out=dg.Out(dg.Nothing))(
            run
        )

        def job() -> None:
            op()

        return dg.job(
            name=names.job(f"migrate_{step}"),
            description=description,
            executor_def=dg.in_process_executor,
            tags=run_tags(spec, names),
        )(job)

    def _assets(self) -> Sequence[dg.AssetKey]:
        second = self._spec.second_column()
        found = [self._names, *([self._all_names[str(second)]] if second is not None else [])]
        return [dg.AssetKey(each.asset) for each in found]

    def _steps(self, context: dg.OpExecutionContext) -> ModelMigration:
        database = database_of(context.resources, self._names.resource)
        return ModelMigration(database, self._spec, self._registry)

    def _start(self, context: dg.OpExecutionContext, config: StartConfig) -> Metadata:
        steps = self._steps(context)
        wanted = steps.wanted(
            config.model, config.second, chunk_size=config.chunk_size, chunk_overlap=config.chunk_overlap
        )
        steps.start(wanted)
        migration = steps.written(wanted)
        change = write_migration(self._config, self._spec, migration)
        # With its partitions, the asset can be backfilled as soon as the code location is reloaded.
        entry = self._spec.model_copy(update={"migration": migration})
        vectors = tuple(entry if str(each) == str(entry) else each for each in self._config.vectors)
        expanded = self._config.model_copy(update={"vectors": vectors}).with_second_columns()
        (second,) = [each for each in expanded.vectors if each.second_of and str(each) == str(entry.second_column())]
        database = background_database(context.resources, self._names.resource, second)
        column = prepare_column(database, second, self._registry.encoder_of(second))
        plan = sync_partitions(context.instance, column, asset_names(expanded)[str(second)], code_location(context.run))
        return {"second": wanted.output, "partitions": len(plan.keys), **_changed(context, change)}

    def _compare(self, context: dg.OpExecutionContext, config: CompareConfig) -> Metadata:
        steps = self._steps(context)
        own, other = (each.spec for each in steps.columns())
        file = Path(config.questions) if config.questions else self._spec.checks.questions
        questions = read_questions(file) if file else []
        compared = steps.compare(questions=[each.query for each in questions], sample=config.queries, k=config.k)
        judged = steps.judge(questions, config.k) if questions else None
        return comparison_metadata((own, other), compared, judged)

    def _exchange(self, context: dg.OpExecutionContext, config: ExchangeConfig, *, back: bool) -> Metadata:
        done = self._steps(context).exchange(back=back, wait_seconds=config.wait_seconds)
        return {"seconds": round(done.seconds, 4)}

    def _finish(self, context: dg.OpExecutionContext, config: FinishConfig) -> Metadata:
        migration = self._steps(context).finish(abandon=config.abandon)
        change = write_model(self._config, self._spec, *migration.kept(abandon=config.abandon))
        second = self._spec.second_column()
        if second is not None and second.output == migration.second:
            names = self._all_names[str(second)]
            context.instance.wipe_assets([dg.AssetKey(names.asset), dg.AssetKey(names.index)])
            for key in context.instance.get_dynamic_partitions(names.partitions):
                context.instance.delete_dynamic_partition(names.partitions, key)
        return _changed(context, change)


def build_migration_jobs(
    spec: VectorColumn, config: ProjectConfig, names: Mapping[str, AssetNames], registry: ModelRegistry
) -> list[dg.JobDefinition]:
    """Return the jobs of a vector column; see `MigrationJobs`."""
    return MigrationJobs(spec, config, names, registry).build()


def _changed(context: dg.OpExecutionContext, change: FileChange) -> Metadata:
    (context.log.info if change.is_written else context.log.warning)(str(change))
    return {"configuration": str(change)}
