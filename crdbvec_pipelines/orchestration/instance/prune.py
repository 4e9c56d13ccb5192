"""Deleting old runs of a vector column from Dagster, which never deletes them itself.

The materializations of a run are deleted with it. A run is therefore kept as long as it contains the latest
materialization of a partition, which Dagster would otherwise show as missing.
"""

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg

from crdbvec_pipelines.orchestration.asset_names import COLUMN_TAG, AssetNames
from crdbvec_pipelines.orchestration.instance.dagster_internals import unfinished_backfills
from crdbvec_pipelines.orchestration.instance.run_times import FINISHED_RUN_STATUSES, end_of

# Deleting a run costs a few statements; a maintenance run must not take long because nothing was deleted before.
_RUNS_PER_MAINTENANCE = 500
_PAGE_RUNS = 100
# The times by which Dagster filters runs may have been written in another time zone.
_TIME_ZONE_MARGIN = timedelta(days=1)

_BACKFILL_TAG = "dagster/backfill"
# A run of a backfill has the tag of its partition, or of the first one.
_PARTITION_TAGS = ("dagster/partition", "dagster/asset_partition_range_start")


def prune_runs(context: dg.OpExecutionContext, names: AssetNames, keep_days: int | None) -> None:
    """Delete a bounded number of old runs of a vector column's jobs and backfills, oldest first.

    Args:
        context: The context of an op of one of the column's jobs, whose code location the deleted runs have.
        names: The names of the column in Dagster.
        keep_days: The days since the end of a run after which it is deleted; None keeps all runs.
    """
    if keep_days is None:
        return
    ended_before = datetime.now(UTC) - timedelta(days=keep_days)
    found = _OldRuns(context.instance, context.run, names, ended_before).prunable()
    # Deleted only after the search, whose pages begin after runs that must exist.
    run_ids = list(itertools.islice(found, _RUNS_PER_MAINTENANCE))
    for run_id in run_ids:
        context.instance.delete_run(run_id)
    if run_ids:
        context.log.info(f"{len(run_ids):,} runs that had ended more than {keep_days} days ago were deleted")


class _OldRuns:
    def __init__(
        self, instance: dg.DagsterInstance, own: dg.DagsterRun, names: AssetNames, ended_before: datetime
    ) -> None:
        self._instance = instance
        self._own = own
        self._names = names
        self._asset = dg.AssetKey(names.asset)
        self._ended_before = ended_before

    def prunable(self) -> Iterator[str]:
        """Yield the ids of the runs that may be deleted."""
        keys = self._instance.get_dynamic_partitions(self._names.partitions)
        latest = self._instance.get_latest_storage_id_by_partition(
            self._asset, dg.DagsterEventType.ASSET_MATERIALIZATION, set(keys)
        )
        kept = frozenset(latest.values())
        backfills = frozenset(backfill.backfill_id for backfill in unfinished_backfills(self._instance, self._asset))
        for run in self._finished(keys):
            if run.tags.get(_BACKFILL_TAG) not in backfills and self._is_own(run) and not self._holds(run, kept):
                yield run.run_id

    def _finished(self, keys: Sequence[str]) -> Iterator[dg.DagsterRun]:
        """Yield the old finished runs with the tag of the column or of one of its partitions, which may be others'."""
        filters: list[Mapping[str, str | Sequence[str]]] = [{COLUMN_TAG: self._names.stem}]
        if keys:
            filters += [{tag: list(keys)} for tag in _PARTITION_TAGS]
        for tags in filters:
            for record in self._records(tags):
                is_first = tags is filters[0] or COLUMN_TAG not in record.dagster_run.tags
                if is_first and end_of(record) < self._ended_before:
                    yield record.dagster_run

    def _records(self, tags: Mapping[str, str | Sequence[str]]) -> Iterator[dg.RunRecord]:
        wanted = dg.RunsFilter(
            statuses=FINISHED_RUN_STATUSES, tags=tags, created_before=self._ended_before + _TIME_ZONE_MARGIN
        )
        last: str | None = None
        while records := self._instance.get_run_records(wanted, limit=_PAGE_RUNS, ascending=True, cursor=last):
            yield from records
            last = records[-1].dagster_run.run_id

    def _is_own(self, run: dg.DagsterRun) -> bool:
        """Return whether a run is of this column; columns of other projects may have the same tags."""
        if _repository(run) != _repository(self._own):
            return False
        if COLUMN_TAG in run.tags:
            return True
        return _BACKFILL_TAG in run.tags and run.asset_selection == {self._asset}

    def _holds(self, run: dg.DagsterRun, kept: Collection[int]) -> bool:
        """Return whether a run has one of the materializations to keep, or one of another asset."""
        connection = self._instance.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
        return any(
            record.storage_id in kept or record.event_log_entry.get_dagster_event().asset_key != self._asset
            for record in connection.records
        )


def _repository(run: dg.DagsterRun) -> str | None:
    """Return the code location and repository of a run; None for a run in the process of a test or a script."""
    return run.remote_job_origin.repository_origin.get_label() if run.remote_job_origin else None
