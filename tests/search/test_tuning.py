"""Search effort and weights from questions: a poor index, no index, an unused index, chunks, both together."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import psycopg
import pytest

from crdbvec_pipelines.config import TextIndexSpec, VectorColumn
from crdbvec_pipelines.database.chunks.table import vectors_of
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.index.vector_index import VectorIndex
from crdbvec_pipelines.database.search.query import MODES, Filters, SearchQuery
from crdbvec_pipelines.errors import ConfigurationError
from crdbvec_pipelines.search.evaluation import Evaluation
from crdbvec_pipelines.search.questions import Question
from crdbvec_pipelines.search.searcher import Searcher
from crdbvec_pipelines.search.tuning import TOLERANCE, TunedEffort, tune_effort, tune_settings
from tests.support.chunks import chunked, long_text
from tests.support.models import registry
from tests.support.servers import Server
from tests.support.tables import INT_SHAPE, column, create_table, insert_rows
from tests.support.vectors import preferring_indexes
from tests.support.work import embed, prepared

ROWS = 3_000
QUESTIONS = 60
TEXTS: list[str | None] = [f"text {number}" for number in range(ROWS)]


def searcher_of(database: Database, spec: VectorColumn) -> Searcher:
    return Searcher(database, spec, registry().encoder_of(spec))


def questions_for(searcher: Searcher) -> list[Question]:
    """Return questions whose relevant rows are the three nearest ones; every third question has a filter."""
    questions = []
    for number in range(QUESTIONS):
        filters: Filters | None = {"id": {">=": INT_SHAPE.key(100)[0]}} if number % 3 == 0 else None
        (found,) = searcher.search_texts([f"question {number}"], SearchQuery(limit=3, filters=filters, exact=True))
        questions.append(Question(found.query, tuple((str(hit.key["id"]),) for hit in found.hits), filters))
    return questions


@dataclass(frozen=True)
class Indexed:
    url: str
    spec: VectorColumn
    questions: list[Question]


def _indexed(server: Server, spec: VectorColumn, texts: list[str | None]) -> Iterator[Indexed]:
    with server.new_database() as url, psycopg.connect(url, autocommit=True) as connection:
        create_table(connection)
        insert_rows(connection, INT_SHAPE, dict(enumerate(texts)))
        with Database(preferring_indexes(url)) as database:
            embed(database, spec)
            VectorIndex(vectors_of(prepared(database, spec))).build()
            connection.execute("ANALYZE")
            yield Indexed(preferring_indexes(url), spec, questions_for(searcher_of(database, spec)))


@pytest.fixture(scope="module")
def poor(postgres: Server) -> Iterator[Indexed]:
    """An index at whose lowest efforts searches miss most rows."""
    yield from _indexed(postgres, column(model="stub_hash", index={"m": 4, "ef_construction": 8}), TEXTS)


@pytest.fixture(scope="module")
def poorest(postgres: Server) -> Iterator[Indexed]:
    """An index with the fewest connections between rows that pgvector allows: no effort suffices."""
    yield from _indexed(postgres, column(model="stub_hash", index={"m": 2, "ef_construction": 4}), TEXTS)


def tuned(of: Indexed, **index: object) -> TunedEffort:
    """Return the effort that is found with further settings of the index in the entry."""
    assert of.spec.index is not None
    spec = of.spec.model_copy(update={"index": of.spec.index.model_copy(update=index)})
    with Database(of.url) as database:
        found = tune_effort(Evaluation(searcher_of(database, spec), of.questions))
    assert found is not None
    return found


def losses(found: TunedEffort) -> dict[int, float]:
    """Return how much lower recall or nDCG is than by an exact scan, by effort."""
    return {
        each.effort: max(
            found.exact.recall.value - each.quality.recall.value, found.exact.ndcg.value - each.quality.ndcg.value
        )
        for each in found.measurements
    }


def test_smallest_effort_that_suffices_is_found_and_measured_on_the_other_half(poor: Indexed) -> None:
    found = tuned(poor, effort=10)
    assert (found.setting, found.configured, found.suffices, found.is_configured) == ("hnsw.ef_search", 10, True, False)
    assert found.exact.recall.value == found.exact.ndcg.value == 1
    lost = losses(found)
    assert list(lost) == [10, 20, 40, 80, 160, 320, 640]
    assert lost[10] > TOLERANCE
    assert found.effort == min(effort for effort, each in lost.items() if each <= TOLERANCE)
    assert {each.index_scans for each in found.measurements} == {QUESTIONS // 2}
    shares = [each.nearest_share for each in found.measurements]
    assert shares[0] < shares[-1] <= 1
    assert found.found.nearest_share > 0.9
    assert found.at_configured.questions == found.at_tuned.questions == QUESTIONS // 2
    gained = found.at_tuned.recall.value - found.at_configured.recall.value
    assert found.difference.recall.value == pytest.approx(gained)
    assert found.difference.recall.low > 0
    assert found.searches == QUESTIONS // 2 * (7 + 1) + QUESTIONS // 2 * 2


def test_larger_effort_than_needed_is_lowered(poor: Indexed) -> None:
    found = tuned(poor, effort=500)
    assert [each.effort for each in found.measurements] == [10, 20, 40, 80, 160, 320, 500, 640]
    assert found.effort < 500
    assert losses(found)[found.effort] <= TOLERANCE


def test_same_half_is_used_each_time(poor: Indexed) -> None:
    assert tuned(poor) == tuned(poor)


def test_best_effort_is_named_as_not_sufficient(poorest: Indexed) -> None:
    found = tuned(poorest)
    assert not found.suffices
    lost = losses(found)
    assert min(lost.values()) > TOLERANCE
    assert found.found.quality.ndcg.value == max(each.quality.ndcg.value for each in found.measurements)
    assert found.configured == 40


def test_found_effort_that_is_the_one_of_searches_needs_no_other_searches(poor: Indexed) -> None:
    found = tuned(poor, effort=tuned(poor).effort)
    assert found.is_configured
    assert found.at_configured == found.at_tuned
    assert found.difference.ndcg.value == 0
    assert found.searches == QUESTIONS // 2 * (7 + 1) + QUESTIONS // 2


def test_each_mode_is_measured_as_it_is_searched(poor: Indexed) -> None:
    """A hybrid search reads 50 candidates, with which an index scan misses fewer rows than with the limit."""
    spec = poor.spec.model_copy(update={"text_index": TextIndexSpec()})
    with Database(poor.url) as database:
        searcher = searcher_of(database, spec)
        qualities = {each.mode: each for each in Evaluation(searcher, poor.questions, 3).qualities()}
        for mode in MODES:
            found = []
            for each in poor.questions:
                query = SearchQuery(limit=3, filters=each.filters, mode=mode)
                (result,) = searcher.search_texts([each.query], query)
                keys = {(str(hit.key["id"]),) for hit in result.hits}
                found.append(len(keys & set(each.relevant)) / 3)
            assert qualities[mode].recall.value == pytest.approx(np.mean(found))
    assert qualities["vector"].recall.value < 1


def test_questions_are_embedded_once(poor: Indexed, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = column(model="stub_hash", index={"m": 4, "ef_construction": 8, "effort": 10}, text_index={})
    encoder = registry().encoder_of(spec)
    encoded: list[str] = []
    encode = encoder.encode_query

    def counting(text: str) -> np.ndarray:
        encoded.append(text)
        return encode(text)

    monkeypatch.setattr(encoder, "encode_query", counting)
    with Database(poor.url) as database:
        found = tune_settings(Evaluation(Searcher(database, spec, encoder), poor.questions))
    assert found.effort is not None
    assert not found.effort.is_configured
    assert found.searches == found.effort.searches + QUESTIONS
    assert encoded == [each.query for each in poor.questions]


def test_weights_are_those_of_the_candidates_at_the_found_effort(poorest: Indexed) -> None:
    spec = poorest.spec.model_copy(update={"text_index": TextIndexSpec()})
    with Database(poorest.url) as database:
        evaluation = Evaluation(searcher_of(database, spec), poorest.questions)
        found = tune_settings(evaluation)
        assert found.effort is not None
        at_effort = evaluation.at_effort(found.effort.effort)
    assert found.weights == at_effort.tune()
    of_vectors = [each.qualities(["vector"])[0].recall.value for each in (evaluation, at_effort)]
    assert of_vectors[0] < of_vectors[1]
    assert found.weights != evaluation.tune()


def test_effort_at_which_exact_scans_replace_the_index_is_not_chosen(postgres: Server) -> None:
    # A search for ten rows that examines ten, some of which are deleted, is repeated as an exact scan.
    for of in _indexed(postgres, column(model="stub_hash", index={}), TEXTS):
        with psycopg.connect(of.url, autocommit=True) as connection, Database(of.url) as database:
            connection.execute("ALTER TABLE passage SET (autovacuum_enabled = false)")
            connection.execute("DELETE FROM passage WHERE id % 2 = 0")
            questions = questions_for(searcher_of(database, of.spec))
            found = tune_effort(Evaluation(searcher_of(database, of.spec), questions))
        assert found is not None
        first, *_ = found.measurements
        assert first.index_scans < QUESTIONS // 2
        assert losses(found)[first.effort] <= TOLERANCE
        assert found.effort > first.effort
        assert found.found.index_scans == QUESTIONS // 2


def test_effort_of_the_index_of_chunks(postgres: Server) -> None:
    texts: list[str | None] = [long_text(number, 40) for number in range(600)]
    spec = chunked(index={"m": 2, "ef_construction": 4})
    for of in _indexed(postgres, spec, texts):
        found = tuned(of)
        assert found.exact.recall.value == 1
        assert {each.index_scans for each in found.measurements} == {QUESTIONS // 2}
        lost = losses(found)
        assert lost[10] > lost[640]
        assert lost[found.effort] == min(lost.values())


@pytest.mark.parametrize("has_index", [False, True])
def test_without_an_index_that_the_server_uses_there_is_no_effort(postgres: Server, has_index: bool) -> None:
    spec = column(model="stub_hash", index={}, text_index={})
    with postgres.new_database() as url, psycopg.connect(url, autocommit=True) as connection, Database(url) as database:
        # PostgreSQL compares the few rows, because that is faster.
        create_table(connection, texts=TEXTS[:40])
        embed(database, spec)
        if has_index:
            VectorIndex(prepared(database, spec)).build()
        searcher = searcher_of(database, spec)
        assert searcher.has_index == has_index
        found = tune_settings(Evaluation(searcher, [Question(f"text {number}", (("1",),)) for number in range(20)]))
    assert found.effort is None
    assert found.searches == 0
    assert found.weights is not None


def test_without_a_text_index_only_the_effort_is_found(poor: Indexed) -> None:
    with Database(poor.url) as database:
        found = tune_settings(Evaluation(searcher_of(database, poor.spec), poor.questions))
    assert found.weights is None
    assert found.effort is not None
    assert found.searches == found.effort.searches


def test_one_question_cannot_be_divided(poor: Indexed) -> None:
    with Database(poor.url) as database:
        evaluation = Evaluation(searcher_of(database, poor.spec), poor.questions[:1])
        with pytest.raises(ConfigurationError, match="there is only one question"):
            tune_settings(evaluation)


def test_vectors_of_another_model_are_rejected(poor: Indexed) -> None:
    with Database(poor.url) as database:
        searcher = searcher_of(database, poor.spec)
        with pytest.raises(ConfigurationError, match=r"those of public\.passage\.passage_vector have 8 "):
            searcher.candidates("question", SearchQuery(), np.ones(5, np.float32))
