"""Edits that the follow sensor finds through an index on the column that says when a row was updated."""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from tests.orchestration.project import Project, Tick, project
from tests.orchestration.runs import make_run
from tests.support.models import CallLog
from tests.support.tables import UUID_SHAPE, create_table, set_text, vectors

pytestmark = pytest.mark.usefixtures("calls")


@pytest.fixture
def edited(url: str, connection: psycopg.Connection) -> Iterator[Project]:
    """Twenty embedded rows, none updated lately."""
    create_table(connection, UUID_SHAPE, [f"text {number}" for number in range(20)])
    connection.execute("ALTER TABLE passage ADD COLUMN updated TIMESTAMPTZ")
    connection.execute("UPDATE passage SET updated = now() - INTERVAL '1 day'")
    with project(
        url,
        updated_at="updated",
        partitions={"target_rows": 10},
        follow={"small_backlog": 10, "partition_runs": 100},
    ) as found:
        found.prepare()
        found.run("follow")
        yield found


def edit(connection: psycopg.Connection, numbers: Sequence[int], text: str | None, minutes_ago: int = 0) -> None:
    for number in numbers:
        set_text(connection, UUID_SHAPE, number, text and f"{text} {number}")
    ids = [UUID_SHAPE.key(number)[0] for number in numbers]
    connection.execute(
        "UPDATE passage SET updated = now() - %s * INTERVAL '1 minute' WHERE id = ANY(%s)", (minutes_ago, ids)
    )


def test_an_edited_row_is_found_and_embedded_again(
    edited: Project, connection: psycopg.Connection, calls: CallLog
) -> None:
    quiet = edited.tick()
    assert quiet.skipped == "0 pending rows in public.passage"
    edit(connection, [3], "edited")
    calls.clear()
    tick = edited.tick(quiet.cursor)
    assert (tick.jobs, tick.observed) == (["passage_vector__follow"], [1])
    edited.obey(tick)
    assert calls.inputs() == ["edited 3"]
    assert edited.tick(tick.cursor).skipped == "0 pending rows in public.passage"


def test_an_edit_is_not_forgotten_while_nothing_could_be_done_about_it(
    edited: Project, connection: psycopg.Connection
) -> None:
    an_hour_ago = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    tick = edited.tick()
    edit(connection, [3], "edited", minutes_ago=30)
    run_id = make_run(edited, "follow")
    cursor = tick.with_cursor(edited_since=an_hour_ago)
    for _ in range(3):
        tick = edited.tick(cursor)
        assert "1 pending row in public.passage; run " in str(tick.skipped)
        cursor = str(tick.cursor)
    edited.instance.delete_run(run_id)
    assert edited.tick(cursor).jobs == ["passage_vector__follow"]


def test_where_rows_are_edited_all_the_time_ticks_do_not_look_back_further_and_further(
    edited: Project, connection: psycopg.Connection
) -> None:
    before = datetime.now(UTC)
    edit(connection, [3], "edited", minutes_ago=30)
    tick = edited.tick(edited.tick().with_cursor(edited_since=(before - timedelta(hours=1)).isoformat()))
    assert edited_since(tick) > before - timedelta(minutes=31)
    edited.obey(tick)
    edit(connection, [4], "edited")
    tick = edited.tick(tick.cursor)
    assert tick.jobs == ["passage_vector__follow"]
    assert edited_since(tick) >= before - timedelta(minutes=10)


def test_a_text_that_is_gone_takes_its_vector_along(
    edited: Project, connection: psycopg.Connection, calls: CallLog
) -> None:
    edit(connection, [3, 4], None)
    calls.clear()
    tick = edited.tick()
    assert (tick.jobs, tick.observed) == (["passage_vector__follow"], [2])
    edited.obey(tick)
    assert calls.inputs() == []
    assert sum(vector is None for vector in vectors(connection, UUID_SHAPE).values()) == 2
    assert edited.tick(tick.cursor).skipped == "0 pending rows in public.passage"


def test_many_edits_are_partition_runs(edited: Project, connection: psycopg.Connection) -> None:
    edit(connection, range(20), "edited")
    tick = edited.tick()
    assert set(tick.jobs) == {"passage_vector__encode"}
    edited.obey(tick)
    assert edited.tick(tick.cursor).skipped == "0 pending rows in public.passage"


def edited_since(tick: Tick) -> datetime:
    """From when on the next tick looks at updated rows."""
    return datetime.fromisoformat(json.loads(str(tick.cursor))["edited_since"])
