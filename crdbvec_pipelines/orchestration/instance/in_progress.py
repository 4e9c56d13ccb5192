"""The work in progress on a vector column: runs of its jobs, runs of its partitions, backfills."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg

from crdbvec_pipelines.orchestration.asset_names import COLUMN_TAG, AssetNames
from crdbvec_pipelines.orchestration.instance.dagster_internals import unfinished_backfills

UNFINISHED_RUN_STATUSES = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
_PARTITION_TAG = "dagster/partition"
# A run over several partitions has the tag of its first one.
_RANGE_TAG = "dagster/asset_partition_range_start"


@dataclass(frozen=True)
class WorkInProgress:
    """The work in progress on one vector column.

    Attributes:
        whole_table: Ids of runs that may touch any row (follow, maintenance, partition sync, several partitions).
        partitions: Keys of partitions that a run works on or is queued for.
        backfills: Ids of unfinished backfills of the asset; they may still request runs for further partitions.
    """

    whole_table: tuple[str, ...] = ()
    partitions: frozenset[str] = frozenset()
    backfills: tuple[str, ...] = ()

    @property
    def description(self) -> str | None:
        """The work in progress as a clause for the tick history; None if there is none."""
        if self.backfills:
            return f"backfill {self.backfills[0]} is in progress"
        if self.whole_table:
            return f"run {self.whole_table[0][:8]} is in progress"
        if self.partitions:
            count = len(self.partitions)
            return "1 partition run is in progress" if count == 1 else f"{count} partition runs are in progress"
        return None


def find_work_in_progress(
    instance: dg.DagsterInstance, names: AssetNames, partition_keys: Sequence[str], stuck_after: timedelta
) -> WorkInProgress:
    """Find the unfinished runs and backfills of a vector column.

    Args:
        instance: Dagster's instance.
        names: The vector column's names.
        partition_keys: The column's partitions.
        stuck_after: A run that started longer ago than this is taken for dead. The default launcher does not report a
            run whose process died, so waiting for it would never end.
    """
    asset = dg.AssetKey(names.asset)
    tags: list[dict[str, str | Sequence[str]]] = [{COLUMN_TAG: names.stem}]
    if partition_keys:
        # Runs that a person starts in the UI have no tag of this project, but that of their partition.
        tags += [{tag: list(partition_keys)} for tag in (_PARTITION_TAG, _RANGE_TAG)]
    oldest = datetime.now(UTC) - stuck_after
    records = [
        record
        for wanted in tags
        for record in instance.get_run_records(dg.RunsFilter(statuses=UNFINISHED_RUN_STATUSES, tags=wanted))
        if _may_be_alive(record, oldest) and _targets(record.dagster_run, asset, names)
    ]
    runs = {record.dagster_run.run_id: record.dagster_run for record in records}.values()
    return WorkInProgress(
        tuple(run.run_id for run in runs if _PARTITION_TAG not in run.tags),
        frozenset(run.tags[_PARTITION_TAG] for run in runs if _PARTITION_TAG in run.tags),
        tuple(
            backfill.backfill_id
            for backfill in unfinished_backfills(instance)
            if asset in (backfill.asset_selection or [])
        ),
    )


def _may_be_alive(record: dg.RunRecord, oldest: datetime) -> bool:
    """Return whether an unfinished run may still have a process. A queued run has none yet, so it cannot have died."""
    if record.dagster_run.status == dg.DagsterRunStatus.QUEUED:
        return True
    started = datetime.fromtimestamp(record.start_time, UTC) if record.start_time else record.create_timestamp
    return started > oldest


def _targets(run: dg.DagsterRun, asset: dg.AssetKey, names: AssetNames) -> bool:
    """Return whether a run targets this vector column; another column of the table has the same partition keys."""
    if COLUMN_TAG in run.tags:
        return run.tags[COLUMN_TAG] == names.stem
    return run.asset_selection is None or asset in run.asset_selection
