"""Entries with `long_inputs: chunks` on the command line: embed, status, plan, search, index, doctor, uninstall."""

from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.cli.conftest import Invoke, Json
from tests.support.chunks import SIZE, check_chunks, chunked, long_text
from tests.support.projects import write_config
from tests.support.tables import INT_SHAPE, create_table, insert_rows, schema_objects

TEXTS: dict[int, str | None] = {number: long_text(number, number * 15 % 100) for number in range(12)} | {0: None}
ENTRY: dict[str, Any] = {"model": "stub_hash", "long_inputs": "chunks", "chunks": SIZE}


@pytest.fixture
def configured(project: Path, url: str, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CRDBVEC_URL", url)
    write_config(project, ENTRY)
    create_table(connection)
    insert_rows(connection, INT_SHAPE, TEXTS)
    return project


def test_embed_status_and_plan_count_rows(
    configured: Path, connection: psycopg.Connection, invoke: Invoke, read_json: Json
) -> None:
    planned = invoke("plan").stdout
    assert "chunks per row)" in planned
    assert "CREATE TABLE IF NOT EXISTS" in planned
    assert read_json("embed")["rows_embedded"] == 11
    check_chunks(connection, chunked(), TEXTS)
    (status,) = read_json("status")
    assert (status["rows"], status["embedded"], status["pending"], status["blank"]) == (12, 11, 0, 1)
    assert status["index_state"] == "none"
    assert invoke("doctor").exit_code == 0


def test_search_shows_the_nearest_chunk_of_each_row(
    configured: Path, connection: psycopg.Connection, invoke: Invoke, read_json: Json
) -> None:
    invoke("embed")
    hits = read_json("search", "a text", "-l", 4)
    assert len({hit["key"]["id"] for hit in hits}) == 4
    for hit in hits:
        assert hit["chunk"]["text"] == hit["input"][hit["chunk"]["start"] : hit["chunk"]["end"]]
    assert len(read_json("search", "a text", "-l", 100, "--all-chunks")) > 11
    first = invoke("search", "a text", "-l", 1).stdout.splitlines()[1]
    assert first.endswith(f", characters {hits[0]['chunk']['start']:,} to {hits[0]['chunk']['end']:,}")
    assert "passage_passage_vector_chunks" in invoke("search", "a text", "--sql").stdout


def test_the_index_is_that_of_the_chunk_table(
    configured: Path, connection: psycopg.Connection, invoke: Invoke, read_json: Json
) -> None:
    write_config(configured, {**ENTRY, "index": {}})
    invoke("embed")
    assert read_json("index", "build")["built"]
    found = connection.execute(
        "SELECT indexname::text FROM pg_indexes WHERE tablename = 'passage_passage_vector_chunks'"
    ).fetchall()
    assert len(found) == 2
    assert read_json("index", "status")["exists"]
    (status,) = read_json("status")
    assert status["index_state"] == "built"


def test_uninstall_leaves_nothing_behind(configured: Path, connection: psycopg.Connection, invoke: Invoke) -> None:
    connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    before = schema_objects(connection)
    write_config(configured, {**ENTRY, "index": {}, "staleness": "trigger"})
    invoke("embed")
    invoke("index", "build")
    removed = invoke("uninstall", "--yes").stdout
    assert "the chunk table public.passage_passage_vector_chunks" in removed
    after = [row for row in schema_objects(connection) if not str(row[2]).startswith("........pg.dropped")]
    assert after == before


def test_what_chunks_do_not_support_is_rejected(configured: Path, invoke: Invoke) -> None:
    invoke("embed")
    write_config(configured, {**ENTRY, "reuse_vectors": True})
    assert "reuse_vectors is for one vector a row" in invoke("embed").stderr
    write_config(configured, {**ENTRY, "long_inputs": "truncate"})
    assert "write long_inputs: chunks" in invoke("embed").stderr


def test_evaluate_and_profile_count_rows(configured: Path, invoke: Invoke, read_json: Json) -> None:
    invoke("embed")
    evaluated = read_json("evaluate", "--make", 8, "-k", 11)
    assert evaluated["questions"] > 0
    # All rows are among the hits, each once: a row that is missing or counted twice would change the recall.
    assert {each["recall"]["value"] for each in evaluated["qualities"] if each["mode"] == "vector"} == {1.0}
    (profile,) = read_json("profile")
    # The row without content has nothing to profile.
    assert profile["rows"] == 11
