"""The follow sensor on a real instance: the runs that it requests, and the reasons in its tick history."""

from datetime import timedelta

import dagster as dg
import psycopg
import pytest
from dagster._core.execution.backfill import BulkActionStatus

from crdbvec_pipelines.orchestration.sensors import follow as follow_sensor
from tests.orchestration.project import BuildProject, Project, Tick
from tests.orchestration.runs import make_backfill, make_run, make_ui_run
from tests.support.models import CallLog
from tests.support.tables import INT_SHAPE, UUID_SHAPE, create_table, insert_rows, set_text, vectors

pytestmark = pytest.mark.usefixtures("calls")

# Of the first 40 rows of the UUID shape, each of eight partitions contains some.
ROWS = 40
FOUND = f"{ROWS} pending rows in public.passage"


@pytest.fixture
def pending_table(connection: psycopg.Connection) -> None:
    """A table with forty pending rows under random keys."""
    create_table(connection, UUID_SHAPE, [f"text {number}" for number in range(ROWS)])


@pytest.fixture
def project(url: str, pending_table: None, build_project: BuildProject) -> Project:
    """That table, prepared, in eight partitions."""
    built = build_project(url, partitions={"target_rows": 5})
    built.prepare()
    return built


def test_sensor_is_off_by_default(project: Project) -> None:
    sensor = project.definitions.resolve_sensor_def("passage_vector__follow_sensor")
    assert sensor.default_status == dg.DefaultSensorStatus.STOPPED
    assert sensor.minimum_interval_seconds == 30


def test_table_is_prepared_before_rows_are_embedded(
    url: str, connection: psycopg.Connection, build_project: BuildProject
) -> None:
    create_table(connection, texts=["a"])
    project = build_project(url)
    tick = project.tick()
    assert tick.jobs == ["passage_vector__sync_partitions"]
    run_id = make_run(project, "sync_partitions")
    assert project.tick().skipped == f"public.passage is not prepared yet; run {run_id[:8]} is in progress"
    project.run_requests(tick)
    project.instance.delete_run(run_id)
    assert project.tick().jobs == ["passage_vector__follow"]


def test_no_pending_rows_is_the_skip_reason(
    url: str, connection: psycopg.Connection, build_project: BuildProject
) -> None:
    create_table(connection, texts=["", None, "  "])
    project = build_project(url)
    project.prepare()
    assert project.tick().skipped == "0 pending rows in public.passage"


def test_small_backlog_is_one_follow_run_after_which_ticks_skip(
    project: Project, connection: psycopg.Connection, calls: CallLog
) -> None:
    tick = project.tick()
    assert tick.jobs == ["passage_vector__follow"]
    assert tick.requests[0].run_key is None
    assert tick.requests[0].tags["crdbvec/trigger"] == "follow"
    project.run_requests(tick)
    assert all(vector is not None for vector in vectors(connection, UUID_SHAPE).values())
    assert project.tick(tick.cursor).skipped == "0 pending rows in public.passage"
    insert_rows(connection, UUID_SHAPE, {100: "new"})
    next_tick = project.tick(tick.cursor)
    assert next_tick.jobs == ["passage_vector__follow"]
    project.run_requests(next_tick)
    assert sorted(calls.inputs()) == sorted([*(f"text {number}" for number in range(ROWS)), "new"])


def test_each_tick_requests_the_next_partitions_of_a_large_backlog(
    url: str, pending_table: None, build_project: BuildProject
) -> None:
    project = build_project(
        url, partitions={"target_rows": 5, "max_per_run": 1}, follow={"small_backlog": 4, "partition_runs": 3}
    )
    project.prepare()
    first, second, third, fourth, fifth, *others = project.partitions
    for embedded in (second, fourth):
        project.run("encode_in_process", partition_key=embedded)
    requested: list[str | None] = []
    cursor = None
    for _ in range(3):
        tick = project.tick(cursor)
        assert tick.jobs == ["passage_vector__encode"] * 3
        requested += tick.partitions
        cursor = tick.cursor
    pending = [first, third, fifth, *others]
    assert requested == (pending * 2)[:9]


def test_partition_runs_in_progress_count_and_are_not_requested_again(
    url: str, pending_table: None, build_project: BuildProject
) -> None:
    project = build_project(
        url, partitions={"target_rows": 5, "max_per_run": 1}, follow={"small_backlog": 4, "partition_runs": 3}
    )
    project.prepare()
    first, second, third, *_ = project.partitions
    make_run(project, "encode", partition=first)
    make_ui_run(project, third)
    tick = project.tick()
    assert tick.partitions == [second]
    make_run(project, "encode", partition=second)
    assert project.tick(tick.cursor).skipped == f"{FOUND}; 3 partition runs are in progress"


def ranges_of(tick: Tick) -> list[tuple[str | None, str | None]]:
    """Return the first and the last partition of each requested run."""
    return [
        (
            request.tags.get("dagster/asset_partition_range_start", request.partition_key),
            request.tags.get("dagster/asset_partition_range_end", request.partition_key),
        )
        for request in tick.requests
    ]


def test_partitions_near_to_each_other_share_a_run(
    url: str, pending_table: None, connection: psycopg.Connection, build_project: BuildProject
) -> None:
    project = build_project(url, partitions={"target_rows": 5}, follow={"small_backlog": 1, "partition_runs": 2})
    project.prepare()
    keys = project.partitions
    for embedded in keys[1:4]:
        project.run("encode_in_process", partition_key=embedded)
    tick = project.tick()
    assert ranges_of(tick) == [(keys[0], keys[-1])]
    project.run_requests(tick)
    assert project.tick(tick.cursor).skipped == "0 pending rows in public.passage"
    assert all(vector is not None for vector in vectors(connection, UUID_SHAPE).values())


def test_distant_partitions_and_those_of_another_run_are_not_in_a_run(
    url: str, connection: psycopg.Connection, build_project: BuildProject
) -> None:
    create_table(connection, INT_SHAPE, [f"text {number}" for number in range(30)])
    project = build_project(
        url, partitions={"target_rows": 2, "max_per_run": 5}, follow={"small_backlog": 1, "partition_runs": 4}
    )
    project.prepare()
    keys = project.partitions
    for embedded in keys[1:5]:
        project.run("encode_in_process", partition_key=embedded)
    make_run(project, "encode", partition=keys[7])
    assert ranges_of(project.tick()) == [(keys[0], keys[0]), (keys[5], keys[6]), (keys[8], keys[12])]


def test_next_partition_run_is_requested_after_one_has_finished(
    url: str, pending_table: None, connection: psycopg.Connection, build_project: BuildProject
) -> None:
    project = build_project(
        url, partitions={"target_rows": 20, "max_per_run": 1}, follow={"small_backlog": 1, "partition_runs": 1}
    )
    project.prepare()
    cursor = None
    for _ in range(3):
        tick = project.tick(cursor)
        cursor = tick.cursor
        project.run_requests(tick)
    assert tick.skipped == "0 pending rows in public.passage"
    assert all(vector is not None for vector in vectors(connection, UUID_SHAPE).values())


def test_tick_waits_for_a_run_over_the_whole_table(project: Project) -> None:
    run_id = make_run(project, "maintain")
    assert project.tick().skipped == f"{FOUND}; run {run_id[:8]} is in progress"


def test_follow_run_waits_for_a_partition_run(project: Project) -> None:
    make_run(project, "encode", partition=project.partitions[0])
    assert project.tick().skipped == f"{FOUND}; 1 partition run is in progress"


def test_tick_waits_for_a_backfill(project: Project) -> None:
    backfill_id = make_backfill(project, BulkActionStatus.REQUESTED)
    assert project.tick().skipped == f"{FOUND}; backfill {backfill_id} is in progress"


def test_tick_does_not_wait_for_a_run_that_died(project: Project) -> None:
    make_run(project, "follow", age=timedelta(minutes=61))
    make_run(project, "encode", partition=project.partitions[0], age=timedelta(minutes=61))
    assert project.tick().jobs == ["passage_vector__follow"]


def test_backlog_is_observed_when_it_has_changed(project: Project, connection: psycopg.Connection) -> None:
    tick = project.tick()
    assert tick.observed == [ROWS]
    assert project.tick(tick.cursor).observed == []
    insert_rows(connection, UUID_SHAPE, {100: "new"})
    changed = project.tick(tick.cursor)
    assert changed.observed == [ROWS + 1]
    project.run("follow")
    empty = project.tick(changed.cursor)
    assert empty.observed == [0]
    assert project.tick(empty.cursor).observed == []
    # An unchanged backlog is observed once an hour, so that the plot has points.
    assert project.tick(empty.with_cursor(observed_at=0)).observed == [0]


@pytest.fixture
def outgrown(url: str, connection: psycopg.Connection, build_project: BuildProject) -> tuple[Project, str]:
    """A table whose last partition has outgrown its size, and the cursor of a tick from before that."""
    create_table(connection, INT_SHAPE, [f"text {number}" for number in range(40)])
    project = build_project(url, partitions={"target_rows": 10})
    project.prepare()
    tick = project.tick()
    assert tick.jobs == ["passage_vector__follow"]
    insert_rows(connection, INT_SHAPE, {number: f"text {number}" for number in range(40, 80)})
    return project, tick.with_cursor(tail_checked_at=0)


def test_last_partition_that_has_outgrown_its_size_is_split_first(outgrown: tuple[Project, str]) -> None:
    project, cursor = outgrown
    before = project.partitions
    tick = project.tick(cursor)
    assert tick.jobs == ["passage_vector__sync_partitions"]
    # The check reads a partition's keys, so it is not made at each tick.
    assert project.tick(tick.cursor).jobs == ["passage_vector__follow"]
    project.run_requests(tick)
    assert len(project.partitions) > len(before)
    assert project.tick().jobs == ["passage_vector__follow"]


def test_last_partition_is_split_after_the_run_for_which_ticks_waited(outgrown: tuple[Project, str]) -> None:
    project, cursor = outgrown
    run_id = make_run(project, "maintain")
    waiting = project.tick(cursor)
    assert waiting.skipped == f"80 pending rows in public.passage; run {run_id[:8]} is in progress"
    project.instance.delete_run(run_id)
    assert project.tick(waiting.cursor).jobs == ["passage_vector__sync_partitions"]


def test_partition_that_is_not_a_key_range_is_ignored(
    url: str, pending_table: None, build_project: BuildProject
) -> None:
    project = build_project(
        url, partitions={"target_rows": 5, "max_per_run": 1}, follow={"small_backlog": 1, "partition_runs": 100}
    )
    project.prepare()
    planned = project.partitions
    project.add_partitions("nonsense")
    tick = project.tick()
    assert tick.jobs == ["passage_vector__sync_partitions"]
    assert project.tick(tick.cursor).partitions == planned
    project.run_requests(tick)
    assert project.partitions == planned


def test_tick_ends_at_its_deadline_and_the_next_one_continues(
    url: str, pending_table: None, build_project: BuildProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = build_project(
        url, partitions={"target_rows": 5, "max_per_run": 1}, follow={"small_backlog": 1, "partition_runs": 1}
    )
    project.prepare()
    first = project.tick()
    assert first.partitions == project.partitions[:1]
    with monkeypatch.context() as patch:
        patch.setattr(follow_sensor, "_TICK_SECONDS", -1.0)
        late = project.tick(first.cursor)
    assert late.skipped == f"{FOUND}; scanning further partitions at the next tick"
    assert project.tick(late.cursor).partitions == project.partitions[1:2]


def test_edited_row_is_pending_at_once_if_a_trigger_clears_its_vector(
    url: str, connection: psycopg.Connection, calls: CallLog, build_project: BuildProject
) -> None:
    create_table(connection, INT_SHAPE, ["a", "b"])
    project = build_project(url, staleness="trigger")
    project.run("follow")
    tick = project.tick()
    assert tick.skipped == "0 pending rows in public.passage"
    set_text(connection, INT_SHAPE, 1, "edited")
    calls.clear()
    project.run_requests(project.tick(tick.cursor))
    assert calls.inputs() == ["edited"]


def test_backoff_doubles_with_each_failed_run(project: Project) -> None:
    failed = dg.DagsterRunStatus.FAILURE
    make_run(project, "follow", failed, age=timedelta(seconds=30))
    skipped = project.tick().skipped
    assert skipped is not None
    assert skipped.startswith(f"{FOUND}; the last run failed, the next attempt is at ")
    # The interval is 30 s: the backoff is 60 s after one failed run, and 120 s after two.
    make_run(project, "follow", dg.DagsterRunStatus.SUCCESS)
    make_run(project, "follow", failed, age=timedelta(seconds=70))
    assert project.tick().jobs == ["passage_vector__follow"]
    make_run(project, "encode", failed, project.partitions[0], age=timedelta(seconds=70))
    assert "; the last 2 runs failed, the next attempt is at " in str(project.tick().skipped)
    # It is one hour at most.
    for _ in range(10):
        make_run(project, "follow", failed, age=timedelta(minutes=61))
    assert project.tick().jobs == ["passage_vector__follow"]


def test_backoff_applies_to_a_table_that_cannot_be_prepared(
    url: str, connection: psycopg.Connection, build_project: BuildProject
) -> None:
    create_table(connection, texts=["a"])
    project = build_project(url, manage_schema=False)
    tick = project.tick()
    with pytest.raises(dg.Failure, match=r"manage_schema is off\. Run these statements"):
        project.run_requests(tick)
    assert "public.passage is not prepared yet; the last run failed" in str(project.tick(tick.cursor).skipped)


def test_rejected_row_is_not_pending_until_it_is_edited(
    url: str, connection: psycopg.Connection, build_project: BuildProject
) -> None:
    create_table(connection, INT_SHAPE, ["a", "b", "REJECTED", "d"])
    project = build_project(url, model="stub_failing")
    project.prepare()
    tick = project.tick()
    project.run_requests(tick)
    assert [vector is None for _, vector in sorted(vectors(connection).items())] == [False, False, True, False]
    quiet = project.tick(tick.cursor)
    assert quiet.skipped == "0 pending rows in public.passage; 1 failed, 1 of them deferred"
    set_text(connection, INT_SHAPE, 2, "repaired")
    after_edit = project.tick(quiet.cursor)
    assert after_edit.jobs == ["passage_vector__follow"]
    project.run_requests(after_edit)
    assert all(vector is not None for vector in vectors(connection).values())
    assert connection.execute("SELECT count(*) FROM crdbvec_row_errors").fetchone() == (0,)
