"""A cursor that was set by hand, which Dagster's UI allows: the sensor continues without it, and says so."""

import json

import psycopg
import pytest

from tests.orchestration.project import BuildProject, Project
from tests.support.tables import INT_SHAPE, create_table, insert_rows

FOUND = "0 pending rows in public.passage"
RESET = f"{FOUND}; the cursor was invalid and has been reset"


@pytest.fixture
def project(url: str, connection: psycopg.Connection, build_project: BuildProject) -> Project:
    """A prepared table without pending rows."""
    create_table(connection, INT_SHAPE, [None])
    built = build_project(url)
    built.prepare()
    return built


@pytest.mark.parametrize(
    "cursor",
    [
        "garbage",
        "12",
        "null",
        "[]",
        '["a", {"observed": 1}]',
        '{"rows": 5}',
        '{"observed": {"rows": 5}}',
        '{"observed_at": NaN}',
        '{"tail_checked_at": Infinity}',
        '{"tail_checked_at": 1e999}',
        '{"next_partition": 0.5}',
        '{"next_partition": ' + "9" * 5_000 + "}",
        '{"edited_since": "yesterday"}',
        '{"edited_since": "2026-01-01T00:00:00"}',
        '{"edited_since": 1e300}',
    ],
)
def test_invalid_cursor_is_replaced_and_the_reason_says_so(project: Project, cursor: str) -> None:
    tick = project.tick(cursor)
    assert tick.skipped == RESET
    assert json.loads(str(tick.cursor)).keys() == json.loads(str(project.tick().cursor)).keys()
    assert project.tick(tick.cursor).skipped == FOUND


def test_runs_are_requested_in_spite_of_an_invalid_cursor(project: Project, connection: psycopg.Connection) -> None:
    insert_rows(connection, INT_SHAPE, {100: "new"})
    tick = project.tick("garbage")
    assert tick.jobs == ["passage_vector__follow"]
    assert project.tick(tick.cursor).jobs == ["passage_vector__follow"]


@pytest.mark.parametrize("number", [-1, 7, 10**18, 10**400])
def test_any_number_is_a_place_to_start(
    url: str, connection: psycopg.Connection, build_project: BuildProject, number: int
) -> None:
    create_table(connection, INT_SHAPE, [f"text {each}" for each in range(20)])
    project = build_project(
        url, partitions={"target_rows": 5, "max_per_run": 1}, follow={"small_backlog": 1, "partition_runs": 100}
    )
    project.prepare()
    cursor = json.dumps({"next_partition": number, "observed": number})
    assert sorted(map(str, project.tick(cursor).partitions)) == sorted(project.partitions)


def test_times_in_the_future_delay_nothing(
    url: str, connection: psycopg.Connection, build_project: BuildProject
) -> None:
    create_table(connection, INT_SHAPE, [f"text {each}" for each in range(20)])
    connection.execute("ALTER TABLE passage ADD COLUMN updated TIMESTAMPTZ DEFAULT now()")
    project = build_project(url, partitions={"target_rows": 5}, updated_at="updated")
    project.prepare()
    project.run("follow")
    insert_rows(connection, INT_SHAPE, dict.fromkeys(range(20, 60)))
    connection.execute(
        "UPDATE passage SET passage = 'edited', updated = now() WHERE id = (SELECT min(id) FROM passage)"
    )
    tick = project.tick(
        json.dumps(
            {"edited_since": "9000-01-01T00:00:00Z", "observed": 1, "observed_at": 1e300, "tail_checked_at": 1e300}
        )
    )
    assert tick.observed == [1]
    assert tick.jobs == ["passage_vector__sync_partitions"]
