"""The sensor that follows a table: it is off until it is switched on in the UI, and then embeds rows as they change.

A tick counts the pending rows through the partial index. A few become one run of the in-process follow job, many become
partition runs. There is no run_key, because Dagster would never again accept a key that it has seen. Here are the
reading and the requests; what a tick does is decided in `decision`.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import dagster as dg
from pydantic import AwareDatetime, BaseModel, ConfigDict, FiniteFloat, ValidationError

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.column import BoundColumn, bind_column
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.rows.keys import TableKeys
from crdbvec_pipelines.database.rows.lag import Lag, record, unembedded_lag_seconds
from crdbvec_pipelines.database.rows.vector_rows import VectorRows
from crdbvec_pipelines.database.schema.migrations import present_column
from crdbvec_pipelines.database.schema.prepare import is_prepared
from crdbvec_pipelines.database.suspension import suspended_since
from crdbvec_pipelines.encoding.registry import ModelRegistry
from crdbvec_pipelines.errors import CrdbvecError
from crdbvec_pipelines.keyspace import KeyRange
from crdbvec_pipelines.orchestration.asset_names import AssetNames
from crdbvec_pipelines.orchestration.assets.check_results import lag_evaluation
from crdbvec_pipelines.orchestration.instance.in_progress import (
    RANGE_END_TAG,
    RANGE_START_TAG,
    WorkInProgress,
    find_work_in_progress,
)
from crdbvec_pipelines.orchestration.partitions.sync import key_range_or_none
from crdbvec_pipelines.orchestration.resources import database_of
from crdbvec_pipelines.orchestration.sensors.backoff import backoff_after_failures
from crdbvec_pipelines.orchestration.sensors.decision import MAX_COUNTED_ROWS, Decision, TickState, decide
from crdbvec_pipelines.partitioning import open_range_needs_split
from crdbvec_pipelines.refresh.permission import paused_text
from crdbvec_pipelines.refresh.rounds import read_watermark
from crdbvec_pipelines.refresh.watermark import Watermark
from crdbvec_pipelines.telemetry.runs import run_metrics

# Dagster ends a tick after 60 s and discards its result.
_TICK_SECONDS = 30.0
# Reading the next bound costs a scan of one partition's keys, and a table does not outgrow a partition in minutes.
_SPLIT_CHECK_INTERVAL_SECONDS = 600.0
# An unchanged backlog is reported again after this time, so that the plot has points.
_OBSERVATION_INTERVAL_SECONDS = 3_600.0
# The most partitions without pending rows between two of a run. Each costs a scan of its rows, which takes less time
# than the start of another run.
_MAX_COMPLETE = 3
_TRIGGER_TAGS = {"crdbvec/trigger": "follow"}
_CURSOR_RESET = "the cursor was invalid and has been reset"


class TickCursor(BaseModel):
    """What a tick stores for the next one."""

    model_config = ConfigDict(extra="forbid")

    edited_since: AwareDatetime | None = None
    watermark: Watermark | None = None
    observed: int | None = None
    observed_at: FiniteFloat = 0.0
    tail_checked_at: FiniteFloat = 0.0
    is_lag_kept: bool | None = None
    lag_reported_at: FiniteFloat = 0.0
    next_partition: int = 0
    second: "TickCursor | None" = None

    @classmethod
    def read(cls, text: str | None) -> "TickCursor | None":
        """Return the cursor in a text, an empty one for no text; None for what is not a cursor and was set by hand."""
        if not text:
            return cls()
        try:
            return cls.model_validate_json(text)
        except ValidationError:
            return None


@dataclass(frozen=True)
class _Outcome:
    """What the tick of one column does.

    Attributes:
        skip_reason: Why no run is requested; None if runs are requested.
        run_requests: The requested runs.
        events: What it reports about the asset.
    """

    skip_reason: str | None
    run_requests: Sequence[dg.RunRequest]
    events: Sequence[dg.AssetObservation | dg.AssetCheckEvaluation]


def build_follow_sensor(
    spec: VectorColumn,
    names: AssetNames,
    registry: ModelRegistry,
    jobs: Sequence[Any],
    second: tuple[VectorColumn, AssetNames] | None = None,
) -> dg.SensorDefinition:
    """Return the follow sensor of a vector column, which also follows the second column of its model migration.

    Args:
        spec: The vector column.
        names: Its names in Dagster.
        registry: The models.
        jobs: The jobs that it may request. What `define_asset_job` returns has no public type.
        second: The second column of its model migration, with its names; None without one.
    """

    @dg.sensor(
        name=names.job("follow_sensor"),
        jobs=jobs,
        required_resource_keys={names.resource_for_ticks},
        minimum_interval_seconds=spec.follow.interval_seconds,
        description=f"Embeds rows of {spec.table} as they become pending. Switch it on to follow the table.",
    )
    def follow_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        database = database_of(context.resources, names.resource_for_ticks)
        deadline = time.monotonic() + _TICK_SECONDS
        read = TickCursor.read(context.cursor)
        cursor = read or TickCursor()
        outcomes = [_Tick(context, spec, names, registry, database, cursor, deadline).run()]
        if second is not None:
            cursor.second = cursor.second or TickCursor()
            outcomes.append(_second_outcome(context, *second, registry, database, cursor.second, deadline))
        requests = [request for each in outcomes for request in each.run_requests]
        events = [event for each in outcomes for event in each.events]
        reasons = [each.skip_reason for each in outcomes if each.skip_reason is not None]
        if read is None:
            context.log.warning(f"{names.job('follow_sensor')}: {_CURSOR_RESET}.")
            reasons.append(_CURSOR_RESET)
        if requests:
            return dg.SensorResult(run_requests=requests, cursor=cursor.model_dump_json(), asset_events=events)
        return dg.SensorResult(skip_reason="; ".join(reasons), cursor=cursor.model_dump_json(), asset_events=events)

    return follow_sensor


def _second_outcome(
    context: dg.SensorEvaluationContext,
    spec: VectorColumn,
    names: AssetNames,
    registry: ModelRegistry,
    database: Database,
    cursor: TickCursor,
    deadline: float,
) -> _Outcome:
    """Run the tick of a second column, whose errors must not stop the first one from being followed."""
    try:
        outcome = _Tick(context, spec, names, registry, database, cursor, deadline).run()
    except CrdbvecError as error:
        context.log.warning(str(error))
        return _Outcome(f"{spec.output}: {error}", (), ())
    if outcome.skip_reason is None:
        return outcome
    return replace(outcome, skip_reason=f"{spec.output}: {outcome.skip_reason}")


class _Tick:
    def __init__(
        self,
        context: dg.SensorEvaluationContext,
        spec: VectorColumn,
        names: AssetNames,
        registry: ModelRegistry,
        database: Database,
        cursor: TickCursor,
        deadline: float,
    ) -> None:
        self._deadline = deadline
        self._context = context
        self._spec = spec
        self._names = names
        self._database = database
        self._registry = registry
        self._cursor = cursor
        self._events: list[dg.AssetObservation | dg.AssetCheckEvaluation] = []
        self._edited_since: datetime | None = None
        self._edited_lag_seconds = 0.0

    def run(self) -> _Outcome:
        spec = self._spec
        keys = self._context.instance.get_dynamic_partitions(self._names.partitions)
        work = find_work_in_progress(
            self._context.instance, self._names, keys, timedelta(minutes=spec.follow.stuck_after_minutes)
        )
        present = present_column(self._database, spec)
        column = bind_column(self._database, present, self._registry.encoder_of(present))
        if not keys or not is_prepared(column):
            state = TickState(str(spec.table), is_ready=False, work=work, backoff=self._backoff())
            return self._result(decide(state), [])
        rows = VectorRows(column)
        pending = self._count_pending(rows)
        lag = self._measure_lag(column, pending)
        self._write_metrics(rows, pending, lag)
        self._observe(pending, lag)
        backoff = self._backoff() if pending else None
        paused = paused_text(column)
        # Read only if the tick may act on it: the next read is allowed after an interval.
        may_act = bool(pending) and not (work.backfills or work.whole_table or backoff or paused)
        decision = decide(
            TickState(
                str(spec.table),
                is_ready=True,
                work=work,
                pending=pending,
                backoff=backoff,
                needs_split=may_act and self._needs_split(column, keys),
                paused=paused,
                lag_seconds=0.0 if lag is None else lag.seconds,
                target_lag_seconds=spec.target_lag_seconds,
                rows_per_second=self._rows_per_second() if may_act and lag is not None else None,
                small_backlog=spec.follow.small_backlog,
                max_partition_runs=spec.follow.partition_runs,
            )
        )
        if decision.action == "skip" and (failures := rows.errors.count()).total:
            # Failed rows are not pending, so "0 pending rows" alone would hide them.
            failed = f"{failures.total:,} failed, {failures.deferred:,} of them deferred"
            decision = Decision("skip", f"{decision.reason}; {failed}")
        if decision.action != "encode":
            return self._result(decision, [])
        requests = self._partition_runs(rows, keys, work, decision.max_runs)
        if not requests:
            reason = work.description or "scanning further partitions at the next tick"
            decision = Decision("skip", f"{decision.reason}; {reason}")
        return self._result(decision, requests)

    def _count_pending(self, rows: VectorRows) -> int:
        """Count the pending rows that indexes find, and store since when edited rows must be read next time."""
        seen = read_watermark(rows)
        unembedded = rows.count_unembedded(MAX_COUNTED_ROWS)
        if seen is None:
            return unembedded
        latest = seen.after(self._cursor.watermark)
        # A cursor set by hand may contain a time in the future, since when no row is edited.
        since = min(self._cursor.edited_since or seen.since, latest.since)
        edited, oldest = rows.count_edited(since, MAX_COUNTED_ROWS)
        self._edited_since = since if edited else None
        if edited and oldest is not None:
            self._edited_lag_seconds = max(0.0, (seen.seen_at - oldest).total_seconds())
        if edited < MAX_COUNTED_ROWS:
            self._cursor.watermark = latest
            # Rows updated before the first stale one need not be read again.
            self._cursor.edited_since = min(oldest or latest.since, latest.since)
        return unembedded + edited

    def _measure_lag(self, column: BoundColumn, pending: int) -> Lag | None:
        """Record the lag, and report the check of it when its result has changed, and once an hour."""
        spec, cursor = self._spec, self._cursor
        if spec.target_lag is None:
            return None
        lag = record(column, max(unembedded_lag_seconds(column), self._edited_lag_seconds) if pending else 0.0)
        evaluation = lag_evaluation(self._names, spec, lag)
        is_recent = _is_within(_OBSERVATION_INTERVAL_SECONDS, cursor.lag_reported_at)
        if evaluation.passed != cursor.is_lag_kept or not is_recent:
            cursor.is_lag_kept, cursor.lag_reported_at = evaluation.passed, time.time()
            self._events.append(evaluation)
        return lag

    def _write_metrics(self, rows: VectorRows, pending: int, lag: Lag | None) -> None:
        """Add the state of the column, and that a tick took place, to its textfile."""
        spec = self._spec
        with run_metrics(spec) as metrics:
            if metrics is not None:
                metrics.set(spec, "crdbvec_rows_pending", pending)
                metrics.set(spec, "crdbvec_rows_failed_recorded", rows.errors.count().total)
                metrics.set(spec, "crdbvec_oldest_pending_seconds", None if lag is None else lag.seconds)
                metrics.set(spec, "crdbvec_suspended", float(suspended_since(rows.column) is not None))
                metrics.round_ended(spec)

    def _rows_per_second(self) -> float | None:
        """Return the rate of the last materialization."""
        event = self._context.instance.get_latest_materialization_event(dg.AssetKey(self._names.asset))
        materialization = event.asset_materialization if event else None
        rate = materialization.metadata.get("rows_per_second") if materialization else None
        return (
            float(rate.value) if isinstance(rate, (dg.FloatMetadataValue, dg.IntMetadataValue)) and rate.value else None
        )

    def _backoff(self) -> str | None:
        interval = timedelta(seconds=self._spec.follow.interval_seconds)
        return backoff_after_failures(self._context.instance, self._names, interval)

    def _needs_split(self, column: BoundColumn, present: Sequence[str]) -> bool:
        """Return whether the range with the open upper end has outgrown its size; read once per interval."""
        if _is_within(_SPLIT_CHECK_INTERVAL_SECONDS, self._cursor.tail_checked_at):
            return False
        self._cursor.tail_checked_at = time.time()
        return open_range_needs_split(TableKeys(self._database, column.table), self._spec.partitions, present)

    def _partition_runs(
        self, rows: VectorRows, keys: Sequence[str], work: WorkInProgress, max_runs: int
    ) -> list[dg.RunRequest]:
        """Return runs for partitions with pending rows, starting where the last tick stopped.

        Partitions that are near to each other share a run, because to start one takes longer than to embed the rows of
        a partition with few pending ones.
        """
        first = self._cursor.next_partition % len(keys)
        positions = (*range(first, len(keys)), *range(first))
        free = {
            position: key_range
            for position in positions
            if keys[position] not in work.partitions
            and (key_range := key_range_or_none(keys[position], self._spec.table)) is not None
        }
        groups: list[tuple[int, int]] = []
        for position in self._pending_partitions(rows, free):
            start, end = groups[-1] if groups else (0, len(keys))
            between = range(end + 1, position)
            is_near = end < position < start + self._spec.partitions.max_per_run and len(between) <= _MAX_COMPLETE
            if is_near and free.keys() >= set(between):
                groups[-1] = (start, position)
            elif len(groups) < max_runs:
                groups.append((position, position))
            else:
                self._cursor.next_partition = position
                break
        return [self._partition_run(keys[start], keys[end]) for start, end in groups]

    def _pending_partitions(self, rows: VectorRows, free: Mapping[int, KeyRange]) -> Iterator[int]:
        """Yield the positions of partitions with pending rows, until the deadline; the cursor follows."""

        def read() -> Iterator[KeyRange]:
            for position, key_range in free.items():
                if time.monotonic() > self._deadline:
                    return
                self._cursor.next_partition = position + 1
                yield key_range

        for _ in rows.ranges_with_pending(read(), self._edited_since):
            yield self._cursor.next_partition - 1

    def _partition_run(self, first: str, last: str) -> dg.RunRequest:
        job = self._names.job("encode")
        if first == last:
            return dg.RunRequest(job_name=job, partition_key=first, tags=_TRIGGER_TAGS)
        return dg.RunRequest(job_name=job, tags={**_TRIGGER_TAGS, RANGE_START_TAG: first, RANGE_END_TAG: last})

    def _observe(self, pending: int, lag: Lag | None) -> None:
        """Report the backlog for the UI's plot when it has changed, and once an hour."""
        cursor = self._cursor
        if pending == cursor.observed and _is_within(_OBSERVATION_INTERVAL_SECONDS, cursor.observed_at):
            return
        cursor.observed, cursor.observed_at = pending, time.time()
        metadata: dict[str, int | float] = {"rows_pending": pending}
        if lag is not None:
            metadata["lag_seconds"] = round(lag.seconds, 3)
            metadata |= {f"lag_p{share}_seconds": round(lag.percentile(share / 100), 3) for share in (50, 99)}
        self._events.append(dg.AssetObservation(dg.AssetKey(self._names.asset), metadata=metadata))

    def _result(self, decision: Decision, partition_runs: Sequence[dg.RunRequest]) -> _Outcome:
        if decision.action == "skip":
            return _Outcome(decision.reason, (), self._events)
        requests = partition_runs if decision.action == "encode" else [self._job_run(decision.action)]
        return _Outcome(None, requests, self._events)

    def _job_run(self, action: str) -> dg.RunRequest:
        config = {"edited_since": self._edited_since.isoformat()} if action == "follow" and self._edited_since else None
        ops = {self._names.op(action): {"config": config}} if config else {}
        return dg.RunRequest(job_name=self._names.job(action), run_config={"ops": ops}, tags=_TRIGGER_TAGS)


def _is_within(seconds: float, since: float) -> bool:
    """Return whether a time of the cursor is less than this long ago; False if it is in the future."""
    return 0 <= time.time() - since < seconds
