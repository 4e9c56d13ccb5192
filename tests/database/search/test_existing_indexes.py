"""Indexes and columns that exist: halfvec columns, ivfflat indexes, and hnsw indexes over a cast to halfvec."""

from collections.abc import Iterator

import psycopg
import pytest

from crdbvec_pipelines.config import Metric
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.index.vector_index import VectorIndex
from crdbvec_pipelines.database.rows.range_state import range_state
from crdbvec_pipelines.database.search.nearest import NearestNeighbors
from crdbvec_pipelines.database.search.query import SearchQuery
from crdbvec_pipelines.keyspace import KeyRange
from crdbvec_pipelines.search.recall import measure_recall
from tests.support.models import stub_vector
from tests.support.servers import Server
from tests.support.tables import column, create_table
from tests.support.work import embed, prepared

ROWS = 400
METRICS: tuple[Metric, ...] = ("cosine", "l2", "ip")


@pytest.fixture
def own(postgres: Server) -> Iterator[tuple[psycopg.Connection, Database]]:
    """A connection to a PostgreSQL database with a table of embedded rows, and the database."""
    with postgres.new_database() as url, psycopg.connect(url, autocommit=True) as connection, Database(url) as database:
        create_table(connection, texts=[f"text {number}" for number in range(ROWS)])
        yield connection, database


def check_search(database: Database, metric: Metric, index: str) -> None:
    """Check that a search uses the index and finds the row of its own input."""
    spec = column(model="stub_hash", index={"metric": metric})
    nearest = NearestNeighbors(prepared(database, spec))
    for query in (SearchQuery(limit=3, effort=100), SearchQuery(limit=3, filters={"passage": "text 7"})):
        found = nearest.find(stub_vector("text 7"), query)
        exact = nearest.find(stub_vector("text 7"), SearchQuery(limit=3, filters=query.filters, exact=True))
        assert found.rows[0][1] == "text 7"
        assert found.rows[0][0] == pytest.approx(exact.rows[0][0], abs=1e-5)
    assert nearest.find(stub_vector("text 7"), SearchQuery(limit=3, effort=100)).index == index
    assert VectorIndex(prepared(database, spec)).existing().keys() == {index}


def force_index_scans(connection: psycopg.Connection) -> None:
    """Let the server prefer an index also for this small table, in connections opened from now on."""
    name = connection.info.dbname
    connection.execute(f"ALTER DATABASE {name} SET enable_seqscan = off".encode())
    connection.execute(f"ALTER DATABASE {name} SET enable_sort = off".encode())


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("method", "expression", "prefix"),
    [
        ("ivfflat", "passage_vector", "vector"),
        ("hnsw", "(passage_vector::halfvec(8))", "halfvec"),
        ("ivfflat", "(passage_vector::halfvec(8))", "halfvec"),
    ],
)
def test_searches_use_an_index_that_exists(
    own: tuple[psycopg.Connection, Database], metric: Metric, method: str, expression: str, prefix: str
) -> None:
    connection, database = own
    embed(database, column(model="stub_hash", index={"metric": metric}))
    options = " WITH (lists = 2)" if method == "ivfflat" else ""
    connection.execute(
        f"CREATE INDEX mine ON passage USING {method} ({expression} {prefix}_{metric}_ops){options}".encode()
    )
    force_index_scans(connection)
    database.renew_connections()
    check_search(database, metric, "mine")


@pytest.mark.parametrize("metric", METRICS)
def test_halfvec_column_is_embedded_indexed_and_searched(
    own: tuple[psycopg.Connection, Database], metric: Metric
) -> None:
    connection, database = own
    connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    connection.execute("ALTER TABLE passage ADD COLUMN passage_vector HALFVEC(8)")
    spec = column(model="stub_hash", index={"metric": metric})
    assert embed(database, spec).rows_embedded == ROWS
    assert embed(database, spec).rows_embedded == 0
    state = range_state(prepared(database, spec), KeyRange())
    assert (state.current, state.unusable) == (ROWS, 0)
    index = VectorIndex(prepared(database, spec))
    assert index.build()
    assert index.differences() == []
    force_index_scans(connection)
    database.renew_connections()
    check_search(database, metric, index.name)
    assert measure_recall(prepared(database, spec), queries=3).setting == "hnsw.ef_search"


def test_effort_of_an_ivfflat_index_is_the_number_of_probes(own: tuple[psycopg.Connection, Database]) -> None:
    connection, database = own
    embed(database, column(model="stub_hash"))
    connection.execute("CREATE INDEX mine ON passage USING ivfflat (passage_vector vector_cosine_ops) WITH (lists = 2)")
    nearest = NearestNeighbors(prepared(database, column(model="stub_hash")))
    assert "SET ivfflat.probes = 2;" in nearest.sql(stub_vector("a"), SearchQuery(effort=2))
    assert measure_recall(prepared(database, column(model="stub_hash")), queries=3).setting == "ivfflat.probes"


def test_index_that_is_used_is_preferred_by_accuracy(own: tuple[psycopg.Connection, Database]) -> None:
    connection, database = own
    embed(database, column(model="stub_hash"))
    connection.execute("CREATE INDEX a ON passage USING ivfflat (passage_vector vector_cosine_ops) WITH (lists = 2)")
    connection.execute("CREATE INDEX b ON passage USING hnsw ((passage_vector::halfvec(8)) halfvec_cosine_ops)")
    assert NearestNeighbors(prepared(database, column(model="stub_hash")))._choose(SearchQuery()).index == "b"
    connection.execute("CREATE INDEX c ON passage USING hnsw (passage_vector vector_cosine_ops)")
    assert NearestNeighbors(prepared(database, column(model="stub_hash")))._choose(SearchQuery()).index == "c"
