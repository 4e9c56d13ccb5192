"""The jobs that suspend and resume a vector column, as `crdbvec suspend` and `crdbvec resume`."""

from collections.abc import Callable, Iterator

import dagster as dg

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.column import BoundColumn, bind_column
from crdbvec_pipelines.database.suspension import resume, suspend
from crdbvec_pipelines.encoding.registry import ModelRegistry
from crdbvec_pipelines.orchestration.asset_names import COLUMN_TAG, AssetNames
from crdbvec_pipelines.orchestration.failures import as_dagster_failures
from crdbvec_pipelines.orchestration.resources import database_of


def suspension_jobs(spec: VectorColumn, names: AssetNames, registry: ModelRegistry) -> Iterator[dg.JobDefinition]:
    """Yield the two jobs."""
    for action, change, description in (
        (
            "suspend",
            suspend,
            f"Suspends {spec.output} of {spec.table}: no row is embedded until it is resumed.",
        ),
        ("resume", resume, f"Resumes {spec.output} of {spec.table} after it was suspended."),
    ):
        yield _job(action, change, description, spec, names, registry)


def _job(
    action: str,
    change: Callable[[BoundColumn], None],
    description: str,
    spec: VectorColumn,
    names: AssetNames,
    registry: ModelRegistry,
) -> dg.JobDefinition:
    @dg.op(name=names.op(action), out=dg.Out(dg.Nothing), required_resource_keys={names.resource})
    def apply(context: dg.OpExecutionContext) -> None:
        with as_dagster_failures():
            change(bind_column(database_of(context.resources, names.resource), spec, registry.encoder_of(spec)))

    @dg.job(
        name=names.job(action),
        description=description,
        executor_def=dg.in_process_executor,
        tags={COLUMN_TAG: names.stem},
    )
    def suspension_job() -> None:
        apply()

    return suspension_job
