"""The storage of runs, in which a backfill waits for the retries of its failed runs.

Dagster first stores that a run has failed, and then whether the run will be retried. If the daemon evaluates the
backfill between the two, it ends the backfill as failed, and the run is then not retried because its backfill has ended
(Dagster's issue 34204). A failed run without that decision therefore counts as unfinished here.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster_postgres import PostgresRunStorage

from crdbvec_pipelines.orchestration.instance.dagster_internals import (
    BACKFILL_ID_TAG,
    NOT_FINISHED_STATUSES,
    WILL_RETRY_TAG,
)

# The decision follows the failure within a second. If the process that had to store it was killed, the daemon does it
# within a few seconds, unless its retries were disabled then.
_DECISION_TIMEOUT = timedelta(minutes=2)


class RunStorage(PostgresRunStorage):
    """Runs in PostgreSQL; a run of a backfill is unfinished until it is stored whether it will be retried."""

    def get_run_ids(
        self, filters: dg.RunsFilter | None = None, cursor: str | None = None, limit: int | None = None
    ) -> Sequence[str]:
        """Return the ids of the runs that match the filter; one for unfinished runs matches undecided ones too."""
        found = super().get_run_ids(filters, cursor, limit)
        if found or filters is None or not self._asks_for_unfinished_runs_of_backfill(filters):
            return found
        since = datetime.now(UTC) - _DECISION_TIMEOUT
        failed = self.get_runs(
            dg.RunsFilter(tags=filters.tags, statuses=[dg.DagsterRunStatus.FAILURE], updated_after=since)
        )
        return [run.run_id for run in failed if WILL_RETRY_TAG not in run.tags][:limit]

    def _asks_for_unfinished_runs_of_backfill(self, filters: dg.RunsFilter) -> bool:
        return (
            BACKFILL_ID_TAG in filters.tags
            and set(filters.statuses) == set(NOT_FINISHED_STATUSES)
            and self.has_instance
            and self._instance.run_retries_enabled
        )
