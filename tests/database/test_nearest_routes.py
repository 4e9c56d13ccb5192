"""The routes that only CockroachDB takes, prefix and over-fetch, on PostgreSQL wherever the SQL is the same.

PostgreSQL's index has no prefix; told that it has, a search is written as for CockroachDB, and finds its rows too.
"""

from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest
from psycopg import sql

from crdbvec_pipelines.database.connection import Database, Parameters, Row
from crdbvec_pipelines.database.dialects.vectors import Settings
from crdbvec_pipelines.database.dialects.vectors_cockroachdb import CockroachVectors
from crdbvec_pipelines.database.nearest import Answer, Wish
from crdbvec_pipelines.database.statement import Statement
from tests.support.pretence import Pretence, pretend
from tests.support.servers import Server
from tests.support.vectors import (
    Entry,
    create,
    entries,
    found_ids,
    nearest,
    preferring_indexes,
    random_vectors,
    truth,
    without_vectors,
)

QUERY = random_vectors(1, seed=99)[0]
_PLAIN = without_vectors(entries([*random_vectors(3_000)]), 5)
_NEAREST = truth(_PLAIN, QUERY, limit=3).ids
ROWS = [
    replace(row, tenant="small" if row.id in _NEAREST else row.tenant, year=1900 if row.id % 1_000 == 3 else row.year)
    for row in _PLAIN
]


@pytest.fixture(scope="module")
def url_of_rows(postgres: Server) -> Iterator[str]:
    with postgres.new_database() as url, psycopg.connect(url, autocommit=True) as connection:
        create(connection, ROWS)
        connection.execute(
            "CREATE INDEX by_tenant ON passage USING hnsw (passage_vector vector_cosine_ops) "
            "WHERE passage_vector IS NOT NULL"
        )
        yield preferring_indexes(url, **{"hnsw.ef_search": 400})


@pytest.fixture
def by_tenant(url_of_rows: str) -> Iterator[Database]:
    with Database(url_of_rows) as database:
        yield pretend(database, by_tenant=["tenant"])


@pytest.fixture
def without_prefix(url_of_rows: str) -> Iterator[Database]:
    with Database(url_of_rows) as database:
        yield pretend(database, by_tenant=[])


def inside(database: Database, wish: Wish) -> str:
    """What a search asks of the index itself."""
    text = nearest(database).sql(QUERY, wish)
    return text[text.index("FROM (") : text.index(") AS nearest")]


def check(answer: Answer, wanted: list[int]) -> None:
    assert found_ids(answer.rows) == wanted


@pytest.mark.parametrize("tenants", [["tenant 1"], ["tenant 1", "tenant 4"]])
def test_pinned_prefix_columns_stay_with_the_index(by_tenant: Database, tenants: list[str]) -> None:
    answer = nearest(by_tenant).find(QUERY, Wish(where={"tenant": tenants}, limit=5))
    assert answer.by_index
    assert answer.how == "by the index by_tenant"
    check(answer, truth(ROWS, QUERY, limit=5, fits=lambda row: row.tenant in tenants).ids)
    asked = inside(by_tenant, Wish(where={"tenant": tenants}, limit=5))
    assert asked.count(" AND ") == 1
    assert "LIMIT 5" in asked


def test_a_prefix_that_is_not_pinned_makes_the_search_exact_and_is_named(by_tenant: Database) -> None:
    answer = nearest(by_tenant).find(QUERY, Wish(where={"year": [2003]}))
    assert answer.how == "exactly, since the index by_tenant needs a value for each of its prefix (tenant)"
    check(answer, truth(ROWS, QUERY, fits=lambda row: row.year == 2003).ids)


def test_another_filter_is_applied_to_ten_times_the_rows_and_said(by_tenant: Database) -> None:
    wish = Wish(where={"open": ["true"], "tenant": ["tenant 1"]}, limit=2)
    answer = nearest(by_tenant).find(QUERY, wish)
    assert answer.by_index
    assert answer.how == "by the index by_tenant, the filter applied to its nearest 20 rows"
    check(answer, truth(ROWS, QUERY, limit=2, fits=lambda row: row.tenant == "tenant 1" and row.open is True).ids)
    asked = inside(by_tenant, wish)
    assert asked.endswith("LIMIT 20")
    tests = asked[asked.index(" WHERE ") : asked.index(" ORDER BY ")]
    assert tests == """ WHERE "passage_vector" IS NOT NULL AND "tenant" = 'tenant 1'::text"""


def test_where_too_few_of_those_rows_fulfil_it_the_search_is_exact_and_says_so(without_prefix: Database) -> None:
    answer = nearest(without_prefix).find(QUERY, Wish(where={"year": [1900]}))
    check(answer, truth(ROWS, QUERY, fits=lambda row: row.year == 1900).ids)
    assert len(answer.rows) == 3
    assert answer.how == "exactly, since the filter leaves in the index only 0 of the 10 rows wanted"
    assert not answer.by_index


def test_a_distance_is_no_filter_and_is_answered_by_the_index(without_prefix: Database) -> None:
    far = truth(ROWS, QUERY, limit=4).distances[-1] - 1e-7
    answer = nearest(without_prefix).find(QUERY, Wish(within=far))
    assert answer.by_index
    check(answer, truth(ROWS, QUERY, within=far).ids)


def test_a_filter_and_a_distance_together_miss_no_row(without_prefix: Database) -> None:
    def fits(row: Entry) -> bool:
        return row.year == 1900

    far = truth(ROWS, QUERY, fits=fits).distances[-1] + 1e-7
    answer = nearest(without_prefix).find(QUERY, Wish(where={"year": [1900]}, within=far))
    check(answer, truth(ROWS, QUERY, fits=fits).ids)


def test_the_few_rows_of_a_small_tenant_are_taken_for_all_of_them(by_tenant: Database) -> None:
    answer = nearest(by_tenant).find(QUERY, Wish(where={"tenant": ["small"]}))
    check(answer, _NEAREST)
    assert answer.how == "by the index by_tenant"


def test_more_rows_than_the_index_looks_at_are_found_exactly(without_prefix: Database) -> None:
    answer = nearest(without_prefix).find(QUERY, Wish(limit=1_000))
    assert answer.how == "exactly, since the index found only 400 of the 1000 rows wanted"
    check(answer, truth(ROWS, QUERY, limit=1_000).ids)


def test_the_row_itself_is_left_out_behind_the_index(without_prefix: Database) -> None:
    first, *others = truth(ROWS, QUERY, limit=6).ids
    wish = Wish(limit=5, without=(first,))
    answer = nearest(without_prefix).find(QUERY, wish)
    assert answer.by_index
    check(answer, others)
    asked = inside(without_prefix, wish)
    assert asked.endswith("LIMIT 6")
    assert " NOT " not in asked.replace("IS NOT NULL", "")


def test_an_index_of_all_rows_is_asked_without_a_predicate(postgres: Server) -> None:
    with postgres.new_database() as url, psycopg.connect(url, autocommit=True) as connection:
        create(connection, ROWS)
        connection.execute("CREATE INDEX of_all ON passage USING hnsw (passage_vector vector_cosine_ops)")
        with Database(preferring_indexes(url)) as database:
            pretend(database, of_all=[])
            answer = nearest(database).find(QUERY, Wish(limit=5))
            assert answer.by_index
            assert " WHERE " not in inside(database, Wish(limit=5))
            check(answer, truth(ROWS, QUERY, limit=5).ids)


def test_of_several_indexes_the_one_with_the_longest_pinned_prefix_is_taken(url_of_rows: str) -> None:
    with Database(url_of_rows) as database, psycopg.connect(url_of_rows, autocommit=True) as connection:
        connection.execute("CREATE INDEX by_both ON passage USING hnsw (passage_vector vector_cosine_ops)")
        try:
            searches = nearest(pretend(database, by_tenant=["tenant"], by_both=["tenant", "open"]))
            both = searches.sql(QUERY, Wish(where={"open": [True], "tenant": ["tenant 1"]}))
            tenant = searches.sql(QUERY, Wish(where={"tenant": ["tenant 1"]}))
        finally:
            connection.execute("DROP INDEX by_both")
    # The prefix in its own order, whatever the order asked in.
    assert """ WHERE "tenant" = 'tenant 1'::text AND "open" = true::boolean ORDER BY """ in both
    assert """ WHERE "passage_vector" IS NOT NULL AND "tenant" = 'tenant 1'::text ORDER BY """ in tenant


class Listening(Database):
    """Notes which statements were sent."""

    sent: list[str]

    def fetch(
        self, statement: Statement, parameters: Parameters | None = None, settings: Settings | None = None
    ) -> list[Row]:
        self.sent.append(statement.name)
        return super().fetch(statement, parameters, settings)


def test_a_short_answer_without_the_index_is_not_taken_for_all_there_is(postgres: Server) -> None:
    # Where CockroachDB reads the table after all, rows without a vector come first and may be all that it gives.
    with postgres.new_database() as url, psycopg.connect(url, autocommit=True) as connection:
        create(connection, ROWS[:5])
        connection.execute("CREATE INDEX of_all ON passage USING hnsw (passage_vector vector_cosine_ops)")
        with Listening(url) as database:
            database.sent = []
            searches = nearest(pretend(database, of_all=[]))
            database.sent.clear()
            answer = searches.find(QUERY, Wish())
    assert answer.how == "exactly, since the server found that cheaper than its index"
    assert database.sent == ["nearest_indexed", "explain", "nearest_exact"]
    check(answer, truth(ROWS[:5], QUERY).ids)


class PastPretence(Pretence):
    """With CockroachDB's clause, which PostgreSQL does not understand: for the text alone."""

    @property
    def slightly_past(self) -> sql.Composable | None:
        return CockroachVectors(260200).slightly_past


@pytest.mark.parametrize("exact", [True, False])
def test_the_past_is_said_once_and_of_the_whole_statement(url_of_rows: str, exact: bool) -> None:
    with Database(url_of_rows) as database:
        pretend(database, PastPretence, by_tenant=[])
        text = nearest(database).sql(QUERY, Wish(past=True, where={"open": [True]}, exact=exact))
    clause = " AS OF SYSTEM TIME follower_read_timestamp() WHERE "
    assert text.count("AS OF SYSTEM TIME") == 1
    assert (f'"passage"{clause}' if exact else f") AS nearest{clause}") in text
