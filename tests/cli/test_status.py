"""`crdbvec status`: the row counts of each vector column, also of one that does not exist yet. It changes nothing."""

from pathlib import Path

import psycopg
import pytest

from tests.cli.conftest import Invoke, Json
from tests.support.projects import write_config
from tests.support.tables import INT_SHAPE, create_table, set_text

KEYS = ["table", "output", "model", "rows", "embedded", "pending", "failed"]
TEXTS: list[str | None] = ["one", "two", "three", None, " "]


@pytest.fixture
def configured(project: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CRDBVEC_URL", url)
    write_config(project)
    return project


def relations(connection: psycopg.Connection) -> list[tuple[object, ...]]:
    return connection.execute(
        "SELECT c.relname, c.oid, a.attname FROM pg_catalog.pg_class AS c "
        "JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace "
        "LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 "
        "WHERE n.nspname = 'public' ORDER BY 1, 3"
    ).fetchall()


def test_all_rows_of_a_missing_column_are_pending(
    configured: Path, connection: psycopg.Connection, invoke: Invoke, read_json: Json
) -> None:
    create_table(connection, texts=TEXTS)
    before = relations(connection)
    (status,) = read_json("status")
    assert list(status) == KEYS
    assert status == dict(zip(KEYS, ["public.passage", "passage_vector", "stub_counting", 5, 0, 3, 0], strict=True))
    invoke("status")
    assert relations(connection) == before


def test_counts_follow_the_rows(
    configured: Path, connection: psycopg.Connection, invoke: Invoke, read_json: Json
) -> None:
    create_table(connection, texts=TEXTS)
    invoke("embed", "-b", 1, "-n", 2)
    (status,) = read_json("status")
    assert (status["rows"], status["embedded"], status["pending"], status["failed"]) == (5, 2, 1, 0)
    invoke("embed")
    set_text(connection, INT_SHAPE, 0, "edited")
    before = relations(connection)
    (status,) = read_json("status")
    assert (status["rows"], status["embedded"], status["pending"], status["failed"]) == (5, 3, 1, 0)
    assert relations(connection) == before


def test_each_column_has_a_line(
    configured: Path, connection: psycopg.Connection, invoke: Invoke, read_json: Json
) -> None:
    create_table(connection, texts=TEXTS)
    write_config(configured, {"output": "first"}, {"output": "[red]second"})
    assert [status["output"] for status in read_json("status")] == ["first", "[red]second"]
    header, first, second = (line.split() for line in invoke("status").stdout.splitlines())
    assert header == KEYS
    assert first == ["public.passage", "first", "stub_counting", "5", "0", "3", "0"]
    assert second[1] == "[red]second"
