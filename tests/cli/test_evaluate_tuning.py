"""`crdbvec evaluate --tune`: the search effort and the weights as text and JSON, and what is rejected."""

import json
from pathlib import Path

import numpy as np
import psycopg
import pytest
import yaml

from tests.cli.conftest import Invoke, Json
from tests.support.models import stub_vector
from tests.support.projects import write_config
from tests.support.tables import INT_SHAPE, create_table
from tests.support.vectors import preferring_indexes

TEXTS: list[str | None] = [f"The text number {number} says nothing at all." for number in range(1_000)]
QUESTIONS = 40
# With the fewest connections between rows that pgvector allows, searches miss rows.
INDEX = {"m": 2, "ef_construction": 4, "effort": 10, "wanted_recall": 1.0}


def write_questions(file: Path) -> None:
    """Write questions whose relevant rows are the three nearest ones."""
    vectors = np.array([stub_vector(text) for text in TEXTS])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    lines = []
    for query in (f"question {number}" for number in range(QUESTIONS)):
        nearest = np.argsort(-vectors @ stub_vector(query))[:3]
        lines.append(json.dumps({"query": query, "relevant": [INT_SHAPE.key(int(each))[0] for each in nearest]}))
    file.write_text("\n".join(lines), encoding="utf-8")


@pytest.fixture
def configured(project: Path, own: psycopg.Connection, monkeypatch: pytest.MonkeyPatch, invoke: Invoke) -> Path:
    """A table with a poor vector index, and a file of questions."""
    monkeypatch.setenv("CRDBVEC_URL", preferring_indexes(own.info.dsn))
    write_config(project, {"model": "stub_hash", "index": INDEX})
    create_table(own, texts=TEXTS)
    assert invoke("embed").exit_code == 0
    write_questions(project / "q.jsonl")
    return project


def test_search_effort_is_found_and_shown_with_the_line_for_the_entry(
    configured: Path, invoke: Invoke, read_json: Json
) -> None:
    invoke("index", "build")
    result = invoke("evaluate", "q.jsonl", "--tune")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    header = next(number for number, line in enumerate(lines) if line.startswith("hnsw.ef_search  recall@10"))
    assert [line.split()[0] for line in lines[header + 1 : header + 9]] == [
        *("10", "20", "40", "80", "160", "320", "640", "exact")
    ]
    assert lines[header + 1].endswith("20 of 20")
    found = read_json("evaluate", "q.jsonl", "--tune")
    effort = found["tuned_effort"]
    (written,) = [line for line in lines if line.startswith("index: ")]
    assert yaml.safe_load(written) == {"index": {**INDEX, "effort": effort["effort"]}}
    assert {line.split()[0] for line in lines[lines.index(written) - 3 : lines.index(written)]} == {
        *("10", str(effort["effort"]), "difference")
    }
    (measured,) = [each for each in effort["measurements"] if each["effort"] == effort["effort"]]
    may_warn = "The asset check recall_at_k requires 1 for its own queries" in lines[lines.index(written) + 1]
    assert may_warn == (measured["nearest_share"] < 1)
    assert lines[-1] == "200 searches were executed to find this, after those of the evaluation."
    assert (effort["setting"], effort["configured"]) == ("hnsw.ef_search", 10)
    assert effort["suffices"] == ("is the smallest of these values with which recall@10" in result.stdout)
    assert effort["effort"] > 10
    assert effort["exact"]["recall"]["value"] == 1
    assert set(effort["measurements"][0]) == {"effort", "quality", "nearest_share", "index_scans"}
    assert effort["at_tuned"]["ndcg"]["value"] > effort["at_configured"]["ndcg"]["value"]
    assert effort["difference"]["ndcg"]["low"] > 0
    assert (found["tuned"], found["tuning_searches"]) == (None, 200)
    # With the line in the configuration, nothing is left to change.
    write_config(configured, {"model": "stub_hash", **yaml.safe_load(written)})
    assert f"Searches have hnsw.ef_search {effort['effort']} now" in invoke("evaluate", "q.jsonl", "--tune").stdout


def test_weights_are_found_at_the_found_effort(configured: Path, invoke: Invoke, read_json: Json) -> None:
    write_config(configured, {"model": "stub_hash", "index": INDEX, "text_index": {}})
    invoke("index", "build")
    found = read_json("evaluate", "q.jsonl", "--tune")
    assert found["tuning_searches"] == 240
    shown = invoke("evaluate", "q.jsonl", "--tune").stdout
    assert f"of a hybrid search at hnsw.ef_search {found['tuned_effort']['effort']} for the half" in shown
    assert "\ntext_index: {language: english, vector_weight: 1" in shown


def test_effort_that_suffices(configured: Path, invoke: Invoke) -> None:
    write_config(configured, {"model": "stub_hash", "index": {"effort": 640}})
    invoke("index", "build")
    shown = invoke("evaluate", "q.jsonl", "--tune").stdout
    assert " is the smallest of these values with which recall@10 and nDCG@10 of searches by vectors are at" in shown
    assert "\nindex: {effort: " in shown
    assert "text_index" not in shown


def test_without_an_index_only_the_weights_are_tuned(configured: Path, invoke: Invoke, read_json: Json) -> None:
    write_config(configured, {"model": "stub_hash", "text_index": {}})
    shown = invoke("evaluate", "q.jsonl", "--tune").stdout
    assert "\nThere is no vector index, so searches have no search effort; only the weights are tuned.\n" in shown
    assert "\ntext_index: {language: english" in shown
    assert "searches were executed" not in shown
    found = read_json("evaluate", "q.jsonl", "--tune")
    assert (found["tuned_effort"], found["tuning_searches"]) == (None, 0)
    assert found["tuned"]["tuned"]["questions"] == QUESTIONS // 2


def test_index_that_the_server_does_not_use_has_no_effort(
    configured: Path, own: psycopg.Connection, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    invoke("index", "build")
    own.execute("DELETE FROM passage WHERE id > 50000000")
    own.execute("VACUUM FULL ANALYZE passage")
    # Without the setting of the other tests, PostgreSQL compares the few rows.
    monkeypatch.setenv("CRDBVEC_URL", own.info.dsn)
    result = invoke("evaluate", "q.jsonl", "--tune")
    assert result.exit_code == 0
    assert (
        "The server used the vector index for none of the questions, so there is no search effort to find. Run "
        "`crdbvec search --explain` for a query plan."
    ) in result.stdout


def test_nothing_to_tune_and_too_few_questions_are_rejected(configured: Path, invoke: Invoke) -> None:
    result = invoke("evaluate", "q.jsonl", "--tune")
    assert result.exit_code == 2
    assert "public.passage.passage_vector has neither. Run `crdbvec index build`, or add text_index" in result.stderr
    invoke("index", "build")
    result = invoke("evaluate", "--make", 19, "--tune")
    assert result.exit_code == 2
    assert "--tune needs at least 20 questions, and there are 19." in result.stderr
