"""When a run ended, from the times that do not depend on the time zone of Dagster's storage."""

from datetime import UTC, datetime

import dagster as dg

FINISHED_RUN_STATUSES = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


def end_of(record: dg.RunRecord) -> datetime:
    """Return when a finished run ended.

    The end is stored in seconds since 1970. The time of the update, which a run of an early release of Dagster has
    instead, was written in the time zone of the storage's session.
    """
    return record.update_timestamp if record.end_time is None else datetime.fromtimestamp(record.end_time, UTC)
