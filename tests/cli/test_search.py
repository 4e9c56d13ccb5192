"""`crdbvec search`: distance, key and input of the nearest rows, as text and as JSON."""

from pathlib import Path

import numpy as np
import psycopg
import pytest

from crdbvec_pipelines.value_text import key_text
from tests.cli.conftest import Invoke, Json
from tests.support.models import stub_vector
from tests.support.projects import write_config
from tests.support.tables import COMPOSITE_SHAPE, INT_SHAPE, SHAPES, UUID_SHAPE, KeyShape, create_table

TEXTS: list[str | None] = ["one", "two", "three", None, "five :smile: [red]"]


@pytest.fixture
def configured(project: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CRDBVEC_URL", url)
    write_config(project, {"model": "stub_hash"})
    return project


def expected(query: str) -> list[tuple[float, int]]:
    """Return the cosine distance and number of each row with a text, nearest first."""
    query_vector = stub_vector(query)
    distances = []
    for number, text in enumerate(TEXTS):
        if text is not None:
            vector = stub_vector(text)
            cosine = float(query_vector @ vector / np.linalg.norm(query_vector) / np.linalg.norm(vector))
            distances.append((1 - cosine, number))
    return sorted(distances)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_hits_have_distance_key_and_input_and_are_sorted(
    configured: Path, connection: psycopg.Connection, invoke: Invoke, read_json: Json, shape: KeyShape
) -> None:
    create_table(connection, shape, TEXTS)
    invoke("embed")
    hits = read_json("search", "two")
    assert [set(hit) for hit in hits] == [{"distance", "key", "input"}] * 4
    nearest = expected("two")
    assert [hit["distance"] for hit in hits] == pytest.approx([distance for distance, _ in nearest], abs=1e-6)
    assert [hit["input"] for hit in hits] == [TEXTS[number] for _, number in nearest]
    assert [tuple(hit["key"]) for hit in hits] == [tuple(shape.columns)] * 4
    found = [tuple(map(str, hit["key"].values())) for hit in hits]
    assert found == [tuple(map(str, shape.key(number))) for _, number in nearest]


def test_text_output_of_a_hit(configured: Path, connection: psycopg.Connection, invoke: Invoke) -> None:
    create_table(connection, UUID_SHAPE, TEXTS)
    invoke("embed")
    result = invoke("search", "five :smile: [red]", "-l", 2, "-v")
    blank, first, text, *_ = result.stdout.splitlines()
    assert blank == ""
    distance, key = first.split(" --> ")
    assert float(distance) == pytest.approx(0, abs=1e-6)
    assert key == str(UUID_SHAPE.key(4)[0])
    assert text == "five :smile: [red]"
    assert len(result.stdout.splitlines()) == 6
    assert result.stderr.splitlines()[0] == "[INFO] PK: id (uuid)"


def test_composite_key_is_shown_with_all_values(
    configured: Path, connection: psycopg.Connection, invoke: Invoke
) -> None:
    create_table(connection, COMPOSITE_SHAPE, TEXTS)
    invoke("embed")
    result = invoke("search", "two", "-l", 1, "-v")
    assert f" --> {key_text(COMPOSITE_SHAPE.key(1))}\n" in result.stdout
    assert result.stderr.splitlines()[0] == "[INFO] PK: realm (text), chapter (integer), verse (bigint)"


@pytest.mark.parametrize(("limit", "found"), [(1, 1), (3, 3), (50, 4)])
def test_limit(
    configured: Path, connection: psycopg.Connection, invoke: Invoke, read_json: Json, limit: int, found: int
) -> None:
    create_table(connection, INT_SHAPE, TEXTS)
    invoke("embed")
    assert len(read_json("search", "two", "-l", limit)) == found


def test_search_of_a_column_without_vectors_finds_nothing(
    configured: Path, connection: psycopg.Connection, invoke: Invoke, read_json: Json
) -> None:
    create_table(connection, INT_SHAPE, [None])
    invoke("embed")
    assert read_json("search", "two") == []
    result = invoke("search", "two")
    assert (result.exit_code, result.stdout) == (0, "")
    sentence = "No hits: No row of public.passage has a vector in passage_vector yet. Run `crdbvec embed`."
    assert result.stderr == f"[INFO] {sentence}\n"


def test_binary_input_is_shown_as_its_type_and_size(
    configured: Path, connection: psycopg.Connection, invoke: Invoke, read_json: Json
) -> None:
    connection.execute("CREATE TABLE passage (id INT8 PRIMARY KEY, passage BYTEA)")
    connection.execute("INSERT INTO passage VALUES (1, '\\x89504e470d0a1a0a00')")
    invoke("embed")
    described = {"type": "image/png", "bytes": 9}
    (hit,) = read_json("search", "anything", "--columns", "passage")
    assert (hit["input"], hit["columns"]) == (described, {"passage": described})
    (hit,) = read_json("search", "anything", "--full")
    assert hit["input"] == {**described, "base64": "iVBORw0KGgoA"}
    assert invoke("search", "anything").stdout.splitlines()[2] == "<image/png, 9 B>"


def test_long_texts_are_shown_as_a_passage_and_whole_on_request(
    configured: Path, connection: psycopg.Connection, invoke: Invoke, read_json: Json
) -> None:
    text = "\n".join(f"Sentence {number} of a long text." for number in range(2_000)) + " The wanted pancake."
    create_table(connection, INT_SHAPE, [text] * 10)
    invoke("embed")
    lines = invoke("search", "--no-distinct", "pancakes").stdout.splitlines()
    assert len(lines) == 30
    assert all(len(line) <= 240 for line in lines)
    assert lines[2].endswith("The wanted pancake.")
    assert len(invoke("search", "--no-distinct", "pancakes", "--full").stdout.splitlines()) > 20_000
    assert read_json("search", "pancakes")[0]["input"] == text


def test_verbose_output_says_how_much_of_a_long_query_the_model_reads(
    project: Path, url: str, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    monkeypatch.setenv("CRDBVEC_URL", url)
    write_config(project, {"model": "hf_st_all_minilm_l6"})
    create_table(connection, INT_SHAPE, ["a star"])
    invoke("embed")
    query = "how bright is a star " * 100
    result = invoke("search", query, "-v")
    assert "[INFO] The model reads the first 256 of the 502 tokens of the query (51%): 'how bright" in result.stderr
    assert "of the query" not in invoke("search", "how bright is a star", "-v").stderr
    assert "of the query" not in invoke("search", query).stderr


def test_a_distance_is_a_number(invoke: Invoke) -> None:
    result = invoke("search", "--max-distance", "nan", "text")
    assert result.exit_code == 2
    assert "NaN is not a distance. Write a number." in result.output
