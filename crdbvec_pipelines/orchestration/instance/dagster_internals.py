"""The private names of Dagster 1.13 that this project needs, imported in this module only.

Dagster has no public name for the class data of a configurable storage, for the statuses of backfills, for the tags and
statuses of runs that its daemon reads, nor for what a run launcher is given, returns and raises.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster._config.config_schema import UserConfigSchema
from dagster._core.definitions.data_version import (
    CODE_VERSION_TAG,
    DATA_VERSION_TAG,
    DEFAULT_DATA_VERSION,
    compute_logical_data_version,
    extract_data_version_from_entry,
    get_input_data_version_tag,
    get_input_event_pointer_tag,
)
from dagster._core.errors import (
    DagsterCodeLocationLoadError,
    DagsterLaunchFailedError,
    DagsterUserCodeUnreachableError,
)
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES
from dagster._core.storage.event_log import SqlEventLogStorageMetadata
from dagster._core.storage.runs import RunStorageSqlMetadata
from dagster._core.storage.schedules import ScheduleStorageSqlMetadata
from dagster._core.storage.sql import check_alembic_revision, stamp_alembic_rev
from dagster._core.storage.tags import BACKFILL_ID_TAG, GRPC_INFO_TAG, WILL_RETRY_TAG
from dagster._serdes import ConfigurableClassData

from crdbvec_pipelines.orchestration.asset_names import AssetNames

if TYPE_CHECKING:
    from dagster._core.execution.backfill import PartitionBackfill
    from dagster._core.workspace.context import IWorkspaceProcessContext

__all__ = [
    "BACKFILL_ID_TAG",
    "GRPC_INFO_TAG",
    "NOT_FINISHED_STATUSES",
    "STORAGE_METADATA",
    "WILL_RETRY_TAG",
    "CheckRunHealthResult",
    "ConfigurableClassData",
    "DagsterCodeLocationLoadError",
    "DagsterLaunchFailedError",
    "DagsterUserCodeUnreachableError",
    "IWorkspaceProcessContext",
    "LaunchRunContext",
    "UnfinishedBackfill",
    "UserConfigSchema",
    "WorkerStart",
    "WorkerStatus",
    "all_unfinished_backfills",
    "check_alembic_revision",
    "current_partitions",
    "execute_run_in_process",
    "last_check_result",
    "last_event_id",
    "materialized_partitions",
    "outdated",
    "partitions_failing_check",
    "partitions_materialized_by",
    "stamp_alembic_rev",
    "ping_code_server",
    "unfinished_backfills",
    "version_tags",
    "worker_starts",
]

STORAGE_METADATA = (RunStorageSqlMetadata, SqlEventLogStorageMetadata, ScheduleStorageSqlMetadata)
"""The tables of the three parts of Dagster's storage, as SQLAlchemy's metadata."""

# The message of the event that the process of a run logs first.
_WORKER_STARTED = "Started process for run"
_PING_SECONDS = 5


@dataclass(frozen=True)
class WorkerStart:
    """The start of a run's process, as the process has logged it.

    Attributes:
        pid: Its process id, on the host of the code server that started it.
        logged_at: When it logged the event, in seconds since the epoch.
    """

    pid: int
    logged_at: float


def worker_starts(instance: dg.DagsterInstance, run_id: str) -> Sequence[WorkerStart]:
    """Return the starts of a run's processes; more than one if the run was put back into the queue."""
    found = []
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        event = entry.get_dagster_event()
        if (event.message or "").startswith(_WORKER_STARTED):
            found.append(WorkerStart(int(str(event.engine_event_data.metadata["pid"].value)), entry.timestamp))
    return found


def last_event_id(instance: dg.DagsterInstance, run_id: str) -> int | None:
    """Return the id of the last event of a run; None if it has none."""
    records = instance.get_records_for_run(run_id, limit=1, ascending=False).records
    return records[0].storage_id if records else None


def execute_run_in_process(instance: dg.DagsterInstance, run_id: str) -> None:
    """Execute a run in this process, as the processes do that Dagster starts for runs; its end is stored as its status.

    The definitions, and with them the models, are loaded once for all runs of the process.
    """
    from dagster._cli.api import _execute_run_command_body

    _execute_run_command_body(run_id, instance, lambda _: None, set_exit_code_on_failure=False)


def ping_code_server(run: dg.DagsterRun, context: "IWorkspaceProcessContext[Any] | None") -> None:
    """Ask the code server of a run's job for an answer; do nothing if its address is not known.

    Args:
        run: The run.
        context: The workspace of this process, which knows the addresses of code servers that Dagster has started.

    Raises:
        DagsterCodeLocationLoadError: The code location could not be loaded.
        DagsterUserCodeUnreachableError: The code server does not answer.
    """
    # Imported here, because only a process that launches or monitors runs needs gRPC.
    from dagster._core.remote_origin import GrpcServerCodeLocationOrigin
    from dagster._core.remote_representation.code_location import GrpcServerCodeLocation

    if run.remote_job_origin is None:
        return
    origin = run.remote_job_origin.repository_origin.code_location_origin
    if context is not None:
        workspace = context.create_request_context()
        if not workspace.has_code_location_name(origin.location_name):
            return
        location = workspace.get_code_location(origin.location_name)
        if isinstance(location, GrpcServerCodeLocation):
            location.client.get_server_id(timeout=_PING_SECONDS)
    elif isinstance(origin, GrpcServerCodeLocationOrigin) and origin.port is not None:
        # The address of a server at a port is configured, so it is the same after a restart. Sockets are temporary.
        origin.create_client().get_server_id(timeout=_PING_SECONDS)


@dataclass(frozen=True)
class UnfinishedBackfill:
    """A backfill that may still request runs.

    Attributes:
        backfill_id: Its id, which is also the value of the tag `dagster/backfill` of its runs.
        created: When it was created.
        job: The job that it runs for each partition; None for a backfill of assets.
        assets: The assets that it materializes; empty for a backfill of a job, which names none.
        partitions: The partitions that it targets, whether or not they are done; None if they cannot be read.
    """

    backfill_id: str
    created: datetime
    job: str | None
    assets: frozenset[dg.AssetKey]
    partitions: frozenset[str] | None


def all_unfinished_backfills(instance: dg.DagsterInstance) -> "Sequence[PartitionBackfill]":
    """Return the backfills of the instance that may still request runs."""
    # Imported here, because it costs a tenth of a second that few processes need to spend.
    from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus

    statuses = [BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING, BulkActionStatus.FAILING]
    return instance.get_backfills(filters=BulkActionsFilter(statuses=statuses))


def unfinished_backfills(instance: dg.DagsterInstance, asset: dg.AssetKey) -> Sequence[UnfinishedBackfill]:
    """Return the backfills of jobs that may still request runs, and those of one asset with its partitions."""
    return [
        UnfinishedBackfill(
            backfill.backfill_id,
            datetime.fromtimestamp(backfill.backfill_timestamp, UTC),
            backfill.job_name,
            frozenset(backfill.asset_selection or ()),
            _partitions_targeted_by(backfill, asset, instance),
        )
        for backfill in all_unfinished_backfills(instance)
        if asset in (backfill.asset_selection or ()) or not backfill.is_asset_backfill
    ]


def _partitions_targeted_by(
    backfill: "PartitionBackfill", asset: dg.AssetKey, instance: dg.DagsterInstance
) -> frozenset[str] | None:
    if not backfill.is_asset_backfill:
        return frozenset(backfill.partition_names or ())
    if backfill.asset_backfill_data is None:
        # Stored by an old version of Dagster, in a format that only a process with the definitions can read.
        return None
    subset = backfill.asset_backfill_data.target_subset.partitions_subsets_by_asset_key.get(asset)
    if subset is None:
        return frozenset()
    try:
        with dg.partition_loading_context(dynamic_partitions_store=instance):
            return frozenset(subset.get_partition_keys())
    except dg.DagsterError:
        # A stored range whose first or last partition has been deleted.
        return None


def partitions_materialized_by(context: dg.AssetExecutionContext) -> frozenset[str]:
    """Return the partitions of the op's asset that its run has materialized so far."""
    events = context.instance.all_logs(context.run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    found = [event.get_dagster_event() for event in events]
    return frozenset(event.partition for event in found if event.asset_key == context.asset_key and event.partition)


def partitions_failing_check(instance: dg.DagsterInstance, key: dg.AssetCheckKey) -> frozenset[str]:
    """Return the partitions whose last evaluation of a check did not pass."""
    from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

    found = instance.event_log_storage.get_asset_check_partition_info([key])
    return frozenset(
        each.partition_key
        for each in found
        if each.partition_key is not None and each.latest_execution_status == AssetCheckExecutionRecordStatus.FAILED
    )


def last_check_result(
    instance: dg.DagsterInstance, key: dg.AssetCheckKey
) -> tuple[bool, Mapping[str, dg.MetadataValue]] | None:
    """Return whether the last evaluation of a check passed, and its metadata; None if it was never evaluated."""
    for record in instance.event_log_storage.get_asset_check_execution_history(key, limit=1):
        event = record.event.dagster_event if record.event else None
        if event is not None and event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            data = event.asset_check_evaluation_data
            return data.passed, data.metadata
    return None


def materialized_partitions(instance: dg.DagsterInstance, names: AssetNames, keys: Sequence[str]) -> frozenset[str]:
    """Return those partitions that the UI shows as materialized: not missing, failed or in progress."""
    from dagster._core.storage.partition_status_cache import AssetPartitionStatus

    definition = dg.DynamicPartitionsDefinition(name=names.partitions)
    found = instance.get_status_by_partition(dg.AssetKey(names.asset), keys, definition) or {}
    return frozenset(key for key, status in found.items() if status == AssetPartitionStatus.MATERIALIZED)


def current_partitions(instance: dg.DagsterInstance, names: AssetNames, keys: Sequence[str]) -> frozenset[str]:
    """Return those partitions whose latest materialization has the data version of the present code and source.

    Dagster's storage finds materializations by this tag, and not by that of the code version.
    """
    present = version_tags(instance, names)[DATA_VERSION_TAG]
    tags = instance.event_log_storage.get_latest_tags_by_partition(
        dg.AssetKey(names.asset), dg.DagsterEventType.ASSET_MATERIALIZATION, [DATA_VERSION_TAG], keys
    )
    return frozenset(key for key, found in tags.items() if found.get(DATA_VERSION_TAG) == present)


def version_tags(instance: dg.DagsterInstance, names: AssetNames) -> Mapping[str, str]:
    """Return the tags of a materialization that tell Dagster with which code and of which source it was made.

    Dagster adds them to the outputs of a step, but not to materializations that are logged. With them, the UI shows
    that the code version has changed since.
    """
    source = dg.AssetKey(names.source)
    record = instance.get_latest_data_version_record(source)
    version = extract_data_version_from_entry(record.event_log_entry) if record else None
    version = version or DEFAULT_DATA_VERSION
    return {
        CODE_VERSION_TAG: names.code_version,
        DATA_VERSION_TAG: compute_logical_data_version(names.code_version, {source: version}).value,
        get_input_data_version_tag(source): version.value,
        get_input_event_pointer_tag(source): str(record.storage_id) if record else "NULL",
    }


def outdated(versions: Mapping[str, str]) -> Mapping[str, str]:
    """Return the tags of a materialization of a partition in which some vectors are still outdated.

    Without a code version, Dagster would show the partition as up to date.
    """
    return {**versions, CODE_VERSION_TAG: "outdated"}
