"""The strategy that a search reports: which index was used, or why none was."""

import re
from dataclasses import replace

import psycopg
import pytest

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.search.query import SearchQuery
from tests.support.servers import Server
from tests.support.vectors import (
    create,
    entries,
    found_ids,
    nearest,
    preferring_indexes,
    random_vectors,
    truth,
    vector_index,
    without_vectors,
)

ROWS = without_vectors(entries([*random_vectors(3_000)]), 5, 50, 500)
QUERY = random_vectors(1, seed=99)[0]
INDEX = "passage_passage_vector_index"
# Higher than a search needs on 3,000 rows, so that the index misses none.
HIGH_EFFORT = 400


def test_without_an_index_the_reason_says_so(database: Database, connection: psycopg.Connection) -> None:
    create(connection, ROWS[:10])
    result = nearest(database).find(QUERY, SearchQuery())
    assert (result.strategy, result.reason) == ("exact_scan", "Exact scan: there is no vector index.")


def test_index_for_another_metric_is_not_used_and_named(database: Database, connection: psycopg.Connection) -> None:
    create(connection, ROWS[:500])
    vector_index(database, "l2").build()
    result = nearest(database, "cosine").find(QUERY, SearchQuery())
    assert result.reason == f"Exact scan: the index {INDEX} is for another metric."
    assert found_ids(result.rows) == truth(ROWS[:500], QUERY).ids


def test_index_over_some_of_the_rows_is_not_used_and_named(database: Database, connection: psycopg.Connection) -> None:
    create(connection, ROWS[:500])
    connection.execute(
        "CREATE INDEX of_some ON passage USING hnsw (passage_vector vector_cosine_ops) WHERE tenant = 'tenant 1'"
    )
    result = nearest(database).find(QUERY, SearchQuery())
    assert result.reason == "Exact scan: the index of_some contains only some of the rows."
    assert found_ids(result.rows) == truth(ROWS[:500], QUERY).ids


def test_index_that_a_user_created_is_used(preferring: Database, connection: psycopg.Connection) -> None:
    create(connection, ROWS)
    connection.execute('CREATE INDEX "Their ""own"" index" ON passage USING hnsw (passage_vector vector_cosine_ops)')
    result = nearest(preferring).find(QUERY, SearchQuery(effort=HIGH_EFFORT))
    assert result.index == 'Their "own" index'
    assert result.reason.startswith('Index scan on Their "own" index (')
    assert found_ids(result.rows) == truth(ROWS, QUERY).ids


@pytest.mark.parametrize("rows", [5, 3_000])
def test_reported_strategy_is_that_of_the_query_plan(
    database: Database, connection: psycopg.Connection, rows: int
) -> None:
    create(connection, ROWS[:rows])
    vector_index(database).build()
    searches = nearest(database)
    for query in (SearchQuery(limit=2), SearchQuery(limit=2, filters={"tenant": ["tenant 3"]})):
        result = searches.find(QUERY, query)
        planned = any(INDEX in line for line in searches.explain(QUERY, query))
        assert (result.strategy == "index_scan") == planned == searches.uses_index(QUERY, query)
        start = "Index scan on " if planned else "Exact scan: the server estimated it to be cheaper than the index "
        assert result.reason.startswith(f"{start}{INDEX}")


def test_exact_scan_replaces_an_index_scan_that_stops_at_the_servers_limit(postgres: Server) -> None:
    with postgres.new_database() as url, psycopg.connect(url, autocommit=True) as connection:
        rows = [replace(row, tenant="rare" if row.id % 900 == 7 else "other") for row in ROWS]
        create(connection, rows)
        # pgvector stops a scan after this number of rows; the default is 20,000.
        with Database(preferring_indexes(url, **{"hnsw.max_scan_tuples": 50})) as database:
            vector_index(database).build()
            result = nearest(database).find(QUERY, SearchQuery(filters={"tenant": ["rare"]}))
    assert found_ids(result.rows) == truth(rows, QUERY, matches=lambda row: row.tenant == "rare").ids
    reason = rf"Exact scan: the index {INDEX} returned only \d of 10 rows that match the filters\."
    assert re.fullmatch(reason, result.reason)
    assert result.strategy == "exact_scan"
