"""The token bucket: its arithmetic without a clock of its own, and several processes that share it."""

import threading
import time
from collections.abc import Iterator

import psycopg
import pytest

from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.limits.row_pace import RowPace, Unlimited, pace_of
from crdbvec_pipelines.database.limits.statements import assign_rows
from tests.support.tables import INT_SHAPE, column, create_table, vectors
from tests.support.work import embed, prepared


@pytest.fixture
def bound(database: Database, connection: psycopg.Connection) -> BoundColumn:
    create_table(connection, INT_SHAPE, [f"text {number}" for number in range(60)])
    return prepared(database, column(max_rows_per_second=500, model="stub_hash"))


class Clock:
    """A clock that only advances when the code under test sleeps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time, "sleep", self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Schedule:
    """The server's schedule with the clock of the test in place of the server's."""

    def __init__(self, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        self._clock = clock
        self._until = 0.0
        self.assigned: list[float] = []
        monkeypatch.setattr(Database, "fetch_one", self.fetch_one)

    def fetch_one(self, statement: object, parameters: dict[str, object]) -> tuple[float]:
        duration = parameters["duration"].total_seconds()  # type: ignore[attr-defined]
        self._until = max(self._until, self._clock.now) + duration
        self.assigned.append(duration)
        return (self._until - self._clock.now,)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def schedule(bound: BoundColumn, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Schedule:
    return Schedule(clock, monkeypatch)


def write(pace: RowPace, rows: int) -> Iterator[int]:
    """Write rows in groups as large as allowed, and yield the rows of each group when it may be written."""
    while rows:
        group = min(rows, pace.largest_group or rows)
        pace.wait(group, rows)
        yield group
        rows -= group


def test_one_process_writes_at_the_rate_and_asks_once_a_second(
    bound: BoundColumn, clock: Clock, schedule: Schedule
) -> None:
    pace = RowPace(bound, 500)
    started = clock.now
    written = sum(write(pace, 5_000))
    # The last group is written a tenth of a second before its period ends.
    assert clock.now - started == pytest.approx(10 - 0.1)
    assert written == 5_000
    assert schedule.assigned == pytest.approx([1.0] * 10)


def test_processes_that_take_turns_have_one_rate_together(bound: BoundColumn, clock: Clock, schedule: Schedule) -> None:
    started = clock.now
    writers = [write(RowPace(bound, 500), 2_000) for _ in range(4)]
    # Each process has its own time; the one whose time is the earliest is next.
    times = dict.fromkeys(writers, started)
    written = []
    while times:
        writer = min(times, key=lambda each: times[each])
        clock.now = times[writer]
        rows = next(writer, None)
        if rows is None:
            del times[writer]
        else:
            times[writer] = clock.now
            written.append((clock.now, rows))
    assert sum(rows for _, rows in written) == 8_000
    assert max(times for times, _ in written) - started == pytest.approx(8_000 / 500 - 0.1)
    # In no second are more rows written than allowed, but for the group with which a second begins.
    for second in range(16):
        rows = sum(rows for at, rows in written if second <= at - started - 1e-6 < second + 1)
        assert rows <= 550


def test_small_batches_are_assigned_what_they_need(bound: BoundColumn, clock: Clock, schedule: Schedule) -> None:
    pace = RowPace(bound, 500)
    started = clock.now
    for _ in range(10):
        assert sum(write(pace, 3)) == 3
    assert schedule.assigned == pytest.approx([3 / 500] * 10)
    assert clock.now - started < 30 / 500


def embed_second(pace: RowPace, seconds: list[float], retries: int = 0) -> None:
    """Write a second's rows in ten groups; the times of the groups are repeated."""
    for number, rows in enumerate(write(pace, 500)):
        assert rows == 50
        pace.wrote(seconds[number % len(seconds)], retries if number == 0 else 0)


def test_the_rate_falls_while_most_groups_are_slow_and_rises_again(
    bound: BoundColumn, clock: Clock, schedule: Schedule
) -> None:
    pace = RowPace(bound, 500)
    for seconds, share in ([0.5, 0.5, 0.01], 1), ([0.5, 0.5, 0.01], 1 / 2), ([0.01], 1 / 4), ([0.01], 3 / 8):
        embed_second(pace, seconds)
        assert pace.rate == pytest.approx(500 * share)


def test_one_retry_lowers_the_rate(bound: BoundColumn, clock: Clock, schedule: Schedule) -> None:
    pace = RowPace(bound, 500)
    embed_second(pace, [0.01], retries=1)
    embed_second(pace, [0.01])
    assert pace.rate == pytest.approx(250)


def test_single_slow_groups_do_not_lower_the_rate(bound: BoundColumn, clock: Clock, schedule: Schedule) -> None:
    pace = RowPace(bound, 500)
    for _ in range(5):
        embed_second(pace, [0.01, 0.01, 0.5])
        assert pace.rate == pytest.approx(500)


def test_slow_groups_of_small_batches_are_judged_together(bound: BoundColumn, clock: Clock, schedule: Schedule) -> None:
    pace = RowPace(bound, 500)
    rates = []
    for _ in range(8):
        assert sum(write(pace, 3)) == 3
        rates.append(pace.rate)
        pace.wrote(0.5, 0)
    assert rates == pytest.approx([500] * 6 + [250, 312.5])


def test_a_process_that_was_late_does_not_write_a_burst(bound: BoundColumn, clock: Clock, schedule: Schedule) -> None:
    pace = RowPace(bound, 500)
    pace.wait(50, 500)
    clock.now += 60
    pace.wait(50, 450)
    assert len(schedule.assigned) == 2


def test_without_a_limit_nothing_is_asked(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, INT_SHAPE, ["a"])
    bound = prepared(database, column(model="stub_hash"))
    assert isinstance(pace_of(bound), Unlimited)
    assert embed(database, bound.spec).rows_embedded == 1
    assert connection.execute("SELECT count(*) FROM crdbvec_limits").fetchone() == (0,)


def test_the_server_assigns_periods_that_follow_one_another(bound: BoundColumn) -> None:
    statement = assign_rows(bound.table.name.schema)
    ends = []

    def assign() -> None:
        for _ in range(5):
            (left,) = bound.database.fetch_one(statement, {"table_name": "t", "duration": "10 seconds"})
            ends.append(left + time.monotonic())

    threads = [threading.Thread(target=assign) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Whatever the load of the machine, the periods of 10 s neither overlap nor leave a gap.
    (until,) = bound.database.fetch_one(statement, {"table_name": "t", "duration": "10 seconds"})
    assert round((until + time.monotonic() - min(ends)) / 10) == 20
    assert sorted(round((end - min(ends)) / 10) for end in ends) == list(range(20))


def test_an_embedded_column_is_within_its_limit(
    bound: BoundColumn, database: Database, connection: psycopg.Connection
) -> None:
    started = time.monotonic()
    report = embed(database, bound.spec.model_copy(update={"max_rows_per_second": 100}))
    assert report.rows_embedded == 60
    assert all(vector is not None for vector in vectors(connection).values())
    # The last group of ten rows is written half a second after the first one, or later.
    assert time.monotonic() - started >= 0.5
