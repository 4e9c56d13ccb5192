"""`crdbvec embed`, killed at any time and run again, leaves the same table as an uninterrupted run."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from tests.support.models import CallLog
from tests.support.processes import run_crdbvec, start_crdbvec
from tests.support.projects import write_config
from tests.support.tables import TEXT_SHAPE, create_table
from tests.support.waiting import wait_until

ROWS = 300
BATCH = 10
# With one worker: two batches in the queue to the writer, one being encoded, one being written.
MAX_CURRENT_BATCHES = 4


def read_rows(connection: psycopg.Connection) -> list[tuple[object, ...]]:
    return connection.execute(
        "SELECT id, passage, passage_vector::TEXT, passage_vector_fingerprint FROM passage ORDER BY id"
    ).fetchall()


def has_column(connection: psycopg.Connection) -> bool:
    cursor = connection.execute(
        "SELECT 1 FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid "
        "WHERE c.relname = 'passage' AND a.attname = 'passage_vector'"
    )
    return cursor.fetchone() is not None


@pytest.fixture
def fill(connection: psycopg.Connection) -> Callable[[], None]:
    def fill() -> None:
        connection.execute("DROP TABLE IF EXISTS passage")
        create_table(connection, TEXT_SHAPE, [f"text {number}" for number in range(ROWS)])

    return fill


def test_killed_run_loses_nothing_and_the_next_run_completes_it(
    connection: psycopg.Connection, url: str, calls: CallLog, tmp_path: Path, fill: Callable[[], None]
) -> None:
    write_config(tmp_path, {"model": "stub_slow", "batch_size": BATCH})
    fill()
    completed = run_crdbvec(["embed"], tmp_path, CRDBVEC_URL=url)
    assert completed.returncode == 0, completed.stderr
    expected = read_rows(connection)
    assert all(row[2] for row in expected)
    fill()
    calls.clear()

    moments_to_kill: list[Callable[[], bool]] = [
        lambda: has_column(connection),
        lambda: len(calls.batches()) >= 1,
        lambda: len(calls.batches()) >= 6,
        lambda: len(calls.batches()) >= 13,
    ]
    for moment in moments_to_kill:
        process = start_crdbvec(["embed"], tmp_path, CRDBVEC_URL=url)
        with process:
            wait_until(moment)
            process.kill()
        assert process.returncode == -9
    assert any(row[2] is None for row in read_rows(connection))
    completed = run_crdbvec(["embed"], tmp_path, CRDBVEC_URL=url)
    assert completed.returncode == 0, completed.stderr

    assert read_rows(connection) == expected
    counted = Counter(calls.inputs())
    assert len(counted) == ROWS
    assert sum(counted.values()) - ROWS <= len(moments_to_kill) * MAX_CURRENT_BATCHES * BATCH
    calls.clear()
    assert run_crdbvec(["embed"], tmp_path, CRDBVEC_URL=url).returncode == 0
    assert calls.batches() == []
