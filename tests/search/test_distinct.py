"""Equal inputs among the hits: left out when asked, or when they are more than a third of the first ten."""

from collections.abc import Iterator

import psycopg
import pytest

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.search.query import SearchQuery
from crdbvec_pipelines.search.result import SearchResult
from crdbvec_pipelines.search.searcher import Searcher
from tests.support.models import stub, stub_vector
from tests.support.servers import Server
from tests.support.tables import column, create_table
from tests.support.work import embed

SPEC = column(model="stub_hash")
TEXTS: list[str | None] = [*["often"] * 30, *(f"text {number}" for number in range(12)), "twice", "twice"]


@pytest.fixture(scope="module")
def filled(server: Server) -> Iterator[Searcher]:
    with (
        server.new_database() as url,
        Database(url) as database,
        psycopg.connect(url, autocommit=True) as connection,
    ):
        create_table(connection, texts=TEXTS)
        embed(database, SPEC)
        yield Searcher(database, SPEC, stub("stub_hash"))


def search(searcher: Searcher, text: str, **query: object) -> SearchResult:
    return searcher.search_texts([text], SearchQuery(**query))[0]  # type: ignore[arg-type]


def inputs(result: SearchResult) -> list[str]:
    return [hit.input for hit in result.hits]


def test_equal_hits_are_kept_by_default_and_left_out_when_asked(filled: Searcher) -> None:
    assert inputs(search(filled, "often")) == ["often"] * 10
    found = search(filled, "often", distinct=True)
    assert len(set(inputs(found))) == len(found.hits) == 10
    assert (inputs(found)[0], found.equal_hits >= 29, found.executed.limit) == ("often", True, 10)
    every = search(filled, "often", limit=100, distinct=True)
    assert (len(every.hits), every.equal_hits >= 29) == (14, True)


def test_they_are_left_out_on_their_own_only_where_they_are_many(filled: Searcher) -> None:
    repetitive = search(filled, "often", distinct=None)
    assert len(set(inputs(repetitive))) == 10
    few = search(
        filled, "twice", limit=6, filters={"passage": ["twice", *(f"text {n}" for n in range(4))]}, distinct=None
    )
    assert inputs(few).count("twice") == 2
    assert few.equal_hits == 0


def test_searches_by_row_and_by_vector_leave_them_out_too(filled: Searcher) -> None:
    key = filled.search_vector(stub_vector("twice"), SearchQuery(limit=1)).hits[0].key
    like = filled.search_like(list(key.values()), SearchQuery(distinct=True))
    assert len(set(inputs(like))) == len(like.hits) == 10
    assert inputs(filled.search_vector(stub_vector("often"), SearchQuery(limit=2, distinct=True)))[0] == "often"
