"""Reranked searches: the order of sentence-transformers over the first 50 hits, chunks, and what cannot be reranked."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.index.text_index import TextIndex
from crdbvec_pipelines.database.search.query import SearchQuery
from crdbvec_pipelines.errors import ConfigurationError
from crdbvec_pipelines.search.evaluation import Evaluation
from crdbvec_pipelines.search.frames import search_frame
from crdbvec_pipelines.search.questions import Question
from crdbvec_pipelines.search.reranking import RERANKED_HITS
from crdbvec_pipelines.search.searcher import Searcher
from tests.support.generated_models import WORDS, cross_encoder
from tests.support.models import registry, stub
from tests.support.servers import Server
from tests.support.tables import column
from tests.support.work import embed

ROWS = 120
QUERY = "the dog of the river"
# Words in an order that neither the vectors of the stub nor the keys follow.
TEXTS = [
    f"{WORDS[3 + number % 31]} {WORDS[3 + number * 7 % 31]} {WORDS[3 + number * 11 % 29]}" for number in range(ROWS)
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reranked") / "cross"
    cross_encoder(folder)
    return folder


@pytest.fixture(scope="module")
def spec(model: Path) -> VectorColumn:
    return column(model="stub_hash", rerank=str(model), text_index={})


@pytest.fixture(scope="module")
def filled(server: Server, spec: VectorColumn) -> Iterator[Database]:
    with server.new_database() as url, Database(url) as database:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE TABLE passage (id INT8 PRIMARY KEY, passage TEXT)")
            connection.cursor().executemany("INSERT INTO passage VALUES (%s, %s)", list(enumerate(TEXTS)))
        embed(database, spec)
        TextIndex(Searcher(database, spec, stub("stub_hash")).column).build()
        yield database


def reference(model: Path, texts: list[str], query: str = QUERY) -> list[str]:
    """Return texts in the order of sentence-transformers; of equally relevant ones, the first one first."""
    from sentence_transformers import CrossEncoder

    ranked = CrossEncoder(str(model), device="cpu", local_files_only=True).rank(query, texts, show_progress_bar=False)
    scores = {int(each["corpus_id"]): round(float(each["score"]), 5) for each in ranked}
    return [texts[number] for number in sorted(scores, key=lambda number: -scores[number])]


def searcher(database: Database, spec: VectorColumn) -> Searcher:
    return Searcher(database, spec, stub("stub_hash"), registry())


@pytest.mark.parametrize("mode", ["vector", "hybrid"])
def test_first_hits_are_in_the_order_of_sentence_transformers(
    filled: Database, spec: VectorColumn, model: Path, mode: str
) -> None:
    search = searcher(filled, spec)
    (before,) = search.search_texts([QUERY], SearchQuery(limit=RERANKED_HITS, mode=mode))  # type: ignore[arg-type]
    texts = [hit.input for hit in before.hits]
    assert len(texts) == RERANKED_HITS
    (result,) = search.search_texts([QUERY], SearchQuery(limit=7, mode=mode, rerank=True))  # type: ignore[arg-type]
    found = [hit.input for hit in result.hits]
    assert found == reference(model, texts)[:7]
    assert found != texts[:7]
    relevance = [hit.relevance or 0 for hit in result.hits]
    assert relevance == sorted(relevance, reverse=True)
    assert all(hit.distance == {each.input: each for each in before.hits}[hit.input].distance for hit in result.hits)
    assert f"The first 50 hits are ordered by {model}." in result.reason
    assert result.executed.limit == 7


def test_hits_after_the_first_50_follow_in_the_order_of_the_search(filled: Database, spec: VectorColumn) -> None:
    search = searcher(filled, spec)
    (before,) = search.search_texts([QUERY], SearchQuery(limit=80))
    (result,) = search.search_texts([QUERY], SearchQuery(limit=80, rerank=True))
    assert [hit.key for hit in result.hits[RERANKED_HITS:]] == [hit.key for hit in before.hits[RERANKED_HITS:]]
    assert [hit.relevance is None for hit in result.hits] == [False] * RERANKED_HITS + [True] * 30


def test_equal_texts_are_left_out_after_reranking(filled: Database, spec: VectorColumn) -> None:
    (result,) = searcher(filled, spec).search_texts([QUERY], SearchQuery(limit=20, rerank=True, distinct=True))
    found = [hit.input for hit in result.hits]
    assert (len(found), len(set(found))) == (20, 20)


def test_evaluation_compares_reranked_hits(filled: Database, spec: VectorColumn, model: Path) -> None:
    search = searcher(filled, spec)
    (candidates,) = search.search_texts([QUERY], SearchQuery(limit=RERANKED_HITS, mode="hybrid"))
    first = reference(model, [hit.input for hit in candidates.hits])[0]
    key = next(str(hit.key["id"]) for hit in candidates.hits if hit.input == first)
    evaluation = Evaluation(search, [Question(QUERY, ((key,),))], k=1)
    assert evaluation.modes == ("vector", "keyword", "hybrid", "reranked")
    assert {each.mode: each.recall.value for each in evaluation.qualities()}["reranked"] == 1
    assert Evaluation(Searcher(filled, spec, stub("stub_hash")), [Question(QUERY, ((key,),))]).modes[-1] == "hybrid"


def test_frame_has_the_relevance(filled: Database, spec: VectorColumn) -> None:
    query = SearchQuery(limit=3, mode="hybrid", rerank=True)
    frame = search_frame(filled, spec, stub("stub_hash"), [QUERY], query, registry())
    assert list(frame.columns) == ["query", "distance", "vector_rank", "keyword_rank", "relevance", "id", "input"]
    assert frame["relevance"].is_monotonic_decreasing


def test_long_texts_are_compared_by_their_best_passage(server: Server, model: Path) -> None:
    # The generated model reads 64 tokens, and the words of the query stand at the end of the text.
    late = "city capital finance " * 400 + ". " + QUERY
    spec = column(model="stub_hash", rerank=str(model))
    with server.new_database() as url, Database(url) as database:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE TABLE passage (id INT8 PRIMARY KEY, passage TEXT)")
            connection.execute("INSERT INTO passage VALUES (1, %s), (2, %s)", (late, "city capital finance " * 400))
        embed(database, spec)
        (result,) = searcher(database, spec).search_texts([QUERY], SearchQuery(rerank=True))
    # Their first 1,500 characters are equal.
    assert len({hit.relevance for hit in result.hits}) == 2


def test_what_cannot_be_reranked(filled: Database, spec: VectorColumn) -> None:
    search = searcher(filled, spec)
    query = SearchQuery(rerank=True)
    with pytest.raises(ConfigurationError, match="needs a text to search for"):
        search.search_like((1,), query)
    with pytest.raises(ConfigurationError, match="needs a text to search for"):
        search.search_vector(stub("stub_hash").encode_query(QUERY), query)
    without = searcher(filled, spec.model_copy(update={"rerank": None}))
    with pytest.raises(ConfigurationError, match=r"passage_vector has no reranker. Add `rerank: organization/model`"):
        without.search_texts([QUERY], query)
