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

__all__ = ["ConfigurableClassData", "UserConfigSchema", "unfinished_backfills"]


def unfinished_backfills(instance: dg.DagsterInstance) -> "Sequence[PartitionBackfill]":
    """Return the backfills that may still request runs."""
    # Imported here, because it costs a tenth of a second that only the sensor needs to spend.
    from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus

    statuses = [BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING, BulkActionStatus.FAILING]
    return instance.get_backfills(filters=BulkActionsFilter(statuses=statuses))
