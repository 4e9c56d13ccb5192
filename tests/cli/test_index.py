"""`crdbvec index status`, `build` and `tune`: their effects, output and files."""

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
    """A table with all its vectors, and an index entry in crdbvec.yaml."""
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
    assert after["definition"]["predicate"] is None
    assert (after["differences"], after["others"]) == ([], [])
    assert 0 < after["index_bytes"] < after["table_bytes"]
    shown = invoke("index", "status").stdout
    assert f"index {NAME} exists" in shown
    assert "200 vectors in full precision: 8.0 kB" in shown
    assert after["used_by"] == {"a search of this project": True, "ORDER BY without a condition": True}
    assert "  used by ORDER BY without a condition, according to the query plan" in shown


def test_build_says_whether_it_built_the_index(embedded: psycopg.Connection, invoke: Invoke, read_json: Json) -> None:
    assert invoke("index", "build").stdout == f"The index {NAME} has been built.\n"
    assert invoke("index", "build").stdout == f"The index {NAME} is up to date.\n"
    assert read_json("index", "build") == {
        "index": NAME,
        "built": False,
        "replaced": False,
        "recall": None,
    }


def test_index_that_differs_is_reported_and_replaced_only_on_request(
    embedded: psycopg.Connection, project: Path, invoke: Invoke, read_json: Json
) -> None:
    invoke("index", "build")
    configure(project, metric="l2")
    difference = "metric: cosine, configured: l2"
    assert read_json("index", "status")["differences"] == [difference]
    sentence = f"The index differs from the configuration ({difference}). Run `crdbvec index build --replace`."
    assert sentence in invoke("index", "status").stdout
    result = invoke("index", "build")
    assert (result.exit_code, result.stdout) == (2, "")
    assert difference in result.stderr
    # All rows of a small table are found.
    assert invoke("index", "build", "--replace").stdout == (
        f"The recall at 10 of the new index is 1.000 (50 queries).\nThe index {NAME} has been built.\n"
    )
    after = read_json("index", "status")
    assert (after["differences"], after["others"], after["replacement"]) == ([], [], None)


def test_index_with_a_low_recall_does_not_replace_the_other_one(
    embedded: psycopg.Connection, project: Path, invoke: Invoke, read_json: Json
) -> None:
    invoke("index", "build")
    # With an effort of 1, few of the ten nearest rows are found.
    configure(project, metric="l2", effort=1, m=2, ef_construction=4)
    result = invoke("index", "build", "--replace", "--min-recall", "0.99")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "is required. The old index is still in use, and both are kept." in result.stderr
    status = read_json("index", "status")
    assert status["replacement"]["state"] == "built"
    assert f"has not replaced {NAME} yet. Run `crdbvec index build --replace`" in invoke("index", "status").stdout
    assert read_json("index", "build", "--replace")["recall"] < 0.99
    assert read_json("index", "status")["differences"] == []
    assert "--min-recall requires --replace." in invoke("index", "build", "--min-recall", "0.5").stderr


def test_other_vector_indexes_are_listed(embedded: psycopg.Connection, invoke: Invoke, read_json: Json) -> None:
    embedded.execute("CREATE INDEX theirs ON passage USING hnsw (passage_vector vector_l2_ops)")
    assert read_json("index", "status")["others"] == ["theirs"]
    assert "another vector index over this column: theirs" in invoke("index", "status").stdout


def test_pending_rows_must_be_embedded_before_the_build(
    embedded: psycopg.Connection, invoke: Invoke, read_json: Json
) -> None:
    insert_rows(embedded, INT_SHAPE, {500: "another"})
    result = invoke("index", "build")
    assert result.exit_code == 1
    assert "have a current vector in passage_vector; the index build requires 100.0%" in result.stderr
    assert not read_json("index", "status")["exists"]
    invoke("embed")
    assert read_json("index", "build")["built"]


def test_unsupported_options_are_reported(embedded: psycopg.Connection, project: Path, invoke: Invoke) -> None:
    configure(project, prefix=["id"], m=8, min_partition_size=8)
    lines = invoke("index", "build").stderr.splitlines()
    unsupported = "m" if is_cockroachdb(embedded) else "prefix, min_partition_size"
    assert len(lines) == 1
    assert f"The vector index is built without {unsupported}, which " in lines[0]


def test_tune_shows_one_line_per_effort_and_writes_the_plot(
    embedded: psycopg.Connection, project: Path, invoke: Invoke, read_json: Json
) -> None:
    invoke("index", "build")
    result = invoke("index", "tune", "-q", 5, "-k", 3, "--plot", "curve.png")
    assert result.exit_code == 0
    assert "recall at 3" in result.stdout
    assert "is the smallest value that reaches the target recall of 0.95; an exact scan takes" in result.stdout
    assert Image.open(project / "curve.png").format == "PNG"
    curve = read_json("index", "tune", "-q", 5)
    assert (curve["queries"], curve["k"], curve["target_recall"]) == (5, 10, 0.95)
    assert curve["smallest_effort"] == curve["measurements"][0]["effort"]
    assert set(curve["measurements"][0]) == {"effort", "recall", "worst_recall", "p50_ms", "p95_ms", "used_index"}


def test_tune_without_an_index_says_that_none_was_used(
    embedded: psycopg.Connection, invoke: Invoke, read_json: Json
) -> None:
    *_, conclusion = invoke("index", "tune", "-q", 2).stdout.splitlines()
    assert conclusion.startswith("There is no vector index; an exact scan takes ")
    assert conclusion.endswith(" ms. Run `crdbvec index build` to build it.")
    assert read_json("index", "tune", "-q", 2)["smallest_effort"] is None


def test_tune_of_a_table_whose_index_is_not_used_does_not_speak_of_its_recall(
    embedded: psycopg.Connection, url: str, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    invoke("index", "build")
    if is_cockroachdb(embedded):
        pytest.skip("the planner of CockroachDB always uses the index")
    # Without the setting of the other tests, PostgreSQL compares the few rows.
    monkeypatch.setenv("CRDBVEC_URL", url)
    shown = invoke("index", "tune", "-q", 2).stdout
    assert (
        "The server did not use the index for every query, whatever the value of hnsw.ef_search: it compares" in shown
    )
    assert "target recall" not in shown


def test_unknown_prefix_column_is_reported_with_its_entry(
    embedded: psycopg.Connection, project: Path, invoke: Invoke
) -> None:
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
    facts = read_json("index", "status")
    assert (facts["exists"], facts["vectors"]) == (False, 0)
    found = connection.execute(
        "SELECT count(*) FROM information_schema.columns WHERE table_name = 'passage'"
    ).fetchone()
    assert found == (2,)
