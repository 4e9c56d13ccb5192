"""`crdbvec profile`: as text with advice, as JSON, and as a plot."""

from pathlib import Path

import psycopg
import pytest

from tests.cli.conftest import Invoke, Json
from tests.support.projects import write_config
from tests.support.tables import create_table

MODEL = "hf_st_all_minilm_l6"
TEXTS = ["a bird that cannot fly", "a bird that cannot fly", "many words " * 2_000, "error 0x7f in read_table"]


@pytest.fixture
def configured(project: Path, url: str, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CRDBVEC_URL", url)
    write_config(project, {"model": MODEL})
    create_table(connection, texts=TEXTS)
    return project


def test_text_ends_with_advice_and_its_numbers(configured: Path, invoke: Invoke) -> None:
    result = invoke("profile", "--plot", "texts.png")
    assert result.exit_code == 0, result.output
    lines = [line.strip() for line in result.stdout.splitlines()]
    assert lines[0] == f"public.passage.passage_vector by {MODEL}"
    assert lines[1] == "4 inputs, all rows with an input"
    assert any(line.startswith("tokens of a text: 10% 7, median ") for line in lines)
    assert "50.0% of the rows have the same input as another row of the table" in lines
    advice = lines[lines.index("advice:") + 1 :]
    assert [line.partition(" of ")[0].rpartition(": ")[0] for line in advice if line] == [
        "long_inputs: chunks",
        "text_index",
        "search --distinct",
    ]
    assert "many words" not in result.output
    assert (configured / "texts.png").read_bytes().startswith(b"\x89PNG")


def test_json_has_the_numbers(configured: Path, read_json: Json) -> None:
    (found,) = read_json("profile", "--all")
    assert {"table": "public.passage", "rows": 4, "is_whole": True, "window": 256, "distances": None}.items() <= (
        found.items()
    )
    assert found["truncated"] == 0.25
    assert found["lost"] > 0.9
    assert list(found["tokens"]) == ["0.1", "0.5", "0.9", "0.99", "1.0"]
    assert [each["setting"] for each in found["advice"]] == ["long_inputs: chunks", "text_index", "search --distinct"]


def test_wrong_usage(configured: Path, invoke: Invoke) -> None:
    write_config(configured, {"model": MODEL}, {"model": MODEL, "output": "other"})
    result = invoke("profile", "--plot", "texts.png")
    assert result.exit_code == 2
    assert "--plot draws one vector column" in result.output
