"""Runs and backfills in any status, created in an instance as Dagster's daemon creates them."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemotePartitionSetOrigin,
    RemoteRepositoryOrigin,
)
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
REPOSITORY = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("crdbvec_pipelines"), "__repository__")
# A run that is canceled may have started.
_STARTED_STATUSES = {STARTED, dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE}


def make_run(
    project: Project,
    action: str,
    status: dg.DagsterRunStatus = STARTED,
    partition: str | None = None,
    age: timedelta = timedelta(0),
    tags: Mapping[str, str] | None = None,
) -> str:
    """Create a run of one of the column's jobs in a status and return its id."""
    job = project.definitions.resolve_job_def(project.names.job(action))
    tags = {**job.run_tags, **({"dagster/partition": partition} if partition else {}), **(tags or {})}
    origin = None
    if status == dg.DagsterRunStatus.QUEUED:
        # Dagster accepts a queued run only with the code location that it comes from.
        origin = RemoteJobOrigin(REPOSITORY, job.name)
    run = project.instance.create_run_for_job(job, status=status, tags=tags, remote_job_origin=origin)
    set_age(project, run.run_id, age)
    return run.run_id


def make_ui_run(project: Project, partition: str, *others: dg.AssetKey) -> str:
    """Create a run as "Materialize" in the UI does, of the column or of other assets: it lacks the tags of the jobs."""
    return _make_asset_run(project, {"dagster/partition": partition}, *others)


def make_range_run(project: Project, first: str, last: str) -> str:
    """Create a run over several partitions, as an asset backfill does."""
    start, end = (f"dagster/asset_partition_range_{bound}" for bound in ("start", "end"))
    return _make_asset_run(project, {start: first, end: last})


def _make_asset_run(project: Project, tags: Mapping[str, str], *others: dg.AssetKey) -> str:
    assets = set(others or {project.asset})
    job = project.definitions.resolve_implicit_global_asset_job_def().get_subset(asset_selection=assets)
    return project.instance.create_run_for_job(job, status=STARTED, tags=tags, asset_selection=assets).run_id


def set_age(project: Project, run_id: str, age: timedelta) -> None:
    """Set the times of a run's creation, start, end and last update to some time ago, as Dagster writes them."""
    then = datetime.now(UTC) - age
    run = project.instance.get_run_by_id(run_id)
    assert run is not None
    storage = project.instance.run_storage
    assert isinstance(storage, SqlRunStorage)
    with storage.connect() as connection:
        connection.execute(
            RunsTable.update()
            .where(RunsTable.c.run_id == run_id)
            .values(
                # With a time zone, from which PostgreSQL converts to that of the session.
                create_timestamp=then,
                update_timestamp=then,
                start_time=then.timestamp() if run.status in _STARTED_STATUSES else None,
                end_time=then.timestamp() if run.is_finished else None,
            )
        )


def make_backfill(
    project: Project,
    status: BulkActionStatus,
    partitions: Sequence[str] | None = None,
    age: timedelta = timedelta(0),
) -> str:
    """Create a backfill of the column, by default of all partitions, and return its id."""
    backfill = PartitionBackfill.from_asset_partitions(
        backfill_id=f"backfill-{status.value.lower()}",
        asset_graph=project.definitions.resolve_asset_graph(),
        partition_names=partitions or project.partitions,
        asset_selection=[project.asset],
        backfill_timestamp=(datetime.now(UTC) - age).timestamp(),
        tags={},
        dynamic_partitions_store=project.instance,
        all_partitions=False,
        title=None,
        description=None,
        run_config=None,
    )
    project.instance.add_backfill(backfill)
    project.instance.update_backfill(backfill.with_status(status))  # type: ignore[no-untyped-call]
    return backfill.backfill_id


def make_job_backfill(project: Project, action: str, partitions: Sequence[str]) -> str:
    """Create a requested backfill of one of the column's jobs, as the page of the job in the UI does."""
    job = project.names.job(action)
    backfill = PartitionBackfill(
        backfill_id=f"backfill-{action}",
        status=BulkActionStatus.REQUESTED,
        from_failure=False,
        tags={},
        backfill_timestamp=datetime.now(UTC).timestamp(),
        partition_set_origin=RemotePartitionSetOrigin(
            repository_origin=REPOSITORY, partition_set_name=f"{job}_partition_set"
        ),
        partition_names=partitions,
    )
    project.instance.add_backfill(backfill)
    return backfill.backfill_id
