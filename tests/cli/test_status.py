"""`crdbvec status`: the row counts of each vector column, also of one that does not exist yet. It changes nothing."""

import json
from pathlib import Path

import psycopg
import pytest

from tests.cli.conftest import Invoke, Json
from tests.support.processes import CRDBVEC, run_on_terminal
from tests.support.projects import write_config
from tests.support.tables import INT_SHAPE, create_table, set_text

SHOWN = ["table", "output", "model", "rows", "embedded", "pending", "blank", "failed", "index"]
KEYS = [
    *("database", "table", "output", "model", "rows", "embedded", "pending", "failed", "deferred"),
    *(
        "truncated",
        "unreadable",
        "sampled",
        "blank",
        "index",
        "index_state",
        "text_index",
        "text_index_state",
        "suspended",
        "error",
    ),
]
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
    values = [
        None,
        "public.passage",
        "passage_vector",
        "stub_counting",
        5,
        0,
        3,
        0,
        0,
        None,
        None,
        0,
        2,
        None,
        "none",
        None,
        "none",
        None,
        None,
    ]
    assert status == dict(zip(KEYS, values, strict=True))
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
    assert header == SHOWN
    assert first == ["public.passage", "first", "stub_counting", "5", "0", "3", "2", "0", "none"]
    assert second[1] == "[red]second"


def test_failed_and_deferred_rows_are_named(
    configured: Path, connection: psycopg.Connection, invoke: Invoke, read_json: Json
) -> None:
    create_table(connection, texts=["one", "REJECTED", "three"])
    write_config(configured, {"model": "stub_failing"})
    for _ in range(2):
        invoke("embed")
        (status,) = read_json("status")
        assert (status["embedded"], status["pending"], status["failed"], status["deferred"]) == (2, 0, 1, 1)
    assert invoke("status").stdout.splitlines()[2:] == [
        "public.passage.passage_vector: 1 failed (run `crdbvec errors list`), 1 of them deferred."
    ]
    connection.execute("UPDATE crdbvec_row_errors SET next_try = now()")
    (status,) = read_json("status")
    assert (status["pending"], status["failed"], status["deferred"]) == (1, 1, 0)


def test_share_of_texts_that_the_model_does_not_read(
    configured: Path, connection: psycopg.Connection, invoke: Invoke, read_json: Json
) -> None:
    thai = "\u0e1b\u0e23\u0e30\u0e40\u0e17\u0e28"
    create_table(connection, texts=["a city", thai, thai + " city", "word " * 300, None])
    write_config(configured, {"model": "hf_st_all_minilm_l6"})
    invoke("embed")
    (status,) = read_json("status")
    assert (status["sampled"], status["truncated"], status["unreadable"]) == (4, 0.25, 0.5)
    assert invoke("status").stdout.splitlines()[2:] == [
        "public.passage.passage_vector: 25.0% of the texts are truncated (4 sampled).",
        "public.passage.passage_vector: 50.0% of the texts are unreadable (4 sampled).",
    ]
    write_config(configured, {"model": "hf_st_all_minilm_l6", "checks": {"unknown_tokens": 0.5}})
    (status,) = read_json("status")
    assert status["unreadable"] == 0.25


def test_state_of_the_index(configured: Path, connection: psycopg.Connection, invoke: Invoke, read_json: Json) -> None:
    create_table(connection, texts=TEXTS)
    write_config(configured, {"index": {"metric": "cosine"}})
    invoke("embed")
    (status,) = read_json("status")
    assert (status["index"], status["index_state"]) == (None, "not built")
    invoke("index", "build")
    (status,) = read_json("status")
    assert (status["index"], status["index_state"]) == ("passage_passage_vector_index", "built")
    write_config(configured, {"index": {"metric": "l2"}})
    assert invoke("status").stdout.splitlines()[1].split()[-1] == "differs"


def test_long_names_are_not_cut(configured: Path, connection: psycopg.Connection, invoke: Invoke) -> None:
    name, output = "t" * 60, "v" * 50
    connection.execute(f"CREATE TABLE {name} (id INT8 PRIMARY KEY, passage TEXT)".encode())
    write_config(configured, {"table": name, "output": output})
    _, line = invoke("status").stdout.splitlines()
    assert line.split()[:3] == [f"public.{name}", output, "stub_counting"]
    shown = run_on_terminal([*CRDBVEC, "status"], columns=80)
    assert f"table     public.{name}\r\n" in shown
    assert f"output    {output}\r\n" in shown


def test_columns_whose_model_is_available_are_shown(
    configured: Path, connection: psycopg.Connection, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_table(connection, texts=TEXTS)
    monkeypatch.setenv("CRDBVEC_OPENAI_BASE_URL", "http://me:topsecret@127.0.0.1:1/v1")
    monkeypatch.setenv("CRDBVEC_OPENAI_MODEL", "any")
    monkeypatch.setenv("CRDBVEC_OPENAI_TRIES", "1")
    write_config(configured, {"output": "first"}, {"output": "second", "model": "openai_compatible"})
    connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    connection.execute("ALTER TABLE passage ADD second VECTOR(3)")
    result = invoke("status")
    assert result.exit_code == 0, result.output
    assert [line.split()[1] for line in result.stdout.splitlines()] == ["output", "first", "second"]
    assert result.stderr == (
        "[INFO] public.passage.second: the dimension of the model openai_compatible is not checked. The embeddings "
        "server at http://127.0.0.1:1 is unavailable (ConnectError).\n"
    )
    embedding = invoke("embed")
    assert embedding.exit_code == 1
    assert embedding.stderr == (
        "Error: The embeddings server at http://127.0.0.1:1 is unavailable (ConnectError). The vector column is "
        "public.passage.second.\n"
    )


def test_column_that_cannot_be_read_does_not_hide_the_others(
    configured: Path, connection: psycopg.Connection, invoke: Invoke
) -> None:
    create_table(connection, texts=TEXTS)
    write_config(configured, {"output": "first"}, {"table": "missing", "output": "second"})
    result = invoke("status")
    assert result.exit_code == 2
    _, first, second = (line.split() for line in result.stdout.splitlines())
    assert first[3:] == ["5", "0", "3", "2", "0", "none"]
    assert second == ["public.missing", "second", "stub_counting", *["-"] * 6]
    assert result.stderr.startswith("Error: public.missing.second: There is no table public.missing in the database")
    (_, facts) = json.loads(invoke("status", "--json").stdout)
    assert facts["rows"] is None
    assert facts["error"].startswith("There is no table public.missing")
