"""`crdbvec search`: distance, key and input of the nearest rows, as text and as JSON."""

from pathlib import Path

import numpy as np
import psycopg
import pytest

from crdbvec_pipelines.cli.search import hit_text
from crdbvec_pipelines.search.searcher import Hit
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
    assert result.stderr.splitlines()[0] == "[INFO] Primary key: id (uuid)"


def test_composite_key_is_shown_with_all_values(
    configured: Path, connection: psycopg.Connection, invoke: Invoke
) -> None:
    create_table(connection, COMPOSITE_SHAPE, TEXTS)
    invoke("embed")
    result = invoke("search", "two", "-l", 1, "-v")
    assert f" --> {key_text(COMPOSITE_SHAPE.key(1))}\n" in result.stdout
    assert result.stderr.splitlines()[0] == "[INFO] Primary key: realm (text), chapter (integer), verse (bigint)"


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


def test_binary_input_is_shown_as_its_size_and_as_hexadecimal_in_json(
    configured: Path, connection: psycopg.Connection, invoke: Invoke, read_json: Json
) -> None:
    connection.execute("CREATE TABLE passage (id INT8 PRIMARY KEY, passage BYTEA)")
    connection.execute("INSERT INTO passage VALUES (1, '\\x00ff10')")
    invoke("embed")
    assert read_json("search", "anything")[0]["input"] == "\\x00ff10"
    assert invoke("search", "anything").stdout.splitlines()[2] == "<3 bytes>"


def test_characters_that_control_a_terminal_are_shown_as_escape_sequences() -> None:
    hit = Hit(0.5, {"id": 1}, "a\x1b]0;title\x07b\x9b31m\u202ec\n\td é 東", {"note": "\x1b[2J"})
    assert hit_text(hit) == "0.5 --> 1\na\\x1b]0;title\\x07b\\x9b31m\\u202ec\n\td é 東\nnote: \\x1b[2J"


def test_a_distance_is_a_number(invoke: Invoke) -> None:
    result = invoke("search", "--max-distance", "nan", "text")
    assert result.exit_code == 2
    assert "NaN is not a distance. Write a number." in result.output
