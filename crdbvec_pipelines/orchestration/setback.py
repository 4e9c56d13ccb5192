"""How long the sensor waits where runs fail: twice as long after each, so that a fault that lasts makes few runs."""

import itertools
from datetime import UTC, datetime, timedelta

import dagster as dg

from crdbvec_pipelines.orchestration.names import COLUMN_TAG, Names

LONGEST_PAUSE = timedelta(hours=1)
_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
_COUNTED = 10


def pause_after_failures(instance: dg.DagsterInstance, names: Names, interval: timedelta) -> str | None:
    """Why to wait now, for the tick's history; None if the last run did not fail, or it is time for the next try.

    Args:
        instance: Dagster's instance.
        names: the vector column's names.
        interval: the time between two ticks, which is doubled with each failed run.
    """
    ended = instance.get_run_records(dg.RunsFilter(statuses=_ENDED, tags={COLUMN_TAG: names.stem}), limit=_COUNTED)
    failed = list(itertools.takewhile(lambda record: record.dagster_run.status == dg.DagsterRunStatus.FAILURE, ended))
    if not failed:
        return None
    until = failed[0].update_timestamp + min(interval * 2 ** len(failed), LONGEST_PAUSE)
    if datetime.now(UTC) >= until:
        return None
    runs = "run" if len(failed) == 1 else f"{len(failed)} runs"
    return f"the last {runs} failed, the next try is at {until:%H:%M:%S} UTC"
