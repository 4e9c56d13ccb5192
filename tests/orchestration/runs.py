"""Runs and backfills in any status, created in an instance as Dagster's daemon creates them."""

from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.storage.runs import SqlRunStorage
from dagster._core.storage.runs.schema import RunsTable

from tests.orchestration.project import Project

UNFINISHED = (
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)
STARTED = dg.DagsterRunStatus.STARTED


def make_run(
    project: Project,
    action: str,
    status: dg.DagsterRunStatus = STARTED,
    partition: str | None = None,
    age: timedelta = timedelta(0),
) -> str:
    """Create a run of one of the column's jobs in a status and return its id."""
    job = project.definitions.resolve_job_def(project.names.job(action))
    tags = {**job.run_tags, **({"dagster/partition": partition} if partition else {})}
    origin = None
    if status == dg.DagsterRunStatus.QUEUED:
        # Dagster accepts a queued run only with the code location that it comes from.
        location = RegisteredCodeLocationOrigin("crdbvec_pipelines")
        origin = RemoteJobOrigin(RemoteRepositoryOrigin(location, "__repository__"), job.name)
    run = project.instance.create_run_for_job(job, status=status, tags=tags, remote_job_origin=origin)
    set_age(project, run.run_id, age)
    return run.run_id


def make_ui_run(project: Project, partition: str, *others: dg.AssetKey) -> str:
    """Create a run as "Materialize" in the UI does, of the column or of other assets: it lacks the tags of the jobs."""
    assets = set(others or {project.asset})
    job = project.definitions.resolve_implicit_global_asset_job_def().get_subset(asset_selection=assets)
    run = project.instance.create_run_for_job(
        job, status=STARTED, tags={"dagster/partition": partition}, asset_selection=assets
    )
    return run.run_id


def set_age(project: Project, run_id: str, age: timedelta) -> None:
    """Set the times of a run's creation, start and last update to some time ago."""
    then = datetime.now(UTC) - age
    storage = project.instance.run_storage
    assert isinstance(storage, SqlRunStorage)
    with storage.connect() as connection:
        connection.execute(
            RunsTable.update()
            .where(RunsTable.c.run_id == run_id)
            .values(
                create_timestamp=then.replace(tzinfo=None),
                update_timestamp=then.replace(tzinfo=None),
                start_time=then.timestamp(),
            )
        )


def make_backfill(project: Project, status: BulkActionStatus, asset: dg.AssetKey | None = None) -> str:
    """Create a backfill of all partitions of the column, or of another asset with the same partitions."""
    backfill_id = f"backfill-{status.value.lower()}"
    project.instance.add_backfill(
        PartitionBackfill.from_asset_partitions(
            backfill_id=backfill_id,
            asset_graph=project.definitions.resolve_asset_graph(),
            partition_names=project.partitions,
            asset_selection=[asset or project.asset],
            backfill_timestamp=datetime.now(UTC).timestamp(),
            tags={},
            dynamic_partitions_store=project.instance,
            all_partitions=False,
            title=None,
            description=None,
            run_config=None,
        )
    )
    found = project.instance.get_backfill(backfill_id)
    assert found is not None
    project.instance.update_backfill(found.with_status(status))  # type: ignore[no-untyped-call]
    return backfill_id
