"""`crdbvec embed` killed at any moment and run again ends with the same table as without."""

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
# With one worker: two batches in the queue to the writer, one with the model, one being written.
BATCHES_IN_HAND = 4


def table(connection: psycopg.Connection) -> list[tuple[object, ...]]:
    return connection.execute(
        "SELECT id, passage, passage_vector::TEXT, passage_vector_fingerprint FROM passage ORDER BY id"
    ).fetchall()


def has_column(connection: psycopg.Connection) -> bool:
    found = connection.execute(
        "SELECT 1 FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid "
        "WHERE c.relname = 'passage' AND a.attname = 'passage_vector'"
    )
    return found.fetchone() is not None


@pytest.fixture
def fill(connection: psycopg.Connection) -> Callable[[], None]:
    def fill() -> None:
        connection.execute("DROP TABLE IF EXISTS passage")
        create_table(connection, TEXT_SHAPE, [f"text {number}" for number in range(ROWS)])

    return fill


def test_a_killed_run_loses_nothing_and_its_repetition_ends_as_if_nothing_had_been(
    connection: psycopg.Connection, url: str, calls: CallLog, tmp_path: Path, fill: Callable[[], None]
) -> None:
    write_config(tmp_path, {"model": "stub_slow", "batch_size": BATCH})
    fill()
    done = run_crdbvec(["embed"], tmp_path, CRDBVEC_URL=url)
    assert done.returncode == 0, done.stderr
    expected = table(connection)
    assert all(row[2] for row in expected)
    fill()
    calls.clear()

    moments: list[Callable[[], bool]] = [
        lambda: has_column(connection),
        lambda: len(calls.batches()) >= 1,
        lambda: len(calls.batches()) >= 6,
        lambda: len(calls.batches()) >= 13,
    ]
    for moment in moments:
        process = start_crdbvec(["embed"], tmp_path, CRDBVEC_URL=url)
        with process:
            wait_until(moment)
            process.kill()
        assert process.returncode == -9
    assert any(row[2] is None for row in table(connection))
    done = run_crdbvec(["embed"], tmp_path, CRDBVEC_URL=url)
    assert done.returncode == 0, done.stderr

    assert table(connection) == expected
    counted = Counter(calls.inputs())
    assert len(counted) == ROWS
    assert sum(counted.values()) - ROWS <= len(moments) * BATCHES_IN_HAND * BATCH
    calls.clear()
    assert run_crdbvec(["embed"], tmp_path, CRDBVEC_URL=url).returncode == 0
    assert calls.batches() == []
