"""`crdbvec embed` with a vector index: the hint for large backfills, and --rebuild-index."""

from pathlib import Path

import psycopg
import pytest

from crdbvec_pipelines.cli.embed_output import LARGE_BACKFILL_ROWS
from tests.cli.conftest import Invoke, Json
from tests.support.models import CallLog
from tests.support.projects import write_config
from tests.support.tables import INT_SHAPE, create_table, insert_rows

NAME = "passage_passage_vector_index"
HINT = f"rows of public.passage are pending, and the index {NAME} is updated row by row. With --rebuild-index it is"


@pytest.fixture
def indexed(
    project: Path, url: str, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> psycopg.Connection:
    """A table with vectors and their index."""
    monkeypatch.setenv("CRDBVEC_URL", url)
    write_config(project, {"model": "stub_hash", "index": {"metric": "cosine"}})
    create_table(connection, texts=["one", "two"])
    assert invoke("embed").exit_code == 0
    assert invoke("index", "build").exit_code == 0
    return connection


def oid(connection: psycopg.Connection) -> int | None:
    found = connection.execute("SELECT oid FROM pg_class WHERE relname = %s", (NAME,)).fetchone()
    return None if found is None else int(found[0])


def test_large_backfill_prints_a_hint_and_keeps_the_index(indexed: psycopg.Connection, invoke: Invoke) -> None:
    before = oid(indexed)
    insert_rows(indexed, INT_SHAPE, dict.fromkeys(range(10, 10 + LARGE_BACKFILL_ROWS), "again"))
    result = invoke("embed", "-n", 1, "-b", 2)
    assert result.exit_code == 0
    assert f"[INFO] {LARGE_BACKFILL_ROWS:,} {HINT}" in result.stderr
    assert oid(indexed) == before


def test_small_backfill_prints_no_hint(indexed: psycopg.Connection, invoke: Invoke) -> None:
    insert_rows(indexed, INT_SHAPE, {10: "ten"})
    assert "--rebuild-index" not in invoke("embed").stderr


def test_without_an_index_no_hint_is_printed(indexed: psycopg.Connection, invoke: Invoke, calls: CallLog) -> None:
    indexed.execute(f"DROP INDEX {NAME}")
    insert_rows(indexed, INT_SHAPE, dict.fromkeys(range(10, 10 + LARGE_BACKFILL_ROWS), "again"))
    assert "--rebuild-index" not in invoke("embed", "-n", 1, "-b", 2).stderr


def test_rebuild_index_drops_the_index_and_builds_it_after_the_rows(
    indexed: psycopg.Connection, invoke: Invoke, read_json: Json
) -> None:
    before = oid(indexed)
    insert_rows(indexed, INT_SHAPE, {number: f"text {number}" for number in range(10, 60)})
    report = read_json("embed", "--rebuild-index")
    assert report["rows_embedded"] == 50
    assert oid(indexed) not in (None, before)
    assert read_json("index", "status")["exists"]


def test_same_command_finishes_an_interrupted_rebuild(
    indexed: psycopg.Connection, invoke: Invoke, read_json: Json
) -> None:
    indexed.execute(f"DROP INDEX {NAME}")
    insert_rows(indexed, INT_SHAPE, {10: "ten"})
    assert invoke("embed", "--rebuild-index").exit_code == 0
    assert read_json("index", "status")["exists"]


@pytest.mark.parametrize("other", [["-n", "1"], ["-F"]])
def test_rebuild_index_requires_a_run_that_embeds_all_rows(
    indexed: psycopg.Connection, invoke: Invoke, other: list[str]
) -> None:
    before = oid(indexed)
    result = invoke("embed", "--rebuild-index", *other)
    assert result.exit_code == 2
    assert oid(indexed) == before
