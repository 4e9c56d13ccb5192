"""The sensor's backoff after failed runs: the wait doubles with each, so that a lasting error causes few runs."""

import itertools
from datetime import UTC, datetime, timedelta

import dagster as dg

from crdbvec_pipelines.orchestration.asset_names import COLUMN_TAG, AssetNames
from crdbvec_pipelines.orchestration.instance.run_times import FINISHED_RUN_STATUSES, end_of

MAX_BACKOFF = timedelta(hours=1)
# The backoff reaches its maximum after at most this many failed runs, whatever the interval.
_MAX_COUNTED_RUNS = 10


def backoff_after_failures(instance: dg.DagsterInstance, names: AssetNames, interval: timedelta) -> str | None:
    """Return why to wait now, for the tick history; None if the last run succeeded or the wait is over.

    Args:
        instance: Dagster's instance.
        names: The vector column's names.
        interval: The time between two ticks, which is doubled with each failed run.
    """
    finished = instance.get_run_records(
        dg.RunsFilter(statuses=FINISHED_RUN_STATUSES, tags={COLUMN_TAG: names.stem}), limit=_MAX_COUNTED_RUNS
    )
    failed = list(
        itertools.takewhile(lambda record: record.dagster_run.status == dg.DagsterRunStatus.FAILURE, finished)
    )
    if not failed:
        return None
    until = end_of(failed[0]) + min(interval * 2 ** len(failed), MAX_BACKOFF)
    if datetime.now(UTC) >= until:
        return None
    runs = "run" if len(failed) == 1 else f"{len(failed)} runs"
    return f"the last {runs} failed, the next attempt is at {until:%H:%M:%S} UTC"
