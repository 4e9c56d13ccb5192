"""`crdbvec evaluate` and the keyword and hybrid searches of the command line."""

import json
from pathlib import Path

import psycopg
import pytest

from crdbvec_pipelines.value_text import key_text
from tests.cli.conftest import Invoke, Json
from tests.support.generated_models import cross_encoder
from tests.support.projects import write_config
from tests.support.tables import INT_SHAPE, create_table

TEXTS: list[str | None] = [
    f"The title of the text number {number} is here. It has the code x{number:03d}z." for number in range(24)
]


@pytest.fixture
def configured(project: Path, url: str, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CRDBVEC_URL", url)
    write_config(project, {"model": "stub_hash", "text_index": {}})
    create_table(connection, texts=TEXTS)
    return project


def test_text_index_is_built_shown_searched_and_removed(
    configured: Path, connection: psycopg.Connection, invoke: Invoke, read_json: Json
) -> None:
    invoke("embed")
    assert [each["text_index_state"] for each in read_json("status")] == ["not built"]
    assert "run `crdbvec index build`" in invoke("status").stdout
    built = read_json("index", "build", "--text")
    assert (built["index"], built["text_index_built"]) == (None, True)
    built = read_json("index", "build")
    assert (built["built"], built["text_index_built"]) == (True, False)
    status = read_json("status")[0]
    assert (status["text_index"], status["text_index_state"]) == (built["text_index"], "built")
    hits = read_json("search", "--hybrid", "which text has the code x007z", "-l", 3)
    assert [hits[0]["input"], hits[0]["keyword_rank"], hits[0]["is_exact"]] == [TEXTS[7], 1, True]
    assert 0 < hits[0]["exactness"] <= 1
    assert hits[0]["score"] > hits[1]["score"]
    assert f"keyword 1, exact) --> {key_text(INT_SHAPE.key(7))}\n" in invoke("search", "--hybrid", "x007z").stdout
    (hit,) = read_json("search", "--keyword", "x007z")
    assert (hit["distance"], hit["vector_rank"], hit["input"]) == (None, None, TEXTS[7])
    assert "to_tsquery" in invoke("search", "--keyword", "x007z", "--sql").stdout
    assert invoke("search", "--keyword", "--hybrid", "a").exit_code == 2
    removed = read_json("uninstall", "--yes")
    assert f"the text index {built['text_index']}" in [each["what"] for each in removed["columns"][0]["removals"]]
    left = connection.execute("SELECT count(*) FROM pg_indexes WHERE tablename = 'passage' AND indexname LIKE '%text'")
    assert left.fetchall() == [(0,)]


def test_questions_are_made_evaluated_and_used_to_tune(configured: Path, invoke: Invoke, read_json: Json) -> None:
    invoke("embed")
    result = invoke("evaluate", "questions.jsonl", "--make", 24, "--tune", "--plot", "quality.png")
    assert result.exit_code == 0, result.output
    assert result.stderr == "[INFO] 24 questions written to questions.jsonl.\n"
    assert "nDCG@10" in result.stdout
    assert "favors keywords" in result.stdout
    assert "text_index: {language: english, vector_weight: 1" in result.stdout
    assert (configured / "quality.png").read_bytes().startswith(b"\x89PNG")
    found = read_json("evaluate", "questions.jsonl", "-k", 3, "--tune")
    assert (found["k"], found["questions"], found["tuned"]["tuned"]["questions"]) == (3, 24, 12)
    assert {each["mode"] for each in found["qualities"]} == {"vector", "keyword", "hybrid"}
    hybrid = next(each for each in found["qualities"] if (each["mode"], each["kind"]) == ("hybrid", "identifier"))
    assert hybrid["mrr"] == {"value": 1.0, "low": 1.0, "high": 1.0}


def test_hits_are_reranked_and_evaluated(
    configured: Path, tmp_path: Path, invoke: Invoke, read_json: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sentence_transformers import CrossEncoder

    cross_encoder(tmp_path / "cross")
    invoke("embed")
    without = invoke("search", "--rerank", "x007z")
    assert (without.exit_code, "has no reranker. Add `rerank:" in without.stderr) == (2, True)
    write_config(configured, {"model": "stub_hash", "text_index": {}, "rerank": {"name": str(tmp_path / "cross")}})
    query = "the code of the text"
    ranked = CrossEncoder(str(tmp_path / "cross"), device="cpu").rank(query, [str(text) for text in TEXTS])
    hits = read_json("search", "--rerank", query, "-l", 3)
    assert [hit["input"] for hit in hits] == [TEXTS[int(each["corpus_id"])] for each in ranked[:3]]
    assert [hit["relevance"] for hit in hits] == pytest.approx([float(each["score"]) for each in ranked[:3]], abs=1e-5)
    assert f"(relevance {hits[0]['relevance']:.4f}) --> " in invoke("search", "--rerank", query).stdout
    assert "LIMIT 50" in invoke("search", "--rerank", query, "--sql").stdout
    evaluated = read_json("evaluate", "--make", 8)
    assert [each["mode"] for each in evaluated["qualities"][:4]] == ["vector", "keyword", "hybrid", "reranked"]


def test_wrong_usage(configured: Path, invoke: Invoke) -> None:
    invoke("embed")
    assert "Give a file of questions" in invoke("evaluate").stderr
    assert "at least 20 questions" in invoke("evaluate", "--make", 3, "--tune").stderr
    (configured / "q.jsonl").write_text(json.dumps({"query": "a", "relevant": [1]}), encoding="utf-8")
    assert "exists" in invoke("evaluate", "q.jsonl", "--make", 3).stderr
    write_config(configured, {"model": "stub_hash"})
    assert "or add text_index to its entry" in invoke("evaluate", "q.jsonl", "--tune").stderr
    assert "has no text_index" in invoke("search", "--hybrid", "a").stderr
