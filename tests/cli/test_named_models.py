"""A model by name on a real table: embedding, searching, and which changes of its settings make rows pending."""

from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

from tests.cli.conftest import Invoke, Json
from tests.support.generated_models import TEXTS, xlm_r
from tests.support.projects import write_config


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("named") / "e5"
    xlm_r(folder)
    return folder


def test_rows_have_the_vectors_of_documents_and_searches_those_of_queries(
    project: Path,
    url: str,
    connection: psycopg.Connection,
    invoke: Invoke,
    read_json: Json,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from sentence_transformers import SentenceTransformer

    monkeypatch.setenv("CRDBVEC_URL", url)
    texts = [text for text in TEXTS if text]
    connection.execute("CREATE TABLE passage (id INT8 PRIMARY KEY, passage TEXT)")
    with connection.cursor() as cursor:
        cursor.executemany("INSERT INTO passage VALUES (%s, %s)", list(enumerate(texts)))

    def configure(**settings: Any) -> None:
        write_config(project, {"model": {"name": str(model), **settings}})

    configure()
    assert invoke("embed").exit_code == 0
    original = SentenceTransformer(str(model), device="cpu", local_files_only=True)
    expected = np.asarray(original.encode_document(texts, show_progress_bar=False))
    rows = connection.execute("SELECT passage_vector::text FROM passage ORDER BY id").fetchall()
    stored = np.array([[float(number) for number in row[0].strip("[]").split(",")] for row in rows])
    assert (stored * expected).sum(axis=1).min() >= 0.9995
    query = np.asarray(original.encode_query("the dog"))
    hits = read_json("search", "the dog")
    assert [hit["distance"] for hit in hits] == pytest.approx(sorted(1 - expected @ query), abs=2e-3)
    # Settings that change no vector of a row leave all rows as they are.
    configure(prompts={"query": "find: "}, batch=8)
    (status,) = read_json("status")
    assert (status["embedded"], status["pending"]) == (len(texts), 0)
    changes: list[dict[str, Any]] = [
        {"prompts": {"passage": ""}},
        {"normalize": False},
        {"pooling": "cls"},
        {"max_tokens": 16},
    ]
    for change in changes:
        configure(**change)
        (status,) = read_json("status")
        assert status["pending"] == len(texts), change
    # Another dimension does not fit into the column.
    configure(dimensions=16)
    result = invoke("status")
    assert result.exit_code == 2
    assert "dimension" in result.stderr
