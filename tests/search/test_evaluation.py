"""Evaluation: the measures by their definition, questions from files and from the table, weights found on one half."""

import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.errors import ConfigurationError
from crdbvec_pipelines.search.evaluation import Evaluation, measures
from crdbvec_pipelines.search.questions import Question, make_questions, read_questions, write_questions
from crdbvec_pipelines.search.searcher import Searcher
from tests.support.models import stub
from tests.support.servers import Server
from tests.support.tables import column
from tests.support.work import embed

ROWS = 40
SPEC = column(model="stub_hash", text_index={})
KEYS = st.lists(st.integers(0, 12), unique=True, max_size=12)


def text(number: int) -> str:
    middle = " ".join(f"Sentence {word} of the text number {number} says nothing at all." for word in range(8))
    return f"The title of the text number {number} is here. {middle} At its end stands the code x{number:03d}z."


@pytest.fixture(scope="module")
def filled(server: Server) -> Iterator[Database]:
    with (
        server.new_database() as url,
        Database(url) as database,
        psycopg.connect(url, autocommit=True) as connection,
    ):
        connection.execute("CREATE TABLE passage (id INT8, part TEXT, passage TEXT, PRIMARY KEY (id, part))")
        with connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO passage VALUES (%s, %s, %s)", [(number, "a", text(number)) for number in range(ROWS)]
            )
        embed(database, SPEC)
        yield database


def searcher(database: Database, spec: VectorColumn = SPEC) -> Searcher:
    return Searcher(database, spec, stub("stub_hash"))


@given(KEYS, KEYS.filter(bool), st.integers(1, 12))
def test_measures_by_their_definition(found: list[int], relevant: list[int], k: int) -> None:
    rows, wanted = [(str(each),) for each in found], [(str(each),) for each in relevant]
    recall, reciprocal_rank, ndcg = measures(rows, wanted, k)
    ranks = [rank for rank, each in enumerate(found, start=1) if each in relevant and rank <= k]
    assert recall == len(ranks) / len(relevant)
    assert reciprocal_rank == (1 / ranks[0] if ranks else 0)
    ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(len(relevant), k) + 1))
    assert ndcg == pytest.approx(sum(1 / math.log2(rank + 1) for rank in ranks) / ideal)


def test_questions_of_every_kind_are_made_from_the_table_and_found_by_keywords(filled: Database) -> None:
    questions = make_questions(searcher(filled).column, ROWS)
    assert {each.kind for each in questions} == {"start", "middle", "end", "identifier"}
    assert len(questions) == ROWS
    for each in questions:
        ((number, part),) = each.relevant
        assert (part, each.query in text(int(number))) == ("a", True)
    qualities = Evaluation(searcher(filled), questions).qualities()
    by_mode = {each.mode: each for each in qualities if not each.kind}
    assert by_mode["keyword"].recall.value == by_mode["hybrid"].recall.value == 1
    assert by_mode["vector"].ndcg.value < by_mode["hybrid"].ndcg.value
    assert by_mode["vector"].ndcg.low < by_mode["vector"].ndcg.value < by_mode["vector"].ndcg.high
    assert len(qualities) == 3 * 5


def test_without_a_text_index_only_vectors_are_evaluated(filled: Database) -> None:
    vectors_only = column(model="stub_hash")
    found = Evaluation(searcher(filled, vectors_only), [Question(text(3), (("3", "a"),))]).qualities()
    assert [(each.mode, each.recall.value, each.mrr.value) for each in found] == [("vector", 1, 1)]


def test_filters_of_a_question_apply(filled: Database) -> None:
    questions = [Question("code x003z", (("3", "a"),), {"id": {">": 3}})]
    found = Evaluation(searcher(filled), questions).qualities()
    assert [each.recall.value for each in found] == [0, 0, 0]


def test_weights_are_found_on_one_half_and_measured_on_the_other(filled: Database) -> None:
    # With the vectors of the stub, which say nothing about a text, the words alone are best.
    questions = make_questions(searcher(filled).column, ROWS)
    wrong = column(model="stub_hash", text_index={"keyword_weight": 0, "exact_weight": 0})
    tuned = Evaluation(searcher(filled, wrong), questions).tune()
    assert tuned.weights.keyword_weight + tuned.weights.exact_weight > 0
    assert tuned.tuned.ndcg.value > tuned.default.ndcg.value
    assert tuned.tuned.questions == ROWS // 2
    best = column(model="stub_hash", text_index=tuned.weights.model_dump())
    assert Evaluation(searcher(filled, best), questions).tune().weights == tuned.weights


def test_files_of_questions_are_written_and_read(tmp_path: Path) -> None:
    questions = [Question("it's “x”", (("1", "a"),), kind="start"), Question("y", (("7",), ("8",)))]
    write_questions(tmp_path / "q.jsonl", questions)
    assert read_questions(tmp_path / "q.jsonl") == questions
    with pytest.raises(ConfigurationError, match="exists"):
        write_questions(tmp_path / "q.jsonl", questions)
    filtered = {"query": "y", "relevant": [7, [1.5, "b"]], "filter": {"lang": ["en"]}}
    (tmp_path / "f.jsonl").write_text(f"\n{json.dumps(filtered)}\n", encoding="utf-8")
    assert read_questions(tmp_path / "f.jsonl") == [Question("y", (("7",), ("1.5", "b")), {"lang": ["en"]})]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "is not a JSON object"),
        ("[]", "has no query"),
        ('{"query": " ", "relevant": [1]}', "has no query"),
        ('{"query": "a"}', "no list of relevant keys"),
        ('{"query": "a", "relevant": []}', "no list of relevant keys"),
        ('{"query": "a", "relevant": [1], "filters": {}}', "unknown key filters"),
        ('{"query": "a", "relevant": [1], "filter": []}', "filter that is not an object"),
        ("", "contains no question"),
    ],
)
def test_errors_of_a_file_name_the_line(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "q.jsonl").write_text(line, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=message):
        read_questions(tmp_path / "q.jsonl")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_questions(tmp_path)


def test_intervals_are_reproducible(filled: Database) -> None:
    questions = make_questions(searcher(filled).column, 12)
    first, second = (Evaluation(searcher(filled), questions).qualities() for _ in range(2))
    assert first == second
    assert np.isfinite(first[0].recall.low)
