"""Quiet hours: a refresh and a follower pause, say so, and continue. The clock is that of the test."""

import logging
import threading
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.refresh import permission
from crdbvec_pipelines.refresh.follower import FollowedColumn, Follower
from tests.cli.conftest import Invoke
from tests.support.models import registry
from tests.support.projects import write_config
from tests.support.tables import INT_SHAPE, column, create_table
from tests.support.waiting import wait_until
from tests.support.work import prepare

DAY, NIGHT = datetime(2027, 3, 1, 12, tzinfo=UTC), datetime(2027, 3, 1, 20, tzinfo=UTC)
ENTRY = {"model": "stub_hash", "batch_size": 5, "quiet_hours": ["08:00-18:00"]}


def embedded(connection: psycopg.Connection) -> int:
    row = connection.execute("SELECT count(passage_vector) FROM passage").fetchone()
    assert row is not None
    return int(row[0])


def test_a_command_pauses_after_its_current_batches_and_continues(
    url: str,
    connection: psycopg.Connection,
    project: Path,
    invoke: Invoke,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    create_table(connection, INT_SHAPE, [f"text {number}" for number in range(25)])
    write_config(project, ENTRY)
    batches, found = 0, list[int]()

    def now() -> datetime:
        """The time when each batch is about to be read: quiet hours begin before the third one."""
        nonlocal batches
        if batches < 2:
            batches += 1
            return NIGHT
        if len(found) < 20 or found[-1] < 10:
            found.append(embedded(connection))
            return DAY
        return NIGHT

    monkeypatch.setattr(permission, "utc_now", now)
    monkeypatch.setattr(permission, "_POLL_SECONDS", 0.01)
    done = invoke("embed", "-u", url)
    assert done.exit_code == 0, done.output
    # The two batches that had been read were written in the quiet hours, and no other one.
    assert max(found) == found[-1] == 10
    assert embedded(connection) == 25
    paused = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert paused == ["public.passage.passage_vector: paused, quiet_hours until 18:00 UTC."]


def test_a_follower_pauses_and_continues(
    database: Database, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_table(connection, INT_SHAPE, ["one"])
    asked, is_quiet, stop = threading.Event(), True, threading.Event()

    def now() -> datetime:
        if is_quiet:
            asked.set()
        return DAY if is_quiet else NIGHT

    monkeypatch.setattr(permission, "utc_now", now)
    monkeypatch.setattr("crdbvec_pipelines.refresh.follower._PAUSE_SECONDS", 0.01)
    spec = column(**ENTRY)
    followed = FollowedColumn(prepare(database, spec), registry().load(spec.model))
    thread = threading.Thread(target=Follower([followed], stop=stop).run)
    thread.start()
    try:
        for _ in range(3):
            asked.clear()
            assert asked.wait(60)
        assert embedded(connection) == 0
        is_quiet = False
        wait_until(lambda: embedded(connection) == 1)
    finally:
        stop.set()
        thread.join()
