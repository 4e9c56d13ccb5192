"""Edited rows, which the follow sensor finds through the index on the column `updated_at`."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from tests.orchestration.project import BuildProject, Project, Tick
from tests.orchestration.runs import make_run
from tests.support.models import CallLog
from tests.support.tables import UUID_SHAPE, create_table, set_text, vectors

pytestmark = pytest.mark.usefixtures("calls")


@pytest.fixture
def project(url: str, connection: psycopg.Connection, build_project: BuildProject) -> Project:
    """Twenty embedded rows, none of them updated recently."""
    create_table(connection, UUID_SHAPE, [f"text {number}" for number in range(20)])
    connection.execute("ALTER TABLE passage ADD COLUMN updated TIMESTAMPTZ")
    connection.execute("UPDATE passage SET updated = now() - INTERVAL '1 day'")
    built = build_project(
        url,
        updated_at="updated",
        partitions={"target_rows": 10},
        follow={"small_backlog": 10, "partition_runs": 100},
    )
    built.prepare()
    built.run("follow")
    return built


def edit(connection: psycopg.Connection, numbers: Sequence[int], text: str | None, minutes_ago: int = 0) -> None:
    for number in numbers:
        set_text(connection, UUID_SHAPE, number, text and f"{text} {number}")
    ids = [UUID_SHAPE.key(number)[0] for number in numbers]
    connection.execute(
        "UPDATE passage SET updated = now() - %s * INTERVAL '1 minute' WHERE id = ANY(%s)", (minutes_ago, ids)
    )


def edited_since(tick: Tick) -> datetime:
    """Return the time since which the next tick reads updated rows."""
    return datetime.fromisoformat(json.loads(str(tick.cursor))["edited_since"])


def test_edited_row_is_embedded_again(project: Project, connection: psycopg.Connection, calls: CallLog) -> None:
    quiet = project.tick()
    assert quiet.skipped == "0 pending rows in public.passage"
    edit(connection, [3], "edited")
    calls.clear()
    tick = project.tick(quiet.cursor)
    assert (tick.jobs, tick.observed) == (["passage_vector__follow"], [1])
    project.run_requests(tick)
    assert calls.inputs() == ["edited 3"]
    assert project.tick(tick.cursor).skipped == "0 pending rows in public.passage"


def test_edited_row_stays_pending_while_ticks_wait_for_a_run(project: Project, connection: psycopg.Connection) -> None:
    an_hour_ago = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    tick = project.tick()
    edit(connection, [3], "edited", minutes_ago=30)
    run_id = make_run(project, "follow")
    cursor = tick.with_cursor(edited_since=an_hour_ago)
    for _ in range(3):
        tick = project.tick(cursor)
        assert "1 pending row in public.passage; run " in str(tick.skipped)
        cursor = str(tick.cursor)
    project.instance.delete_run(run_id)
    assert project.tick(cursor).jobs == ["passage_vector__follow"]


def test_period_that_ticks_read_does_not_grow_under_continuous_edits(
    project: Project, connection: psycopg.Connection
) -> None:
    before = datetime.now(UTC)
    edit(connection, [3], "edited", minutes_ago=30)
    tick = project.tick(project.tick().with_cursor(edited_since=(before - timedelta(hours=1)).isoformat()))
    assert edited_since(tick) > before - timedelta(minutes=41)
    project.run_requests(tick)
    edit(connection, [4], "edited")
    tick = project.tick(tick.cursor)
    assert tick.jobs == ["passage_vector__follow"]
    assert edited_since(tick) >= before - timedelta(minutes=10)


def test_vector_of_a_removed_text_is_cleared(project: Project, connection: psycopg.Connection, calls: CallLog) -> None:
    edit(connection, [3, 4], None)
    calls.clear()
    tick = project.tick()
    assert (tick.jobs, tick.observed) == (["passage_vector__follow"], [2])
    project.run_requests(tick)
    assert calls.inputs() == []
    assert sum(vector is None for vector in vectors(connection, UUID_SHAPE).values()) == 2
    assert project.tick(tick.cursor).skipped == "0 pending rows in public.passage"


def test_many_edited_rows_are_partition_runs(project: Project, connection: psycopg.Connection) -> None:
    edit(connection, range(20), "edited")
    tick = project.tick()
    assert set(tick.jobs) == {"passage_vector__encode"}
    project.run_requests(tick)
    assert project.tick(tick.cursor).skipped == "0 pending rows in public.passage"
