"""The follow sensor on a real instance: what it asks for, when it keeps quiet, and what its tick history says."""

from collections.abc import Iterator
from datetime import timedelta

import dagster as dg
import psycopg
import pytest
from dagster._core.execution.backfill import BulkActionStatus

from crdbvec_pipelines.orchestration import sensors
from tests.orchestration.project import Project, project
from tests.orchestration.runs import make_backfill, make_run, make_run_of_the_ui
from tests.support.models import CallLog
from tests.support.tables import INT_SHAPE, UUID_SHAPE, create_table, insert_rows, set_text, vectors

pytestmark = pytest.mark.usefixtures("calls")

# Of the first 40 rows of this shape, some lie in each of eight ranges.
ROWS = 40


@pytest.fixture
def made(url: str, connection: psycopg.Connection) -> Iterator[Project]:
    """Forty pending rows under random keys, cut into eight partitions."""
    create_table(connection, UUID_SHAPE, [f"text {number}" for number in range(ROWS)])
    with project(url, partitions={"target_rows": 5}) as found:
        found.prepare()
        yield found


def test_the_sensor_is_off_until_somebody_switches_it_on(made: Project) -> None:
    sensor = made.definitions.resolve_sensor_def("passage_vector__follow_sensor")
    assert sensor.default_status == dg.DefaultSensorStatus.STOPPED
    assert sensor.minimum_interval_seconds == 30


def test_a_table_that_is_not_prepared_is_prepared_first(url: str, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["a"])
    with project(url) as found:
        tick = found.tick()
        assert tick.jobs == ["passage_vector__sync_partitions"]
        run_id = make_run(found, "sync_partitions")
        assert found.tick().skipped == f"public.passage is not ready yet; run {run_id[:8]} is at work"
        found.obey(tick)
        found.instance.delete_run(run_id)
        assert found.tick().jobs == ["passage_vector__follow"]


def test_nothing_pending_is_told_in_a_sentence(url: str, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["", None, "  "])
    with project(url) as found:
        found.prepare()
        assert found.tick().skipped == "0 pending rows in public.passage"


def test_a_small_backlog_is_one_follow_run_and_then_there_is_quiet(
    made: Project, connection: psycopg.Connection, calls: CallLog
) -> None:
    tick = made.tick()
    assert tick.jobs == ["passage_vector__follow"]
    assert tick.requests[0].run_key is None
    assert tick.requests[0].tags["crdbvec/trigger"] == "follow"
    made.obey(tick)
    assert all(vector is not None for vector in vectors(connection, UUID_SHAPE).values())
    assert made.tick(tick.cursor).skipped == "0 pending rows in public.passage"
    insert_rows(connection, UUID_SHAPE, {100: "new"})
    again = made.tick(tick.cursor)
    assert again.jobs == ["passage_vector__follow"]
    made.obey(again)
    assert sorted(calls.inputs()) == sorted([*(f"text {number}" for number in range(ROWS)), "new"])


def test_a_large_backlog_is_a_few_partition_runs_a_tick_in_turn(url: str, connection: psycopg.Connection) -> None:
    create_table(connection, UUID_SHAPE, [f"text {number}" for number in range(ROWS)])
    with project(url, partitions={"target_rows": 5}, follow={"small_backlog": 4, "partition_runs": 3}) as found:
        found.prepare()
        first, second, third, fourth, fifth, *_ = found.partitions
        # Nothing is pending in these two.
        for done in (second, fourth):
            found.run("encode_in_process", partition_key=done)
        asked: list[str | None] = []
        cursor = None
        for _ in range(3):
            tick = found.tick(cursor)
            assert tick.jobs == ["passage_vector__encode"] * 3
            asked += tick.partitions
            cursor = tick.cursor
        pending = [first, third, fifth, *found.partitions[5:]]
        assert asked == (pending * 2)[:9]


def test_partition_runs_under_way_leave_less_room_and_are_not_asked_for_again(
    url: str, connection: psycopg.Connection
) -> None:
    create_table(connection, UUID_SHAPE, [f"text {number}" for number in range(ROWS)])
    with project(url, partitions={"target_rows": 5}, follow={"small_backlog": 4, "partition_runs": 3}) as found:
        found.prepare()
        first, second, third, *_ = found.partitions
        make_run(found, "encode", partition=first)
        make_run_of_the_ui(found, third)
        tick = found.tick()
        assert tick.partitions == [second]
        make_run(found, "encode", partition=second)
        assert found.tick(tick.cursor).skipped == f"{ROWS} pending rows in public.passage; 3 partition runs are at work"


def test_a_finished_partition_run_makes_room_for_the_next(url: str, connection: psycopg.Connection) -> None:
    create_table(connection, UUID_SHAPE, [f"text {number}" for number in range(ROWS)])
    with project(url, partitions={"target_rows": 20}, follow={"small_backlog": 1, "partition_runs": 1}) as found:
        found.prepare()
        cursor = None
        for _ in range(3):
            tick = found.tick(cursor)
            cursor = tick.cursor
            found.obey(tick)
        assert tick.skipped == "0 pending rows in public.passage"
        assert all(vector is not None for vector in vectors(connection, UUID_SHAPE).values())


def test_a_run_over_the_whole_table_is_waited_for(made: Project) -> None:
    run_id = make_run(made, "maintain")
    assert made.tick().skipped == f"{ROWS} pending rows in public.passage; run {run_id[:8]} is at work"


def test_a_partition_run_is_waited_for_before_a_follow_run(made: Project) -> None:
    make_run(made, "encode", partition=made.partitions[0])
    assert made.tick().skipped == f"{ROWS} pending rows in public.passage; 1 partition run is at work"


def test_a_backfill_is_waited_for(made: Project) -> None:
    backfill_id = make_backfill(made, BulkActionStatus.REQUESTED)
    assert made.tick().skipped == f"{ROWS} pending rows in public.passage; backfill {backfill_id} is at work"


def test_a_run_that_died_is_not_waited_for(made: Project) -> None:
    make_run(made, "follow", age=timedelta(minutes=61))
    make_run(made, "encode", partition=made.partitions[0], age=timedelta(minutes=61))
    assert made.tick().jobs == ["passage_vector__follow"]


def test_the_backlog_is_plotted_when_it_has_changed(made: Project, connection: psycopg.Connection) -> None:
    tick = made.tick()
    assert tick.observed == [ROWS]
    assert made.tick(tick.cursor).observed == []
    insert_rows(connection, UUID_SHAPE, {100: "new"})
    later = made.tick(tick.cursor)
    assert later.observed == [ROWS + 1]
    made.run("follow")
    quiet = made.tick(later.cursor)
    assert quiet.observed == [0]
    assert made.tick(quiet.cursor).observed == []
    # Once an hour all the same, so that the plot goes on.
    assert made.tick(quiet.with_cursor(observed_at=0)).observed == [0]


def test_a_tail_that_has_outgrown_its_range_is_cut_first(url: str, connection: psycopg.Connection) -> None:
    create_table(connection, INT_SHAPE, [f"text {number}" for number in range(40)])
    with project(url, partitions={"target_rows": 10}) as found:
        found.prepare()
        before = found.partitions
        assert found.tick().jobs == ["passage_vector__follow"]
        insert_rows(connection, INT_SHAPE, {number: f"text {number}" for number in range(40, 80)})
        tick = found.tick()
        assert tick.jobs == ["passage_vector__sync_partitions"]
        # Looking costs time, so not at each tick.
        assert found.tick(tick.with_cursor(next_partition=0)).jobs == ["passage_vector__follow"]
        found.obey(tick)
        assert len(found.partitions) > len(before)
        assert found.tick().jobs == ["passage_vector__follow"]


def test_a_partition_that_somebody_added_by_hand_disturbs_nothing(url: str, connection: psycopg.Connection) -> None:
    create_table(connection, UUID_SHAPE, [f"text {number}" for number in range(ROWS)])
    with project(url, partitions={"target_rows": 5}, follow={"small_backlog": 1, "partition_runs": 100}) as found:
        found.prepare()
        real = found.partitions
        found.instance.add_dynamic_partitions(found.names.partitions, ["nonsense"])
        tick = found.tick()
        assert tick.jobs == ["passage_vector__sync_partitions"]
        assert found.tick(tick.cursor).partitions == real
        found.obey(tick)
        assert found.partitions == real


def test_a_tick_that_takes_too_long_ends_and_the_next_one_goes_on(
    url: str, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_table(connection, UUID_SHAPE, [f"text {number}" for number in range(ROWS)])
    with project(url, partitions={"target_rows": 5}, follow={"small_backlog": 1, "partition_runs": 1}) as found:
        found.prepare()
        first = found.tick()
        assert first.partitions == found.partitions[:1]
        with monkeypatch.context() as patch:
            patch.setattr(sensors, "_TICK_SECONDS", -1.0)
            late = found.tick(first.cursor)
        assert late.skipped == f"{ROWS} pending rows in public.passage; looking on"
        assert found.tick(late.cursor).partitions == found.partitions[1:2]


def test_an_edited_row_is_found_at_once_where_a_trigger_clears_its_vector(
    url: str, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, INT_SHAPE, ["a", "b"])
    with project(url, staleness="trigger") as found:
        found.run("follow")
        tick = found.tick()
        assert tick.skipped == "0 pending rows in public.passage"
        set_text(connection, INT_SHAPE, 1, "edited")
        calls.clear()
        found.obey(found.tick(tick.cursor))
        assert calls.inputs() == ["edited"]


def test_a_failed_run_is_tried_again_after_a_while_and_then_more_and_more_seldom(made: Project) -> None:
    failed = dg.DagsterRunStatus.FAILURE
    make_run(made, "follow", failed, age=timedelta(seconds=30))
    skipped = made.tick().skipped
    assert skipped is not None
    assert skipped.startswith(f"{ROWS} pending rows in public.passage; the last run failed, the next try is at ")
    # After one failure twice the interval, which is 30 s; after two four times.
    make_run(made, "follow", dg.DagsterRunStatus.SUCCESS)
    make_run(made, "follow", failed, age=timedelta(seconds=70))
    assert made.tick().jobs == ["passage_vector__follow"]
    make_run(made, "encode", failed, made.partitions[0], age=timedelta(seconds=70))
    assert "; the last 2 runs failed, the next try is at " in str(made.tick().skipped)
    # An hour at most.
    for _ in range(10):
        make_run(made, "follow", failed, age=timedelta(minutes=61))
    assert made.tick().jobs == ["passage_vector__follow"]


def test_a_table_that_cannot_be_prepared_is_not_tried_at_each_tick(url: str, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["a"])
    with project(url, manage_schema=False) as found:
        tick = found.tick()
        with pytest.raises(dg.Failure, match="manage_schema is off; run these statements"):
            found.obey(tick)
        assert "public.passage is not ready yet; the last run failed" in str(found.tick(tick.cursor).skipped)


def test_one_bad_row_leaves_the_next_ticks_quiet_until_it_is_repaired(url: str, connection: psycopg.Connection) -> None:
    create_table(connection, INT_SHAPE, ["a", "b", "POISON", "d"])
    with project(url, model="stub_moody") as found:
        found.prepare()
        tick = found.tick()
        found.obey(tick)
        assert [vector is None for _, vector in sorted(vectors(connection).items())] == [False, False, True, False]
        quiet = found.tick(tick.cursor)
        assert quiet.skipped == "0 pending rows in public.passage"
        set_text(connection, INT_SHAPE, 2, "mended")
        again = found.tick(quiet.cursor)
        assert again.jobs == ["passage_vector__follow"]
        found.obey(again)
        assert all(vector is not None for vector in vectors(connection).values())
        assert connection.execute("SELECT count(*) FROM crdbvec_row_errors").fetchone() == (0,)
