"""`crdbvec index status`, `build` and `tune`: what they do, say and write."""

from pathlib import Path

import psycopg
import pytest
from PIL import Image

from tests.cli.conftest import Invoke, Json
from tests.support.projects import write_config
from tests.support.tables import INT_SHAPE, create_table, insert_rows
from tests.support.vectors import is_cockroachdb, preferring_indexes

NAME = "passage_passage_vector_index"
TEXTS: list[str | None] = [f"text {number}" for number in range(200)]


def configure(project: Path, **index: object) -> None:
    write_config(project, {"model": "stub_hash", "index": {"metric": "cosine", **index}})


@pytest.fixture
def embedded(
    project: Path, url: str, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> psycopg.Connection:
    """A table with all its vectors, and an index asked for in crdbvec.yaml."""
    monkeypatch.setenv("CRDBVEC_URL", preferring_indexes(url))
    configure(project)
    create_table(connection, texts=TEXTS)
    assert invoke("embed").exit_code == 0
    return connection


def test_status_before_and_after_building(embedded: psycopg.Connection, invoke: Invoke, read_json: Json) -> None:
    before = read_json("index", "status")
    assert (before["index"], before["exists"], before["definition"]) == (NAME, False, None)
    assert before["index_bytes"] is None
    assert (before["vectors"], before["full_precision_bytes"]) == (200, 200 * 40)
    assert f"index {NAME} does not exist" in invoke("index", "status").stdout
    invoke("index", "build")
    after = read_json("index", "status")
    assert after["exists"]
    assert after["definition"]["operator_class"] == "vector_cosine_ops"
    assert after["definition"]["predicate"] == "IS NOT NULL"
    assert (after["differences"], after["others"]) == ([], [])
    assert 0 < after["index_bytes"] < after["table_bytes"]
    told = invoke("index", "status").stdout
    assert f"index {NAME} exists" in told
    assert "200 vectors in full precision take 8.0 kB" in told


def test_build_builds_once_and_says_which_it_was(embedded: psycopg.Connection, invoke: Invoke, read_json: Json) -> None:
    assert invoke("index", "build").stdout == f"The index {NAME} is built.\n"
    assert invoke("index", "build").stdout == f"The index {NAME} was there already, as asked.\n"
    assert read_json("index", "build") == {"index": NAME, "built": False}


def test_an_index_that_differs_is_told_and_replaced_only_when_asked(
    embedded: psycopg.Connection, project: Path, invoke: Invoke, read_json: Json
) -> None:
    invoke("index", "build")
    configure(project, metric="l2")
    difference = "metric is vector_cosine_ops and should be vector_l2_ops"
    assert read_json("index", "status")["differences"] == [difference]
    assert f"not as asked: {difference}; crdbvec index build --replace" in invoke("index", "status").stdout
    refused = invoke("index", "build")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert difference in refused.stderr
    assert invoke("index", "build", "--replace").stdout == f"The index {NAME} is built.\n"
    assert read_json("index", "status")["differences"] == []


def test_an_index_of_somebody_else_is_named(embedded: psycopg.Connection, invoke: Invoke, read_json: Json) -> None:
    embedded.execute("CREATE INDEX theirs ON passage USING hnsw (passage_vector vector_l2_ops)")
    assert read_json("index", "status")["others"] == ["theirs"]
    assert "there is also the vector index theirs over this column" in invoke("index", "status").stdout


def test_rows_that_are_pending_are_embedded_first(
    embedded: psycopg.Connection, invoke: Invoke, read_json: Json
) -> None:
    insert_rows(embedded, INT_SHAPE, {500: "another"})
    refused = invoke("index", "build")
    assert refused.exit_code == 1
    assert "have a fresh vector in passage_vector, and the index is built from 100.0% on" in refused.stderr
    assert not read_json("index", "status")["exists"]
    invoke("embed")
    assert read_json("index", "build")["built"]


def test_what_the_server_has_not_is_said_in_a_sentence(
    embedded: psycopg.Connection, project: Path, invoke: Invoke
) -> None:
    configure(project, prefix=["id"], m=8, min_partition_size=8)
    lines = invoke("index", "build").stderr.splitlines()
    missing = "m" if is_cockroachdb(embedded) else "prefix columns, min_partition_size"
    assert len(lines) == 1
    assert f" has no {missing} in a vector index, so the index is built without" in lines[0]


def test_tune_shows_a_line_an_effort_and_writes_the_picture(
    embedded: psycopg.Connection, project: Path, invoke: Invoke, read_json: Json
) -> None:
    invoke("index", "build")
    result = invoke("index", "tune", "-q", 5, "-k", 3, "--picture", "curve.png")
    assert result.exit_code == 0
    assert "recall at 3" in result.stdout
    assert "is the smallest that reaches recall 0.95; an exact search takes" in result.stdout
    assert Image.open(project / "curve.png").format == "PNG"
    told = read_json("index", "tune", "-q", 5)
    assert (told["queries"], told["k"], told["wanted"]) == (5, 10, 0.95)
    assert told["smallest"] == told["measurements"][0]["effort"]
    assert {"effort", "recall", "worst", "p50", "p95", "by_index"} == set(told["measurements"][0])


def test_tune_without_an_index_says_that_none_was_used(
    embedded: psycopg.Connection, invoke: Invoke, read_json: Json
) -> None:
    result = invoke("index", "tune", "-q", 2)
    assert "the server did not answer every query by the index" in result.stdout
    assert "No " in result.stdout
    assert read_json("index", "tune", "-q", 2)["smallest"] is None


def test_a_prefix_column_that_there_is_not_is_told(embedded: psycopg.Connection, project: Path, invoke: Invoke) -> None:
    configure(project, prefix=["tenent"])
    for command in ("status", "build"):
        result = invoke("index", command)
        assert result.exit_code == 2
        assert "crdbvec.yaml: vectors[0].index.prefix: public.passage has no column tenent." in result.stderr


def test_status_changes_nothing_and_needs_no_vector_column(
    project: Path, url: str, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch, read_json: Json
) -> None:
    monkeypatch.setenv("CRDBVEC_URL", url)
    configure(project)
    create_table(connection, texts=TEXTS)
    told = read_json("index", "status")
    assert (told["exists"], told["vectors"]) == (False, 0)
    found = connection.execute(
        "SELECT count(*) FROM information_schema.columns WHERE table_name = 'passage'"
    ).fetchone()
    assert found == (2,)
