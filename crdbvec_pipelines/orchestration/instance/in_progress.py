"""The work in progress on a vector column: runs of its jobs, runs of its partitions, backfills."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg

from crdbvec_pipelines.orchestration.asset_names import COLUMN_TAG, AssetNames
from crdbvec_pipelines.orchestration.instance.dagster_internals import UnfinishedBackfill, unfinished_backfills

UNFINISHED_RUN_STATUSES = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
_PARTITION_TAG = "dagster/partition"
RANGE_START_TAG = "dagster/asset_partition_range_start"
"""A run over several partitions names the first and the last one, in the order of Dagster's dynamic partitions."""
RANGE_END_TAG = "dagster/asset_partition_range_end"
"""The tag of the last one."""
_BACKFILL_TAG = "dagster/backfill"
# The jobs whose runs have a partition: a backfill of one of them names the job and not the asset.
_PARTITIONED_JOBS = ("encode", "encode_in_process")


@dataclass(frozen=True)
class WorkInProgress:
    """The work in progress on one vector column.

    Attributes:
        whole_table: Ids of runs that may touch any row (follow, maintenance, partition sync).
        partition_runs: For each run that works on partitions or is queued for them: their keys.
        backfills: Ids of unfinished backfills of the asset or of its jobs; they may still request runs for further
            partitions.
    """

    whole_table: tuple[str, ...] = ()
    partition_runs: tuple[frozenset[str], ...] = ()
    backfills: tuple[str, ...] = ()

    @property
    def partitions(self) -> frozenset[str]:
        """Keys of all partitions that a run works on or is queued for."""
        return frozenset().union(*self.partition_runs)

    @property
    def description(self) -> str | None:
        """The work in progress as a clause for the tick history; None if there is none."""
        if self.backfills:
            return f"backfill {self.backfills[0]} is in progress"
        if self.whole_table:
            return f"run {self.whole_table[0][:8]} is in progress"
        if self.partition_runs:
            count = len(self.partition_runs)
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
        stuck_after: A run that started longer ago than this is taken for dead, and so is a backfill if for this time it
            has had no queued run and none of its runs has started or ended. Dagster's default launcher does not report
            a run whose process died, and a backfill of definitions that no longer load stays unfinished, so waiting
            for them would never end. A healthy backfill requests runs within a minute of the end of its last one.
    """
    oldest = datetime.now(UTC) - stuck_after
    runs = [
        record.dagster_run
        for record in _unfinished_runs(instance, names, partition_keys)
        if _may_be_alive(record, oldest)
    ]
    partitions = {run.run_id: frozenset(_partitions_of(run, partition_keys)) for run in runs}
    return WorkInProgress(
        tuple(run_id for run_id, keys in partitions.items() if not keys),
        tuple(keys for keys in partitions.values() if keys),
        tuple(
            backfill.backfill_id
            for backfill in _unfinished_backfills(instance, names, partition_keys)
            if backfill.created > oldest or _has_recent_runs(instance, backfill.backfill_id, oldest)
        ),
    )


def targeted_partitions(
    instance: dg.DagsterInstance, names: AssetNames, partition_keys: Iterable[str]
) -> frozenset[str]:
    """Return those of a vector column's partitions that unfinished work targets.

    Dagster fails a backfill and cancels its runs if one of its partitions is deleted, whether or not that partition is
    done. No run and no backfill is taken for dead here, because one that continues would fail.

    Args:
        instance: Dagster's instance.
        names: The vector column's names.
        partition_keys: The partition keys to return if they are targeted.
    """
    present = list(instance.get_dynamic_partitions(names.partitions))
    targeted: set[str] = set()
    for backfill in _unfinished_backfills(instance, names, present):
        targeted.update(present if backfill.partitions is None else backfill.partitions)
    for record in _unfinished_runs(instance, names, present):
        targeted.update(_partitions_of(record.dagster_run, present))
    return frozenset(targeted.intersection(partition_keys))


def _unfinished_runs(
    instance: dg.DagsterInstance, names: AssetNames, partition_keys: Sequence[str]
) -> Iterable[dg.RunRecord]:
    """Return the unfinished runs of a vector column, each of them once."""
    asset = dg.AssetKey(names.asset)
    tags: list[dict[str, str | Sequence[str]]] = [{COLUMN_TAG: names.stem}]
    if partition_keys:
        # Runs that a person starts in the UI have no tag of this project, but that of their partition.
        tags += [{tag: list(partition_keys)} for tag in (_PARTITION_TAG, RANGE_START_TAG)]
    records = [
        record
        for wanted in tags
        for record in instance.get_run_records(dg.RunsFilter(statuses=UNFINISHED_RUN_STATUSES, tags=wanted))
        if _targets(record.dagster_run, asset, names)
    ]
    return {record.dagster_run.run_id: record for record in records}.values()


def _unfinished_backfills(
    instance: dg.DagsterInstance, names: AssetNames, partition_keys: Sequence[str]
) -> Iterator[UnfinishedBackfill]:
    """Yield the unfinished backfills of the asset, and those of jobs that materialize partitions of it.

    A job of the same name may belong to another code location; its partitions are not those of this column.
    """
    asset, present = dg.AssetKey(names.asset), set(partition_keys)
    jobs = {names.job(action) for action in _PARTITIONED_JOBS}
    for backfill in unfinished_backfills(instance, asset):
        targets_job = backfill.job in jobs and not present.isdisjoint(backfill.partitions or ())
        if asset in backfill.assets or targets_job:
            yield backfill


def _has_recent_runs(instance: dg.DagsterInstance, backfill_id: str, oldest: datetime) -> bool:
    """Return whether a run of a backfill is queued, or has changed its status since a time."""
    tags = {_BACKFILL_TAG: backfill_id}
    recent = (
        dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED], tags=tags),
        dg.RunsFilter(updated_after=oldest, tags=tags),
    )
    return any(instance.get_run_records(wanted, limit=1) for wanted in recent)


def _partitions_of(run: dg.DagsterRun, present: Sequence[str]) -> Sequence[str]:
    """Return the partitions of a run, of those in Dagster's order; none for a run without partitions."""
    if RANGE_START_TAG not in run.tags or RANGE_END_TAG not in run.tags:
        return [run.tags[_PARTITION_TAG]] if _PARTITION_TAG in run.tags else []
    # If a bound of the range has been deleted, any partition on its side may be one of the run.
    first, last = run.tags[RANGE_START_TAG], run.tags[RANGE_END_TAG]
    start = present.index(first) if first in present else 0
    end = present.index(last) + 1 if last in present else len(present)
    return present[start:end]


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
