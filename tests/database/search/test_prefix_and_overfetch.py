"""The strategies of CockroachDB, prefix and over-fetch, executed on PostgreSQL where the SQL is the same.

PostgreSQL's index has no prefix. With a dialect that reports one, searches are sent as to CockroachDB.
"""

from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest
from psycopg import sql

from crdbvec_pipelines.database.connection import Database, Parameters, Row
from crdbvec_pipelines.database.dialects.cockroachdb_vectors import CockroachVectors
from crdbvec_pipelines.database.dialects.vector_support import Settings
from crdbvec_pipelines.database.search.nearest import NearestResult
from crdbvec_pipelines.database.search.query import SearchQuery
from crdbvec_pipelines.database.statement import Statement
from tests.support.fake_cockroachdb import FakeCockroachVectors, search_like_cockroachdb
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
        yield search_like_cockroachdb(database, by_tenant=["tenant"])


@pytest.fixture
def without_prefix(url_of_rows: str) -> Iterator[Database]:
    with Database(url_of_rows) as database:
        yield search_like_cockroachdb(database, by_tenant=[])


def index_scan(database: Database, query: SearchQuery) -> str:
    """Return the sub-query of a search that scans the index."""
    text = nearest(database).sql(QUERY, query)
    return text[text.index("FROM (") : text.index(') AS "crdbvec_nearest"')]


def check(result: NearestResult, expected: list[int]) -> None:
    assert found_ids(result.rows) == expected


@pytest.mark.parametrize("tenants", [["tenant 1"], ["tenant 1", "tenant 4"]])
def test_filters_on_prefix_columns_are_part_of_the_index_scan(by_tenant: Database, tenants: list[str]) -> None:
    query = SearchQuery(filters={"tenant": tenants}, limit=5)
    result = nearest(by_tenant).find(QUERY, query)
    assert (result.strategy, result.reason, result.index) == ("index_scan", "Index scan on by_tenant.", "by_tenant")
    check(result, truth(ROWS, QUERY, limit=5, matches=lambda row: row.tenant in tenants).ids)
    scan = index_scan(by_tenant, query)
    assert scan.count(" AND ") == 1
    assert "LIMIT 5" in scan


def test_missing_prefix_filter_leads_to_an_exact_scan_that_names_the_prefix(by_tenant: Database) -> None:
    result = nearest(by_tenant).find(QUERY, SearchQuery(filters={"year": [2003]}))
    assert result.reason == (
        "Exact scan: the index by_tenant needs a filter on each of its prefix columns (tenant); no other index starts "
        "with tenant, so its values are not read."
    )
    check(result, truth(ROWS, QUERY, matches=lambda row: row.year == 2003).ids)


@pytest.fixture
def with_values(postgres: Server) -> Iterator[psycopg.Connection]:
    """Rows of few tenants, with an index on the tenant."""
    with postgres.new_database() as url, psycopg.connect(url, autocommit=True) as connection:
        create(connection, [replace(row, tenant=row.tenant or "tenant 0") for row in ROWS])
        connection.execute("CREATE INDEX by_tenant ON passage USING hnsw (passage_vector vector_cosine_ops)")
        connection.execute("CREATE INDEX tenants ON passage (tenant)")
        yield connection


def like_cockroachdb(connection: psycopg.Connection, *prefix: str) -> Database:
    # Without a sort, only the vector index returns the rows in order.
    settings = {"hnsw.ef_search": 400, "enable_sort": "off", "enable_bitmapscan": "off"}
    url = preferring_indexes(connection.info.dsn, **settings)
    return search_like_cockroachdb(Database(url), by_tenant=prefix)


def test_missing_prefix_filter_is_a_list_of_all_values_if_they_are_few(with_values: psycopg.Connection) -> None:
    with like_cockroachdb(with_values, "tenant") as database:
        searches = nearest(database)
        result = searches.find(QUERY, SearchQuery(limit=5))
        text = searches.sql(QUERY, SearchQuery(limit=5))
    assert result.reason == "Index scan on by_tenant for all 8 values of tenant."
    check(result, truth(ROWS, QUERY, limit=5).ids)
    assert """WHERE "crdbvec_row"."tenant" = ANY(""" in text
    assert '\'{small,"tenant 0"' in text


def test_values_of_the_prefix_are_not_used_if_some_are_null_or_if_they_are_many(
    with_values: psycopg.Connection,
) -> None:
    needs = "Exact scan: the index by_tenant needs a filter on each of its prefix columns"
    with_values.execute("UPDATE passage SET tenant = NULL WHERE id = 1")
    with like_cockroachdb(with_values, "tenant") as database:
        result = nearest(database).find(QUERY, SearchQuery(limit=5))
    assert result.reason == f"{needs} (tenant); tenant is NULL in some rows."
    check(result, truth(ROWS, QUERY, limit=5).ids)
    with like_cockroachdb(with_values, "id") as database:
        result = nearest(database).find(QUERY, SearchQuery(limit=5))
    assert result.reason == f"{needs} (id); id has more than 32 values."


def test_values_of_the_prefix_are_read_once_for_many_searches(with_values: psycopg.Connection) -> None:
    with RecordingDatabase(preferring_indexes(with_values.info.dsn)) as database:
        database.sent = []
        searches = nearest(search_like_cockroachdb(database, by_tenant=["tenant"]))
        searches.find(QUERY, SearchQuery(limit=5))
        assert database.sent.count("next_value") == 9
        searches.find(QUERY, SearchQuery(limit=5))
        assert database.sent.count("next_value") == 9


def test_other_filters_run_on_ten_times_the_rows_and_the_reason_says_so(by_tenant: Database) -> None:
    query = SearchQuery(filters={"open": ["true"], "tenant": ["tenant 1"]}, limit=2)
    result = nearest(by_tenant).find(QUERY, query)
    assert result.strategy == "index_scan"
    assert result.reason == "Index scan on by_tenant; the filter on open applies to its nearest 20 rows."
    check(result, truth(ROWS, QUERY, limit=2, matches=lambda row: row.tenant == "tenant 1" and row.open is True).ids)
    scan = index_scan(by_tenant, query)
    assert scan.endswith("LIMIT 20")
    conditions = scan[scan.index(" WHERE ") : scan.index(" ORDER BY ")]
    assert (
        conditions
        == """ WHERE "crdbvec_row"."passage_vector" IS NOT NULL AND "crdbvec_row"."tenant" = 'tenant 1'::text"""
    )


def test_comparison_with_a_prefix_column_runs_on_the_trees_of_all_its_values(with_values: psycopg.Connection) -> None:
    with like_cockroachdb(with_values, "tenant") as database:
        searches = nearest(database)
        query = SearchQuery(limit=5, filters={"tenant": {">": "tenant 3"}})
        result = searches.find(QUERY, query)
        scan = index_scan(database, query)
    assert result.reason == (
        "Index scan on by_tenant for all 8 values of tenant; the filter on tenant applies to its nearest 50 rows."
    )
    check(result, truth(ROWS, QUERY, limit=5, matches=lambda row: (row.tenant or "tenant 0") > "tenant 3").ids)
    assert " > " not in scan


def test_exact_scan_replaces_an_index_scan_with_too_few_matching_rows(without_prefix: Database) -> None:
    result = nearest(without_prefix).find(QUERY, SearchQuery(filters={"year": [1900]}))
    check(result, truth(ROWS, QUERY, matches=lambda row: row.year == 1900).ids)
    assert len(result.rows) == 3
    assert result.reason == "Exact scan: the index by_tenant returned only 0 of 10 rows that match the filters."
    assert (result.strategy, result.index) == ("exact_scan", None)


def test_max_distance_does_not_prevent_an_index_scan(without_prefix: Database) -> None:
    far = truth(ROWS, QUERY, limit=4).distances[-1] - 1e-7
    result = nearest(without_prefix).find(QUERY, SearchQuery(max_distance=far))
    assert result.strategy == "index_scan"
    check(result, truth(ROWS, QUERY, max_distance=far).ids)


def test_filter_and_max_distance_together_miss_no_row(without_prefix: Database) -> None:
    def matches(row: Entry) -> bool:
        return row.year == 1900

    far = truth(ROWS, QUERY, matches=matches).distances[-1] + 1e-7
    result = nearest(without_prefix).find(QUERY, SearchQuery(filters={"year": [1900]}, max_distance=far))
    check(result, truth(ROWS, QUERY, matches=matches).ids)


def test_short_result_within_a_prefix_is_complete(by_tenant: Database) -> None:
    result = nearest(by_tenant).find(QUERY, SearchQuery(filters={"tenant": ["small"]}))
    check(result, _NEAREST)
    assert result.reason == "Index scan on by_tenant."


def test_limit_above_what_the_index_returns_leads_to_an_exact_scan(without_prefix: Database) -> None:
    result = nearest(without_prefix).find(QUERY, SearchQuery(limit=1_000))
    assert result.reason == "Exact scan: the index by_tenant returned only 400 of 1,000 rows."
    check(result, truth(ROWS, QUERY, limit=1_000).ids)


def test_excluded_key_is_removed_after_the_index_scan(without_prefix: Database) -> None:
    first, *others = truth(ROWS, QUERY, limit=6).ids
    query = SearchQuery(limit=5, exclude_key=(first,))
    result = nearest(without_prefix).find(QUERY, query)
    assert result.strategy == "index_scan"
    check(result, others)
    scan = index_scan(without_prefix, query)
    assert scan.endswith("LIMIT 6")
    assert " NOT " not in scan.replace("IS NOT NULL", "")


def test_index_without_a_predicate_is_scanned_without_one(postgres: Server) -> None:
    with postgres.new_database() as url, psycopg.connect(url, autocommit=True) as connection:
        create(connection, ROWS)
        connection.execute("CREATE INDEX of_all ON passage USING hnsw (passage_vector vector_cosine_ops)")
        with Database(preferring_indexes(url)) as database:
            search_like_cockroachdb(database, of_all=[])
            result = nearest(database).find(QUERY, SearchQuery(limit=5))
            assert result.strategy == "index_scan"
            assert " WHERE " not in index_scan(database, SearchQuery(limit=5))
            check(result, truth(ROWS, QUERY, limit=5).ids)


def test_index_with_the_longest_filtered_prefix_is_used(url_of_rows: str) -> None:
    with Database(url_of_rows) as database, psycopg.connect(url_of_rows, autocommit=True) as connection:
        connection.execute("CREATE INDEX by_both ON passage USING hnsw (passage_vector vector_cosine_ops)")
        try:
            searches = nearest(search_like_cockroachdb(database, by_tenant=["tenant"], by_both=["tenant", "open"]))
            both = searches.sql(QUERY, SearchQuery(filters={"open": [True], "tenant": ["tenant 1"]}))
            tenant = searches.sql(QUERY, SearchQuery(filters={"tenant": ["tenant 1"]}))
        finally:
            connection.execute("DROP INDEX by_both")
    # The prefix columns are in the order of the index, not of the query.
    tenant_is_1 = """"crdbvec_row"."tenant" = 'tenant 1'::text"""
    assert f' WHERE {tenant_is_1} AND "crdbvec_row"."open" = true::boolean ORDER BY ' in both
    assert f' WHERE "crdbvec_row"."passage_vector" IS NOT NULL AND {tenant_is_1} ORDER BY ' in tenant


class RecordingDatabase(Database):
    """A database that records which statements are sent."""

    sent: list[str]

    def fetch(
        self, statement: Statement, parameters: Parameters | None = None, settings: Settings | None = None
    ) -> list[Row]:
        self.sent.append(statement.name)
        return super().fetch(statement, parameters, settings)


def test_short_result_of_a_scan_without_the_index_is_not_complete(postgres: Server) -> None:
    # If CockroachDB scans the table instead, rows without a vector come first and may fill the result.
    with postgres.new_database() as url, psycopg.connect(url, autocommit=True) as connection:
        create(connection, ROWS[:5])
        connection.execute("CREATE INDEX of_all ON passage USING hnsw (passage_vector vector_cosine_ops)")
        with RecordingDatabase(url) as database:
            database.sent = []
            searches = nearest(search_like_cockroachdb(database, of_all=[]))
            database.sent.clear()
            result = searches.find(QUERY, SearchQuery())
    assert result.reason == "Exact scan: the server estimated it to be cheaper than the index of_all."
    # The index may have been replaced since its name was read.
    assert database.sent == ["nearest_indexed", "explain", "describe_indexes", "nearest_exact"]
    check(result, truth(ROWS[:5], QUERY).ids)


class FollowerReadVectors(FakeCockroachVectors):
    """A fake with CockroachDB's clause, which PostgreSQL rejects: for the text of the statement only."""

    @property
    def follower_read_clause(self) -> sql.Composable | None:
        return CockroachVectors(260200).follower_read_clause


@pytest.mark.parametrize("exact", [True, False])
def test_follower_read_clause_is_written_once_for_the_whole_statement(url_of_rows: str, exact: bool) -> None:
    with Database(url_of_rows) as database:
        search_like_cockroachdb(database, FollowerReadVectors, by_tenant=[])
        query = SearchQuery(as_of="follower_read", filters={"open": [True]}, exact=exact)
        text = nearest(database).sql(QUERY, query)
    clause = " AS OF SYSTEM TIME follower_read_timestamp() WHERE "
    assert text.count("AS OF SYSTEM TIME") == 1
    assert f'AS "{"crdbvec_row" if exact else "crdbvec_nearest"}"{clause}' in text
