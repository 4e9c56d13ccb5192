"""The sensor that follows a table: off until somebody switches it on in the UI, which *is* follow mode.

A tick asks the partial index how many rows are pending. A few become one run of the in-process follow job, many become
partition runs, a few at a time. There is no run_key: Dagster would take it for done for ever.
"""

import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
from pydantic import BaseModel

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.introspect import read_table
from crdbvec_pipelines.database.keys import TableKeys
from crdbvec_pipelines.database.rows import VectorRows
from crdbvec_pipelines.database.schema import is_prepared
from crdbvec_pipelines.encoding.registry import ModelRegistry
from crdbvec_pipelines.keyspace import KeyRange, partition_key
from crdbvec_pipelines.orchestration.in_flight import InFlight, in_flight
from crdbvec_pipelines.orchestration.names import Names
from crdbvec_pipelines.orchestration.partitions import readable_range
from crdbvec_pipelines.orchestration.resources import CockroachResource
from crdbvec_pipelines.orchestration.setback import pause_after_failures
from crdbvec_pipelines.partitioning import tail_has_outgrown

# Dagster ends a tick after 60 s and forgets what it found.
_TICK_SECONDS = 30.0
_COUNT_AT_MOST = 100_000
_SECONDS_BETWEEN_TAIL_CHECKS = 600.0
_SECONDS_BETWEEN_OBSERVATIONS = 3_600.0
# A transaction may commit later than the time it wrote into updated_at.
_OVERLAP = timedelta(minutes=10)
_TRIGGER_TAGS = {"crdbvec/trigger": "follow"}


class TickCursor(BaseModel):
    """What a tick remembers for the next one."""

    edited_since: datetime | None = None
    observed: int | None = None
    observed_at: float = 0.0
    tail_checked_at: float = 0.0
    next_partition: int = 0


def build_follow_sensor(
    spec: VectorColumn, names: Names, registry: ModelRegistry, jobs: Sequence[Any]
) -> dg.SensorDefinition:
    """The follow sensor of a vector column.

    Args:
        spec: the vector column.
        names: its names in Dagster.
        registry: its model.
        jobs: the jobs it may request, by their names. What `define_asset_job` returns has no public type.
    """

    @dg.sensor(
        name=names.job("follow_sensor"),
        jobs=jobs,
        minimum_interval_seconds=spec.follow.interval_seconds,
        description=f"Embeds rows of {spec.table} as they become pending. Switch it on to follow the table.",
    )
    def follow_sensor(context: dg.SensorEvaluationContext, cockroach_for_ticks: CockroachResource) -> dg.SensorResult:
        tick = _Tick(context, spec, names, registry, cockroach_for_ticks)
        return tick.run()

    return follow_sensor


class _Tick:
    def __init__(
        self,
        context: dg.SensorEvaluationContext,
        spec: VectorColumn,
        names: Names,
        registry: ModelRegistry,
        cockroach: CockroachResource,
    ) -> None:
        self._deadline = time.monotonic() + _TICK_SECONDS
        self._context = context
        self._spec = spec
        self._names = names
        self._database = cockroach.database
        self._registry = registry
        self._cursor = TickCursor.model_validate_json(context.cursor) if context.cursor else TickCursor()
        self._events: list[dg.AssetObservation] = []

    def run(self) -> dg.SensorResult:
        spec = self._spec
        keys = self._context.instance.get_dynamic_partitions(self._names.partitions)
        work = in_flight(self._context.instance, self._names, keys, timedelta(minutes=spec.follow.stuck_after_minutes))
        table = read_table(self._database, spec.table)
        if not keys or not is_prepared(self._database, table, spec):
            if reason := work.sentence or self._pause():
                return self._skip(f"{spec.table} is not ready yet; {reason}")
            return self._request([self._run("sync_partitions")])
        rows = VectorRows(self._database, table, spec, self._registry.load(spec.model).model_id)
        started = datetime.now(UTC)
        missing = rows.count_missing(_COUNT_AT_MOST)
        since = self._cursor.edited_since or started - _OVERLAP
        edited, oldest = rows.count_edited(since, _COUNT_AT_MOST) if spec.updated_at else (0, None)
        self._observe(missing + edited)
        found = f"{_pending_rows(missing + edited)} in {spec.table}"
        if edited < _COUNT_AT_MOST:
            # What was updated before the first outdated row needs no second look.
            self._cursor.edited_since = min(oldest or started, started - _OVERLAP)
        if missing + edited == 0:
            return self._skip(found)
        if work.backfills or work.whole_table:
            return self._skip(f"{found}; {work.sentence}")
        if pause := self._pause():
            return self._skip(f"{found}; {pause}")
        requests = list(self._extend(TableKeys(self._database, table), keys))
        if requests:
            return self._request(requests)
        if missing + edited <= spec.follow.small_backlog:
            if work.partitions:
                return self._skip(f"{found}; {work.sentence}")
            return self._request([self._run("follow", {"edited_since": since.isoformat()} if edited else {})])
        requests = list(self._partition_runs(rows, keys, work, since if edited else None))
        return self._request(requests) if requests else self._skip(f"{found}; {work.sentence or 'looking on'}")

    def _pause(self) -> str | None:
        interval = timedelta(seconds=self._spec.follow.interval_seconds)
        return pause_after_failures(self._context.instance, self._names, interval)

    def _extend(self, keys: TableKeys, present: Sequence[str]) -> Iterator[dg.RunRequest]:
        """A run that plans the partitions anew, where the open tail has outgrown its range."""
        if time.time() - self._cursor.tail_checked_at < _SECONDS_BETWEEN_TAIL_CHECKS:
            return
        self._cursor.tail_checked_at = time.time()
        if tail_has_outgrown(keys, self._spec.partitions, present):
            yield self._run("sync_partitions")

    def _partition_runs(
        self, rows: VectorRows, keys: Sequence[str], work: InFlight, edited_since: datetime | None
    ) -> Iterator[dg.RunRequest]:
        """Runs for partitions with pending rows, going on where the last tick stopped."""
        room = self._spec.follow.partition_runs - len(work.partitions)
        places = (*range(first := self._cursor.next_partition % len(keys), len(keys)), *range(first))
        found = rows.ranges_with_pending(self._looked_at(keys, places, work), edited_since)
        for key_range in itertools.islice(found, max(0, room)):
            yield dg.RunRequest(
                job_name=self._names.job("encode"),
                partition_key=partition_key(self._spec.table, key_range),
                tags=_TRIGGER_TAGS,
            )

    def _looked_at(self, keys: Sequence[str], places: Iterable[int], work: InFlight) -> Iterator[KeyRange]:
        """The partitions that nobody works on, for as long as there is time; the cursor is behind the last of them."""
        for place in places:
            if time.monotonic() > self._deadline:
                return
            self._cursor.next_partition = place + 1
            key_range = readable_range(keys[place], self._spec.table)
            if key_range is not None and keys[place] not in work.partitions:
                yield key_range

    def _run(self, action: str, config: dict[str, object] | None = None) -> dg.RunRequest:
        ops = {self._names.op(action): {"config": config}} if config else {}
        return dg.RunRequest(job_name=self._names.job(action), run_config={"ops": ops}, tags=_TRIGGER_TAGS)

    def _observe(self, pending: int) -> None:
        """Reports the backlog for the UI's plot when it has changed, and once an hour."""
        cursor = self._cursor
        if pending == cursor.observed and time.time() - cursor.observed_at < _SECONDS_BETWEEN_OBSERVATIONS:
            return
        cursor.observed, cursor.observed_at = pending, time.time()
        self._events.append(dg.AssetObservation(dg.AssetKey(self._names.asset), metadata={"rows_pending": pending}))

    def _skip(self, reason: str) -> dg.SensorResult:
        return dg.SensorResult(skip_reason=reason, cursor=self._cursor.model_dump_json(), asset_events=self._events)

    def _request(self, requests: Sequence[dg.RunRequest]) -> dg.SensorResult:
        return dg.SensorResult(run_requests=requests, cursor=self._cursor.model_dump_json(), asset_events=self._events)


def _pending_rows(count: int) -> str:
    if count == 1:
        return "1 pending row"
    return f"{'at least ' if count >= _COUNT_AT_MOST else ''}{count:,} pending rows"
