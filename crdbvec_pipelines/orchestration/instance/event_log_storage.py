"""The storage of events, in which the daemon sees the failure of a run only after its run is stored as failed.

Dagster first stores the event of a failure, then the status of the run, and then whether the run will be retried. If
the daemon that launches retries reads the event in between, it takes the run for one that has not failed, and never
looks at it again: the run is not retried, and its backfill waits for the retry permanently. The time in between is
milliseconds, and seconds on a busy machine.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster_postgres import PostgresEventLogStorage

from crdbvec_pipelines.orchestration.instance.dagster_internals import NOT_FINISHED_STATUSES, WILL_RETRY_TAG

# The process that has stored the event stores the rest immediately afterwards, unless it was killed.
_DECISION_TIMEOUT = timedelta(minutes=2)


class EventLogStorage(PostgresEventLogStorage):
    """Events in PostgreSQL; failures of runs whose retry is not decided yet are read later."""

    def get_logs_for_all_runs_by_log_id(
        self,
        after_cursor: int = -1,
        dagster_event_type: dg.DagsterEventType | set[dg.DagsterEventType] | None = None,
        limit: int | None = None,
    ) -> Mapping[int, dg.EventLogEntry]:
        """Return the events after one of them; failures only up to the first whose retry is not decided."""
        found = super().get_logs_for_all_runs_by_log_id(after_cursor, dagster_event_type, limit)
        if dagster_event_type != {dg.DagsterEventType.RUN_FAILURE} or not self.has_instance:
            return found
        decided = {}
        for log_id, entry in sorted(found.items()):
            if self._is_undecided(entry):
                break
            decided[log_id] = entry
        return decided

    def _is_undecided(self, entry: dg.EventLogEntry) -> bool:
        logged_at = datetime.fromtimestamp(entry.timestamp, UTC)
        if datetime.now(UTC) - logged_at > _DECISION_TIMEOUT:
            return False
        run = self._instance.get_run_by_id(entry.run_id)
        if run is None:
            return False
        is_retry_open = self._instance.run_retries_enabled and WILL_RETRY_TAG not in run.tags
        return run.status in NOT_FINISHED_STATUSES or is_retry_open
