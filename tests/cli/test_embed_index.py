"""`crdbvec embed` beside a vector index: large backfills are told what it costs, and nothing is dropped unasked."""

from pathlib import Path

import psycopg
import pytest

from crdbvec_pipelines.cli.embed_output import _LARGE_BACKFILL
from tests.cli.conftest import Invoke, Json
from tests.support.models import CallLog
from tests.support.projects import write_config
from tests.support.tables import INT_SHAPE, create_table, insert_rows

NAME = "passage_passage_vector_index"
HINT = f"rows of public.passage are pending, and the index {NAME} is kept up row by row; --rebuild-index drops it,"


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


def test_a_large_backfill_is_told_of_the_choice_and_the_index_stays(
    indexed: psycopg.Connection, invoke: Invoke
) -> None:
    before = oid(indexed)
    insert_rows(indexed, INT_SHAPE, dict.fromkeys(range(10, 10 + _LARGE_BACKFILL), "again"))
    result = invoke("embed", "-n", 1, "-b", 2)
    assert result.exit_code == 0
    assert f"[INFO] {_LARGE_BACKFILL:,} {HINT}" in result.stderr
    assert oid(indexed) == before


def test_a_small_one_is_not(indexed: psycopg.Connection, invoke: Invoke) -> None:
    insert_rows(indexed, INT_SHAPE, {10: "ten"})
    assert "--rebuild-index" not in invoke("embed").stderr


def test_without_an_index_there_is_nothing_to_choose(
    indexed: psycopg.Connection, invoke: Invoke, calls: CallLog
) -> None:
    indexed.execute(f"DROP INDEX {NAME}")
    insert_rows(indexed, INT_SHAPE, dict.fromkeys(range(10, 10 + _LARGE_BACKFILL), "again"))
    assert "--rebuild-index" not in invoke("embed", "-n", 1, "-b", 2).stderr


def test_on_request_it_is_dropped_and_built_again_behind_the_rows(
    indexed: psycopg.Connection, invoke: Invoke, read_json: Json
) -> None:
    before = oid(indexed)
    insert_rows(indexed, INT_SHAPE, {number: f"text {number}" for number in range(10, 60)})
    report = read_json("embed", "--rebuild-index")
    assert report["rows_embedded"] == 50
    assert oid(indexed) not in (None, before)
    assert read_json("index", "status")["exists"]


def test_a_run_that_was_stopped_in_between_is_finished_by_the_same_command(
    indexed: psycopg.Connection, invoke: Invoke, read_json: Json
) -> None:
    indexed.execute(f"DROP INDEX {NAME}")
    insert_rows(indexed, INT_SHAPE, {10: "ten"})
    assert invoke("embed", "--rebuild-index").exit_code == 0
    assert read_json("index", "status")["exists"]


@pytest.mark.parametrize("other", [["-n", "1"], ["-F"]])
def test_it_needs_a_run_that_embeds_all(indexed: psycopg.Connection, invoke: Invoke, other: list[str]) -> None:
    before = oid(indexed)
    result = invoke("embed", "--rebuild-index", *other)
    assert result.exit_code == 2
    assert oid(indexed) == before
