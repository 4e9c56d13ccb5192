"""The events of partitions in which some rows were embedded, by the follow job or by `crdbvec embed --follow`.

They have the same metadata as those of a run that completes partitions, and the checks are evaluated again, because
Dagster shows only evaluations after the latest materialization.
"""

import time
from collections.abc import Iterator, Mapping

import dagster as dg

from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.database.rows.range_state import RangeState, range_state
from crdbvec_pipelines.keyspace import KeyRange, partition_key
from crdbvec_pipelines.orchestration.asset_names import AssetNames
from crdbvec_pipelines.orchestration.assets.check_results import report_touched_checks
from crdbvec_pipelines.orchestration.assets.metadata import COUNTS, ROW_COUNT, STATE_COUNTS, materialization
from crdbvec_pipelines.orchestration.instance.dagster_internals import outdated, version_tags
from crdbvec_pipelines.refresh.completion import Completion
from crdbvec_pipelines.refresh.report import RefreshReport

# Reading a partition takes about as long as embedding a hundred of its rows. A follower of a table with random keys
# touches many partitions with few rows each, so it spends a limited share of its time on reading them.
_READ_SECONDS, _READ_SHARE = 5.0, 0.1


class TouchedPartitions:
    """Makes the events of the partitions of one vector column that a follower touches.

    The numbers of a partition's rows come from one read of it; if the time for reading is spent, they are those of its
    last materialization.

    Args:
        instance: The instance, with the earlier events.
        names: The names of the column in Dagster.
        column: The prepared column.
    """

    def __init__(self, instance: dg.DagsterInstance, names: AssetNames, column: BoundColumn) -> None:
        self._instance = instance
        self._names = names
        self._column = column
        self._versions = version_tags(instance, names)
        self._started = time.monotonic()
        self._reading_seconds = 0.0
        self.states: dict[str, RangeState] = {}
        """The last state of each partition that was read, by partition key."""

    def materializations(
        self, report: RefreshReport, touched: Mapping[KeyRange, int]
    ) -> Iterator[dg.AssetMaterialization]:
        """Yield one event for each touched partition.

        Args:
            report: What was done in all of them.
            touched: How many rows were embedded in each.
        """
        for key_range, rows_embedded in touched.items():
            key = partition_key(self._column.spec.table, key_range)
            state = None if self._has_time() else self._last_state(key)
            if state is None:
                state = self.states[key] = self._read(key_range)
            done = Completion(report, state, is_claimed=False, is_done=True)
            versions = outdated(self._versions) if state.stale else self._versions
            yield materialization(self._names, self._column, key, done, versions=versions, rows_embedded=rows_embedded)

    def report_checks(self) -> None:
        """Evaluate the checks again, after the events of `materializations` have been logged."""
        report_touched_checks(self._instance, self._names, self._column, self.states)

    def _has_time(self) -> bool:
        return self._reading_seconds < _READ_SECONDS + _READ_SHARE * (time.monotonic() - self._started)

    def _read(self, key_range: KeyRange) -> RangeState:
        started = time.monotonic()
        state = range_state(self._column, key_range)
        self._reading_seconds += time.monotonic() - started
        return state

    def _last_state(self, key: str) -> RangeState | None:
        """Return the rows of a partition at its last materialization; None if that does not have all numbers."""
        wanted = dg.AssetRecordsFilter(asset_key=dg.AssetKey(self._names.asset), asset_partitions=[key])
        for record in self._instance.fetch_materializations(wanted, limit=1).records:
            event = record.asset_materialization
            counts = None if event is None else event.metadata.get(COUNTS)
            if event is None or not isinstance(counts, dg.JsonMetadataValue):
                continue
            state = dict(counts.data) if isinstance(counts.data, Mapping) else {}
            if state.keys() >= STATE_COUNTS:
                return RangeState(
                    rows=_number(event, ROW_COUNT),
                    unembedded=_number(event, "rows_pending") + state["rows_deferred"] - state["rows_stale"],
                    stale=state["rows_stale"],
                    failed=state["rows_failed_recorded"],
                    deferred=state["rows_deferred"],
                    blank=state["rows_blank"],
                )
        return None


def _number(event: dg.AssetMaterialization, name: str) -> int:
    return int(str(event.metadata[name].value))
