"""`crdbvec suspend` and `crdbvec resume`: who ends, who waits, and where the state is named."""

import threading
from pathlib import Path

import psycopg
import pytest

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.errors import TableError
from crdbvec_pipelines.database.suspension import resume, suspend
from crdbvec_pipelines.refresh.follower import FollowedColumn, Follower
from tests.cli.conftest import Invoke, Json
from tests.support.models import registry
from tests.support.projects import write_config
from tests.support.tables import INT_SHAPE, column, create_table, insert_rows
from tests.support.waiting import wait_until
from tests.support.work import prepare, prepared


def test_a_suspended_column_is_not_embedded_until_it_is_resumed(
    project: Path,
    url: str,
    connection: psycopg.Connection,
    invoke: Invoke,
    read_json: Json,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CRDBVEC_URL", url)
    write_config(project)
    create_table(connection, INT_SHAPE, ["one"])
    unprepared = invoke("suspend")
    assert unprepared.exit_code == 2
    assert "is not prepared for the vector column" in unprepared.stderr
    assert invoke("embed").exit_code == 0
    (suspended,) = read_json("suspend")
    assert suspended["suspended_since"].endswith("Z")
    # To suspend again changes nothing.
    assert read_json("suspend") == [suspended]
    insert_rows(connection, INT_SHAPE, {1: "two"})
    rejected = invoke("embed")
    assert rejected.exit_code == 2
    assert "Run `crdbvec resume` for the vector column" in rejected.stderr
    assert "suspended since" in invoke("status").stdout
    assert "Run `crdbvec resume`." in invoke("doctor").stdout
    assert read_json("resume")[0]["suspended_since"] is None
    assert read_json("status")[0]["suspended"] is None
    assert read_json("embed")["rows_embedded"] == 1


def test_a_follower_waits_while_its_column_is_suspended(
    database: Database, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crdbvec_pipelines.refresh.follower._PAUSE_SECONDS", 0.05)
    create_table(connection, INT_SHAPE, ["one"])
    spec = column(model="stub_hash")
    rows = prepare(database, spec)
    suspend(rows.column)
    stop, followed = threading.Event(), FollowedColumn(rows, registry().load(spec.model))
    follower = threading.Thread(target=Follower([followed], stop=stop).run)
    follower.start()
    try:
        wait_until(lambda: followed.last_error is not None)
        assert connection.execute("SELECT count(passage_vector) FROM passage").fetchone() == (0,)
        resume(rows.column)
        wait_until(lambda: connection.execute("SELECT count(passage_vector) FROM passage").fetchone() == (1,))
    finally:
        stop.set()
        follower.join()


def test_a_column_that_an_earlier_release_prepared_is_not_suspended(
    database: Database, connection: psycopg.Connection
) -> None:
    create_table(connection, INT_SHAPE, ["one"])
    bound = prepared(database, column(model="stub_hash"))
    connection.execute("ALTER TABLE crdbvec_vector_columns DROP COLUMN suspended_at")
    with pytest.raises(TableError, match="Run `crdbvec embed -n 1` first"):
        suspend(bound)
