"""`crdbvec index predict` and `explain`: their tables, JSON, pictures, and errors."""

from pathlib import Path

import numpy as np
import psycopg
import pytest

from tests.cli.conftest import Invoke, Json
from tests.support.embeddings import mixture
from tests.support.projects import write_config
from tests.support.tables import create_table
from tests.support.vectors import Vectors, is_cockroachdb, vector_text

ROWS = 900
DIM = 8


@pytest.fixture
def filled(project: Path, url: str, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch) -> Vectors:
    """A table with vectors of 12 tenants, of which the first has half the rows."""
    monkeypatch.setenv("CRDBVEC_URL", url)
    configure(project)
    vectors = mixture(ROWS, DIM, clusters=20, intrinsic=4)
    if not is_cockroachdb(connection):
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    connection.execute(
        f"CREATE TABLE passage (id INT8 PRIMARY KEY, tenant TEXT, passage TEXT, passage_vector VECTOR({DIM}))"
    )
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO passage VALUES (%s, %s, 'text', %s::vector)",
            [
                (number, f"tenant {0 if number % 2 else number % 12}", vector_text(vector))
                for number, vector in enumerate(vectors)
            ],
        )
    return vectors


def configure(project: Path, **index: object) -> None:
    write_config(project, {"model": "stub_hash", "index": {"metric": "cosine", **index}})


def test_all_rows_of_a_small_table_are_simulated(filled: Vectors, read_json: Json) -> None:
    predicted = read_json("index", "predict", "-q", 50, "--partition-size", 16, "--partition-size", 64)
    assert (predicted["rows"], predicted["sampled_rows"], predicted["queries"]) == (ROWS, ROWS, 50)
    assert (predicted["metric"], predicted["dim"], predicted["prefix_values"]) == ("cosine", DIM, None)
    small, large, wider = predicted["sizes"]
    assert (small["max_partition_size"], large["max_partition_size"]) == (16, 64)
    assert wider["max_partition_size"] in (16, 64)
    assert [size["build_beam_size"] for size in predicted["sizes"]] == [8, 8, 16]
    assert small["table"]["partitions"] > 2 * large["table"]["partitions"]
    assert not small["table"]["is_extrapolated"]
    assert small["table"]["levels"] == 3
    for size in predicted["sizes"]:
        recalls = [each["recall"] for each in size["table"]["searches"]]
        assert [each["beam_size"] for each in size["table"]["searches"]] == [8, 16, 32, 64, 128]
        assert recalls[-1] > 0.9
        assert size["table"]["live_bytes"] < size["table"]["bytes_after_build"]
    assert set(predicted["recommendation"]) == {
        *("max_partition_size", "min_partition_size", "build_beam_size", "beam_size", "recall", "reaches_target"),
        "reasons",
    }


def test_sample_is_a_part_of_the_table_and_the_same_each_time(filled: Vectors, read_json: Json) -> None:
    options = (
        "--build-beam-size",
        8,
        "--sample",
        300,
        "-q",
        20,
        "--partition-size",
        16,
        "--rows",
        1_000_000,
        "--rows",
        1_000_000_000,
    )
    predicted = read_json("index", "predict", *options)
    assert predicted["rows"] == ROWS
    assert 250 <= predicted["sampled_rows"] <= 300
    (size,) = predicted["sizes"]
    assert size["table"]["is_extrapolated"]
    assert [index["rows"] for index in size["grown"]] == [10**6, 10**9]
    assert size["grown"][0]["live_bytes"] * 900 < size["grown"][1]["live_bytes"]
    assert size["grown"][0]["levels"] < size["grown"][1]["levels"]
    assert read_json("index", "predict", *options) == predicted


def test_prefix_columns_have_the_real_sizes_of_their_values(
    filled: Vectors, project: Path, read_json: Json, invoke: Invoke
) -> None:
    configure(project, prefix=["tenant"])
    predicted = read_json("index", "predict", "-q", 40, "--build-beam-size", 8, "--partition-size", 128)
    assert (predicted["prefix"], predicted["prefix_values"]) == (["tenant"], 6)
    (size,) = predicted["sizes"]
    # Tenant 0 has half of the rows and a sixth of the others; the five others have 75 each.
    assert (size["unquantized_prefixes"], size["unquantized_rows"]) == (5, 375)
    assert predicted["key_bytes"] == pytest.approx(11 + 2.9, abs=0.3)
    shown = invoke("index", "predict", "-q", 40, "--build-beam-size", 8, "--partition-size", 128).stdout
    assert "prefix tenant: 6 values, one tree for each" in shown
    assert "5 (375 rows)" in " ".join(shown.split())
    part = read_json("index", "predict", "-q", 40, "--build-beam-size", 8, "--partition-size", 128, "--sample", 600)
    assert part["sizes"][0]["unquantized_rows"] == 375
    assert part["sizes"][0]["table"]["live_bytes"] == pytest.approx(size["table"]["live_bytes"], rel=0.1)


def test_output_has_tables_and_a_recommendation_with_reasons(filled: Vectors, invoke: Invoke) -> None:
    result = invoke("index", "predict", "-q", 20, "--partition-size", 16, "--rows", 1_000_000, "--recall", 0.5)
    assert result.exit_code == 0
    shown = " ".join(result.stdout.split())
    assert f"public.passage.passage_vector: {ROWS} vectors of {DIM} dimensions, cosine" in shown
    assert "growth with max_partition_size 16" in shown
    assert "which reaches the target recall of 0.5." in shown
    assert "The codes of 8 dimensions take as much space as those of 64" in shown
    unreachable = invoke("index", "predict", "-q", 20, "--beam-size", 1, "--recall", 1, "--partition-size", 16).stdout
    assert "does not reach the target recall of 1." in unreachable
    assert "No simulated beam size reaches a recall of 1" in unreachable


def test_queries_are_texts_of_a_file(filled: Vectors, project: Path, read_json: Json, invoke: Invoke) -> None:
    file = project / "queries.txt"
    file.write_text("a text\n\nanother text\n", encoding="utf-8")
    assert read_json("index", "predict", "--queries-file", file, "--partition-size", 16)["queries"] == 2
    file.write_text(" \n", encoding="utf-8")
    result = invoke("index", "predict", "--queries-file", file)
    assert result.exit_code == 2
    assert "contains no text to search for" in result.stderr
    file.write_bytes(b"\xff\xfe\x00")
    result = invoke("index", "predict", "--queries-file", file)
    assert result.exit_code == 2
    assert "cannot be read as UTF-8 text" in result.stderr


def test_all_reads_every_row(filled: Vectors, read_json: Json) -> None:
    predicted = read_json("index", "predict", "--all", "--sample", 10, "-q", 10, "--partition-size", 64)
    assert predicted["sampled_rows"] == ROWS


def test_table_without_vectors_and_unknown_prefix_are_errors(
    project: Path, url: str, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    monkeypatch.setenv("CRDBVEC_URL", url)
    configure(project)
    create_table(connection, texts=["text"])
    result = invoke("index", "predict")
    assert result.exit_code == 2
    assert "has no vector column passage_vector yet. Run `crdbvec embed` first." in result.stderr
    if not is_cockroachdb(connection):
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    connection.execute(f"ALTER TABLE passage ADD COLUMN passage_vector VECTOR({DIM})")
    result = invoke("index", "predict")
    assert result.exit_code == 2
    assert "No row of public.passage has a vector in passage_vector." in result.stderr
    configure(project, prefix=["tenent"])
    result = invoke("index", "predict")
    assert result.exit_code == 2
    assert "crdbvec.yaml: vectors[0].index.prefix: public.passage has no column tenent." in result.stderr


def test_vectors_that_are_read_are_those_of_the_table(filled: Vectors, read_json: Json) -> None:
    """The recall of a flat tree is 1, and its size that of its vectors."""
    predicted = read_json("index", "predict", "--build-beam-size", 8, "--partition-size", 1_024, "-q", 20)
    (size,) = predicted["sizes"]
    assert size["table"]["levels"] == 1
    assert {each["recall"] for each in size["table"]["searches"]} == {1.0}
    keys = sum(1 if number < 110 else 2 if number < 256 else 3 for number in range(ROWS))
    assert predicted["key_bytes"] == pytest.approx(keys / ROWS, abs=1e-9)
    assert size["table"]["live_bytes"] == pytest.approx(ROWS * (3 + 29 + 4 * DIM) + keys + 3 + 67 + 4 * DIM)
    assert np.isfinite(size["table"]["share_of_vectors"])


def test_explain_writes_pictures_that_are_the_same_each_time(
    filled: Vectors, project: Path, invoke: Invoke, read_json: Json
) -> None:
    configure(project, max_partition_size=32, min_partition_size=8)
    result = invoke("index", "explain", "-d", ".")
    assert result.exit_code == 0
    assert f"{ROWS} rows in " in result.stdout
    pictures = {name: (project / f"{name}.svg").read_bytes() for name in ("cells", "errors", "recall")}
    assert all(b"<svg" in picture for picture in pictures.values())
    explained = read_json("index", "explain", "-d", ".")
    assert {name: (project / file).read_bytes() for name, file in explained["files"].items()} == pictures
    assert explained["rows"] == ROWS
    assert explained["leaves"] > ROWS / 32
    assert 0.6 < explained["errors_within_bound"] <= 1
    assert explained["recall"]["1"] < explained["recall"]["32"]
    assert set(explained["recall"]) == set(explained["recall_after_deleting"]) == set(explained["recall_rebuilt"])


def test_explain_of_a_table_that_fits_into_one_partition(filled: Vectors, read_json: Json) -> None:
    explained = read_json("index", "explain", "--sample", 50)
    assert (explained["levels"], explained["leaves"], explained["files"]) == (1, 1, {})
    assert explained["recall"]["1"] == 1
