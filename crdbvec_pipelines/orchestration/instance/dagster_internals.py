"""The private names of Dagster 1.13 that this project needs, imported in this module only.

Dagster has no public name for the class data of a configurable storage, nor for the statuses of backfills.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import dagster as dg
from dagster._config.config_schema import UserConfigSchema
from dagster._serdes import ConfigurableClassData

if TYPE_CHECKING:
    from dagster._core.execution.backfill import PartitionBackfill

__all__ = [
    "ConfigurableClassData",
    "UserConfigSchema",
    "partitions_failing_check",
    "partitions_materialized_by",
    "unfinished_backfills",
]


def unfinished_backfills(instance: dg.DagsterInstance) -> "Sequence[PartitionBackfill]":
    """Return the backfills that may still request runs."""
    # Imported here, because it costs a tenth of a second that only the sensor needs to spend.
    from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus

    statuses = [BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING, BulkActionStatus.FAILING]
    return instance.get_backfills(filters=BulkActionsFilter(statuses=statuses))


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
