"""Models of providers on the command line, with a table and a local server that answers like Cohere's API."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.cli.conftest import Invoke, Json
from tests.support.event_loop import event_loop_of_the_module  # noqa: F401
from tests.support.json_server import Response, json_server
from tests.support.projects import write_config
from tests.support.tables import create_table

NAME = "litellm/cohere/embed-v4.0"
TEXTS = ["a", "bb", "ccc", "dddd"]
TOKENS_PER_TEXT = 50


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Yield the address of a server whose vectors have the length of the text as their first number."""

    def respond(path: str, headers: Mapping[str, str], body: dict[str, Any]) -> Response:
        texts = body["texts"]
        vectors = [[float(len(text)), 1.0] for text in texts]
        tokens = {"billed_units": {"input_tokens": TOKENS_PER_TEXT * len(texts)}}
        return 200, {}, {"id": "1", "embeddings": {"float": vectors}, "texts": texts, "meta": tokens}

    monkeypatch.setenv("COHERE_API_KEY", "sk-secret")
    with json_server(respond) as address:
        yield f"{address}/v2/embed"


def _model(address: str) -> dict[str, object]:
    return {"name": NAME, "dimensions": 2, "api_base": address}


def test_table_is_embedded_searched_and_checked(
    project: Path,
    url: str,
    connection: psycopg.Connection,
    address: str,
    invoke: Invoke,
    read_json: Json,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CRDBVEC_URL", url)
    # Two rows have the same input, which is encoded once.
    create_table(connection, texts=[*TEXTS, TEXTS[-1]])
    write_config(project, {"model": _model(address), "price_per_million_tokens": 100.0})
    (plan,) = read_json("plan")
    assert (plan["pending"], plan["tokens"], plan["cost"]) == (5, 5 * TOKENS_PER_TEXT, pytest.approx(0.02))
    assert "about 250 tokens, " in (shown := invoke("plan").stdout)
    assert "  cost: about 0.02 by price_per_million_tokens\n" in shown
    report = read_json("embed")
    assert (report["rows_embedded"], report["tokens_encoded"]) == (5, 4 * TOKENS_PER_TEXT)
    assert connection.execute("SELECT tokens, cost FROM crdbvec_usage").fetchall() == [(200, pytest.approx(0.02))]
    assert report["cost"] == report["vectors"][0]["cost"] == pytest.approx(0.02)
    (hit,) = read_json("search", "eeee", "-l", 1)
    assert hit["distance"] == pytest.approx(0, abs=1e-6)
    assert invoke("doctor").exit_code == 0
    write_config(
        project,
        {"model": {**_model(address), "input_type": {"passage": "clustering"}}, "price_per_million_tokens": 100.0},
    )
    assert read_json("plan")[0]["pending"] == 5
    assert "5 of 5 have a vector, 0 pending, 200 tokens for 0.02." in invoke("embed").stdout


def test_model_is_listed_and_described_without_a_request(
    project: Path, address: str, invoke: Invoke, read_json: Json
) -> None:
    write_config(project, {"model": _model(address)})
    assert {"label": "A model of the provider cohere, by LiteLLM"}.items() <= read_json("model", "list")[-1].items()
    facts = read_json("model", "desc", f"{NAME}?dimensions=2")
    assert facts["dimension"] == 2
    assert "litellm:cohere/embed-v4.0-2-type:search_document" in facts["description"]
    assert "Texts of searches: input_type search_query." in facts["description"]
    added = invoke("model", "add", NAME)
    assert added.exit_code == 2
    assert "is a model of a provider, which is requested and not downloaded" in added.stderr
