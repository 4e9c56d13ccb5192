"""Keyword and hybrid searches: the rows, their ranks and order, filters on both, and what cannot be searched."""

from collections.abc import Iterator

import numpy as np
import psycopg
import pytest

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.errors import TableError
from crdbvec_pipelines.database.index.text_index import TextIndex
from crdbvec_pipelines.database.search.query import SearchQuery
from crdbvec_pipelines.errors import ConfigurationError
from crdbvec_pipelines.search.frames import search_frame
from crdbvec_pipelines.search.hybrid import CANDIDATES
from crdbvec_pipelines.search.result import SearchResult
from crdbvec_pipelines.search.searcher import Searcher
from tests.support.models import stub, stub_vector
from tests.support.servers import Server
from tests.support.tables import column
from tests.support.work import embed

FILLER = [f"row number {number} about nothing" for number in range(60)]
TEXTS = [
    "A kakapo is a flightless parrot of New Zealand.",
    "Parrots are birds; many parrots talk.",
    "request 3fa9c1 failed with status 502",
    "request 3fa9c2 failed with status 502, request failed again, failed requests",
    "The beam of the search\n  decides how many partitions are read.",
    "The search reads partitions of the beam, the beam, the beam.",
    *FILLER,
]
PENDING = "an unembedded kiwi"
SPEC = column(model="stub_hash", text_index={})


@pytest.fixture(scope="module")
def filled(server: Server) -> Iterator[Database]:
    """Rows of two tenants; the last one has no vector."""
    with (
        server.new_database() as url,
        Database(url) as database,
        psycopg.connect(url, autocommit=True) as connection,
    ):
        connection.execute("CREATE TABLE passage (id INT8 PRIMARY KEY, passage TEXT, tenant TEXT)")
        with connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO passage VALUES (%s, %s, %s)",
                [(number, text, "even" if number % 2 == 0 else "odd") for number, text in enumerate(TEXTS)],
            )
        embed(database, SPEC)
        connection.execute("INSERT INTO passage VALUES (1000, %s, 'even')", (PENDING,))
        TextIndex(searcher(database).column).build()
        yield database


def searcher(database: Database, spec: VectorColumn = SPEC) -> Searcher:
    return Searcher(database, spec, stub("stub_hash"))


def search(database: Database, text: str, **query: object) -> SearchResult:
    (result,) = searcher(database).search_texts([text], SearchQuery(**{"mode": "hybrid", **query}))  # type: ignore[arg-type]
    return result


def ids(result: SearchResult) -> list[int]:
    return [hit.key["id"] for hit in result.hits]


def test_keywords_find_other_forms_of_a_word_and_rows_without_a_vector(filled: Database) -> None:
    assert set(ids(search(filled, "parrot", mode="keyword"))) == {0, 1}
    found = search(filled, "kiwi birds", mode="keyword")
    assert set(ids(found)) == {1, 1000}
    assert [(str(hit.distance), hit.ranks and hit.ranks.vector) for hit in found.hits] == [("nan", None)] * 2
    assert found.reason.startswith("Keywords: index scan of passage_passage_vector_")


def test_a_hybrid_search_has_the_candidates_of_both_with_their_ranks_and_distances(filled: Database) -> None:
    result = search(filled, "parrots of New Zealand", limit=100)
    vector = stub_vector("parrots of New Zealand")
    similarity = [float(stub_vector(text) @ vector / np.linalg.norm(stub_vector(text))) for text in TEXTS]
    by_vectors = sorted(range(len(TEXTS)), key=lambda number: -similarity[number])
    for hit in result.hits:
        assert hit.ranks is not None
        expected = by_vectors.index(hit.key["id"]) + 1
        assert hit.ranks.vector == expected
        assert hit.distance == pytest.approx(1 - similarity[hit.key["id"]] / np.linalg.norm(vector), abs=1e-5)
    assert {hit.key["id"]: hit.ranks.keyword for hit in result.hits if hit.ranks and hit.ranks.keyword} == {0: 1, 1: 2}
    scores = [hit.ranks.score for hit in result.hits if hit.ranks]
    assert scores == sorted(scores, reverse=True)
    assert len(result.hits) == len(TEXTS)


@pytest.mark.parametrize("mode", ["keyword", "hybrid"])
@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("why did the request 3fa9c1 fail and fail again", 2),
        ('"beam of the search" partitions', 4),
        ("the beam of the search decides", 4),
    ],
)
def test_identifiers_quoted_words_and_phrases_come_first(filled: Database, mode: str, text: str, first: int) -> None:
    assert ids(search(filled, text, mode=mode))[0] == first


def test_a_rare_word_finds_more_than_frequent_ones_and_a_long_text(server: Server) -> None:
    frequent = "the owner of the shop sells bread"
    texts = {
        1: "a bakery in Halden",
        2: "a bakery in Halden, " + "where no other shop bakes anything today, " * 20,
        **dict.fromkeys(range(10, 30), frequent),
    }
    with server.new_database() as url, Database(url) as database:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE TABLE passage (id INT8 PRIMARY KEY, passage TEXT)")
            with connection.cursor() as cursor:
                cursor.executemany("INSERT INTO passage VALUES (%s, %s)", list(texts.items()))
        embed(database, SPEC)
        # By the rank of the server, a text with three of the words is better than one with the rare one.
        assert ids(search(database, "owner of the bread shop in Halden", mode="keyword"))[:2] == [1, 2]


def test_weights_of_the_configuration_decide(filled: Database) -> None:
    text = "number 7 about nothing of row"
    vector_first = ids(search(filled, text, mode="vector", limit=1))
    only_vectors = column(model="stub_hash", text_index={"keyword_weight": 0, "exact_weight": 0})
    (found,) = searcher(filled, only_vectors).search_texts([text], SearchQuery(limit=1, mode="hybrid"))
    assert ids(found) == vector_first


@pytest.mark.parametrize("mode", ["keyword", "hybrid"])
def test_filters_apply_to_both_searches(filled: Database, mode: str) -> None:
    found = search(
        filled, "parrot request number", mode=mode, filters={"tenant": "odd"}, limit=100, columns=("tenant",)
    )
    assert {hit.columns["tenant"] for hit in found.hits} == {"odd"}
    assert {1, 3} < set(ids(found))
    with pytest.raises(TableError, match="no column nothing"):
        search(filled, "parrot", mode=mode, filters={"nothing": 1})
    with pytest.raises(TableError, match="is not a value of it"):
        search(filled, "parrot", mode=mode, filters={"id": "x"})


def test_limit_maximum_distance_and_excluded_key(filled: Database) -> None:
    assert len(search(filled, "number", limit=3).hits) == 3
    assert len(search(filled, "number", limit=CANDIDATES + 10).hits) == CANDIDATES + 10
    near = search(filled, "parrot", max_distance=0.5, limit=100)
    assert all(hit.distance <= 0.5 for hit in near.hits)
    assert 0 not in ids(search(filled, "kakapo", exclude_key=(0,), limit=100))
    with pytest.raises(ConfigurationError, match="has no distance"):
        search(filled, "parrot", mode="keyword", max_distance=1)


@pytest.mark.parametrize("text", ["the", "'; DROP TABLE passage; --", "a & | !", "\\", "it's <-> 100%", '"'])
def test_any_text_can_be_searched_for(filled: Database, text: str) -> None:
    assert len(search(filled, text).hits) == 10
    assert search(filled, text, mode="keyword").strategy == "index_scan"


def test_without_a_keyword_hit_the_reason_is_given(filled: Database) -> None:
    result = search(filled, "zzz", mode="keyword")
    assert result.hits == []
    assert "No row contains a word" in searcher(filled).why_no_hits(result)
    filtered = search(filled, "parrot", mode="keyword", filters={"tenant": "none"})
    assert "matches the conditions" in searcher(filled).why_no_hits(filtered)


def test_frame_has_both_ranks(filled: Database) -> None:
    frame = search_frame(filled, SPEC, stub("stub_hash"), ["parrot"], SearchQuery(limit=100, mode="hybrid"))
    assert list(frame.columns) == ["query", "distance", "vector_rank", "keyword_rank", "id", "input"]
    assert frame["keyword_rank"].notna().sum() == 2
    assert frame["distance"].notna().all()


def test_sql_and_query_plans_of_both_searches(filled: Database) -> None:
    texts = searcher(filled).sql(["parrot"], SearchQuery(mode="hybrid"))
    assert ["to_tsquery" in text for text in texts] == [False, True]
    plans = searcher(filled).explain(["parrot"], SearchQuery(mode="keyword"))
    assert len(plans) == 1


def test_only_a_text_can_be_searched_for_and_the_entry_needs_a_text_index(filled: Database) -> None:
    with pytest.raises(ConfigurationError, match="needs a text to search for"):
        searcher(filled).search_like([1], SearchQuery(mode="hybrid"))
    with pytest.raises(ConfigurationError, match="needs a text to search for"):
        searcher(filled).search_vector(stub_vector("a"), SearchQuery(mode="hybrid"))
    with pytest.raises(ConfigurationError, match="has no text_index"):
        searcher(filled, column(model="stub_hash")).search_texts(["a"], SearchQuery(mode="keyword"))
    with pytest.raises(ConfigurationError, match="is blank"):
        search(filled, " ", mode="keyword")
