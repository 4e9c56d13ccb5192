"""What is at work on a vector column already: runs of its jobs, runs of its partitions, backfills.

Dagster keeps no public names for the statuses of backfills, so its own module is imported here, and only here, and only
when a sensor asks: a run that never does would spend a tenth of a second on it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg

from crdbvec_pipelines.orchestration.names import COLUMN_TAG, Names

_UNDER_WAY = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
_PARTITION_TAG = "dagster/partition"


@dataclass(frozen=True)
class InFlight:
    """The work under way on one vector column."""

    whole_table: tuple[str, ...]
    """Ids of runs that may touch any row (follow, maintenance, partition planning)."""
    partitions: frozenset[str]
    """Keys of partitions that a run works on or waits for."""
    backfills: tuple[str, ...]
    """Ids of backfills of the asset that are not finished: they will request runs for partitions that have none yet."""

    @property
    def sentence(self) -> str | None:
        """Who is at work, for the tick's history; None if nobody is."""
        if self.backfills:
            return f"backfill {self.backfills[0]} is at work"
        if self.whole_table:
            return f"run {self.whole_table[0][:8]} is at work"
        if self.partitions:
            count = len(self.partitions)
            return "1 partition run is at work" if count == 1 else f"{count} partition runs are at work"
        return None


def in_flight(
    instance: dg.DagsterInstance, names: Names, partition_keys: Sequence[str], stuck_after: timedelta
) -> InFlight:
    """Looks for work under way.

    Args:
        instance: Dagster's instance.
        names: the vector column's names.
        partition_keys: the column's partitions.
        stuck_after: a run without an end after this time has died: with the default launcher nobody tells Dagster, and
            it would be waited for in vain.
    """
    from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus

    under_way = [BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING, BulkActionStatus.FAILING]
    asset = dg.AssetKey(names.asset)
    tags: list[dict[str, str | Sequence[str]]] = [{COLUMN_TAG: names.stem}]
    if partition_keys:
        # Runs that people start in the UI carry no tag of ours, but their partition's.
        tags.append({_PARTITION_TAG: list(partition_keys)})
    oldest = datetime.now(UTC) - stuck_after
    records = [
        record
        for wanted in tags
        for record in instance.get_run_records(dg.RunsFilter(statuses=_UNDER_WAY, tags=wanted))
        if _is_alive(record, oldest) and _is_ours(record.dagster_run, asset, names)
    ]
    runs = {record.dagster_run.run_id: record.dagster_run for record in records}.values()
    backfills = instance.get_backfills(filters=BulkActionsFilter(statuses=under_way))
    return InFlight(
        tuple(run.run_id for run in runs if _PARTITION_TAG not in run.tags),
        frozenset(run.tags[_PARTITION_TAG] for run in runs if _PARTITION_TAG in run.tags),
        tuple(backfill.backfill_id for backfill in backfills if asset in (backfill.asset_selection or [])),
    )


def _is_alive(record: dg.RunRecord, oldest: datetime) -> bool:
    """Whether a run without an end may still be at work. One in the queue has not begun, so it cannot have died."""
    if record.dagster_run.status == dg.DagsterRunStatus.QUEUED:
        return True
    began = datetime.fromtimestamp(record.start_time, UTC) if record.start_time else record.create_timestamp
    return began > oldest


def _is_ours(run: dg.DagsterRun, asset: dg.AssetKey, names: Names) -> bool:
    """Whether a run works on this vector column; another column of the table has the same partition keys."""
    if COLUMN_TAG in run.tags:
        return run.tags[COLUMN_TAG] == names.stem
    return run.asset_selection is None or asset in run.asset_selection
