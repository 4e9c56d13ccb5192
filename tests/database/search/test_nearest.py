"""Similarity searches: the correct rows by every strategy, and the strategy that was used."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import psycopg
import pytest
from psycopg import sql

from crdbvec_pipelines.config import Metric
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.errors import TableError
from crdbvec_pipelines.database.metrics import DISTANCES
from crdbvec_pipelines.database.search.query import Filters, SearchQuery
from crdbvec_pipelines.database.statement import Statement
from crdbvec_pipelines.errors import ConfigurationError
from tests.support.servers import Server
from tests.support.vectors import (
    METRICS,
    Entry,
    create,
    entries,
    found_ids,
    insert,
    nearest,
    preferring_indexes,
    random_vectors,
    truth,
    vector_index,
    without_vectors,
)

ROWS = without_vectors(entries([*random_vectors(3_000)]), 5, 50, 500)
QUERY = random_vectors(1, seed=99)[0]
# Higher than a search needs on 3,000 rows, so that the index misses none.
HIGH_EFFORT = 400
INDEX = "passage_passage_vector_index"


@dataclass(frozen=True)
class Filled:
    """A database with an index for each metric, which the server uses if possible."""

    database: Database
    connection: psycopg.Connection


@pytest.fixture(scope="module")
def filled(server: Server) -> Iterator[Filled]:
    with (
        server.new_database() as url,
        Database(preferring_indexes(url)) as database,
        psycopg.connect(url, autocommit=True) as connection,
    ):
        create(connection, ROWS)
        for metric in METRICS:
            connection.execute(
                f"CREATE INDEX by_{metric} ON passage USING hnsw "
                f"(passage_vector {DISTANCES[metric].operator_class}) WHERE passage_vector IS NOT NULL"
            )
        yield Filled(database, connection)


@pytest.mark.parametrize("metric", METRICS)
def test_exact_scan_returns_what_numpy_computes(filled: Filled, metric: Metric) -> None:
    result = nearest(filled.database, metric).find(QUERY, SearchQuery(limit=30, exact=True))
    expected = truth(ROWS, QUERY, metric, limit=30)
    assert found_ids(result.rows) == expected.ids
    assert [row[0] for row in result.rows] == pytest.approx(expected.distances, abs=1e-6)
    assert [row[1] for row in result.rows] == [f"text {number}" for number in expected.ids]
    assert (result.strategy, result.index) == ("exact_scan", None)
    assert result.reason == "Exact scan: the query requests it."


@pytest.mark.parametrize("metric", METRICS)
def test_index_scan_returns_what_numpy_computes_and_the_query_plan_contains_the_index(
    filled: Filled, metric: Metric
) -> None:
    searches = nearest(filled.database, metric)
    query = SearchQuery(limit=10, effort=HIGH_EFFORT)
    result = searches.find(QUERY, query)
    expected = truth(ROWS, QUERY, metric)
    assert found_ids(result.rows) == expected.ids
    assert [row[0] for row in result.rows] == pytest.approx(expected.distances, abs=1e-6)
    assert (result.strategy, result.index) == ("index_scan", f"by_{metric}")
    setting = filled.database.dialect.vectors.effort.setting
    assert result.reason == f"Index scan on by_{metric} ({setting} {HIGH_EFFORT})."
    assert any(f"by_{metric}" in line for line in searches.explain(QUERY, query))
    assert not any("by_" in line for line in searches.explain(QUERY, SearchQuery(exact=True)))


FILTERS: dict[str, tuple[Filters, Callable[[Entry], bool]]] = {
    "one value": ({"tenant": ["tenant 3"]}, lambda row: row.tenant == "tenant 3"),
    "a value without a list": ({"tenant": "tenant 3"}, lambda row: row.tenant == "tenant 3"),
    "several values": ({"tenant": ["tenant 1", "tenant 2"]}, lambda row: row.tenant in ("tenant 1", "tenant 2")),
    "NULL": ({"tenant": [None]}, lambda row: row.tenant is None),
    "NULL without a list": ({"tenant": None}, lambda row: row.tenant is None),
    "a value or NULL": ({"tenant": ["tenant 1", None]}, lambda row: row.tenant in ("tenant 1", None)),
    "no value": ({"tenant": []}, lambda row: False),
    "a value that no row has": ({"tenant": ["tenant 99"]}, lambda row: False),
    "an integer": ({"year": [2003]}, lambda row: row.year == 2003),
    "an integer as text": ({"year": ["2003", "2004"]}, lambda row: row.year in (2003, 2004)),
    "a boolean": ({"open": [True]}, lambda row: row.open is True),
    "a boolean as text": ({"open": ["false"]}, lambda row: row.open is False),
    "a UUID": ({"uid": [ROWS[4].uid]}, lambda row: row.uid == ROWS[4].uid),
    "a UUID as text in upper case": ({"uid": [str(ROWS[4].uid).upper()]}, lambda row: row.uid == ROWS[4].uid),
    "a timestamp": ({"moment": [ROWS[2].moment]}, lambda row: row.moment == ROWS[2].moment),
    "a timestamp as text in another time zone": (
        {"moment": ["2024-02-29 02:01:00+02"]},
        lambda row: row.moment == ROWS[2].moment,
    ),
    "several columns": (
        {"tenant": ["tenant 3"], "year": [2001], "open": [True]},
        lambda row: (row.tenant, row.year, row.open) == ("tenant 3", 2001, True),
    ),
    "the key": ({"id": [7, "8"]}, lambda row: row.id in (7, 8)),
}


@pytest.mark.parametrize("exact", [True, False], ids=["exact", "any strategy"])
@pytest.mark.parametrize("name", FILTERS)
def test_filtered_search_returns_what_brute_force_returns(filled: Filled, name: str, exact: bool) -> None:
    filters, matches = FILTERS[name]
    query = SearchQuery(limit=10, filters=filters, exact=exact, effort=None if exact else HIGH_EFFORT)
    result = nearest(filled.database).find(QUERY, query)
    assert found_ids(result.rows) == truth(ROWS, QUERY, matches=matches).ids


@pytest.mark.parametrize("limit", [11, 40, 41, 200, 1_500])
def test_limit_above_the_effort_returns_the_requested_number_of_rows(filled: Filled, limit: int) -> None:
    result = nearest(filled.database).find(QUERY, SearchQuery(limit=limit, effort=10))
    found = found_ids(result.rows)
    assert len(found) == len(set(found)) == limit
    assert [row[0] for row in result.rows] == sorted(row[0] for row in result.rows)


def test_rows_of_an_index_scan_are_sorted_because_the_order_of_the_index_is_approximate(postgres: Server) -> None:
    with postgres.new_database() as url, psycopg.connect(url, autocommit=True) as connection:
        create(connection, ROWS)
        with Database(preferring_indexes(url)) as database:
            vector_index(database).build()
            lines = nearest(database).explain(QUERY, SearchQuery(limit=50, effort=10))
    assert [word for line in lines for word in ("Sort  (", "Index Scan") if word in line] == ["Sort  (", "Index Scan"]


@pytest.mark.parametrize("exact", [True, False], ids=["exact", "any strategy"])
def test_limit_above_the_number_of_rows_returns_every_row_with_a_vector(filled: Filled, exact: bool) -> None:
    result = nearest(filled.database).find(QUERY, SearchQuery(limit=5_000, exact=exact))
    assert sorted(found_ids(result.rows)) == [row.id for row in ROWS if row.vector is not None]


@pytest.mark.parametrize("exact", [True, False], ids=["exact", "any strategy"])
@pytest.mark.parametrize("filtered", [True, False])
@pytest.mark.parametrize("nearest_distances", [0, 3, 10, 60])
def test_max_distance_excludes_farther_rows_and_no_nearer_one(
    filled: Filled, exact: bool, filtered: bool, nearest_distances: int
) -> None:
    def matches(row: Entry) -> bool:
        return not filtered or row.tenant == "tenant 3"

    far = truth(ROWS, QUERY, limit=nearest_distances + 1, matches=matches).distances[-1] - 1e-7
    query = SearchQuery(
        limit=40,
        max_distance=far,
        filters={"tenant": ["tenant 3"]} if filtered else None,
        exact=exact,
        effort=None if exact else HIGH_EFFORT,
    )
    result = nearest(filled.database).find(QUERY, query)
    assert found_ids(result.rows) == truth(ROWS, QUERY, limit=40, matches=matches, max_distance=far).ids
    assert len(result.rows) == min(nearest_distances, 40)


@pytest.mark.parametrize("exact", [True, False], ids=["exact", "any strategy"])
def test_further_columns_follow_the_key(filled: Filled, exact: bool) -> None:
    query = SearchQuery(limit=5, columns=("year", "id", "tenant"), exact=exact, effort=None if exact else HIGH_EFFORT)
    result = nearest(filled.database).find(QUERY, query)
    chosen = [ROWS[number] for number in truth(ROWS, QUERY, limit=5).ids]
    assert [row[1:] for row in result.rows] == [(r.passage, r.id, r.year, r.id, r.tenant) for r in chosen]


@pytest.mark.parametrize("exact", [True, False], ids=["exact", "any strategy"])
def test_key_can_be_excluded(filled: Filled, exact: bool) -> None:
    ids = truth(ROWS, QUERY, limit=6).ids
    query = SearchQuery(limit=5, exclude_key=(ids[0],), exact=exact, effort=None if exact else HIGH_EFFORT)
    assert found_ids(nearest(filled.database).find(QUERY, query).rows) == ids[1:]


@pytest.mark.parametrize("query", [SearchQuery(filters={"tenent": ["a"]}), SearchQuery(columns=("tenent",))])
@pytest.mark.parametrize("exact", [True, False])
def test_unknown_column_is_an_error_that_lists_the_columns(filled: Filled, query: SearchQuery, exact: bool) -> None:
    sentence = r"^public\.passage has no column tenent\. Its columns are id, tenant, year, open, uid, moment, passage,"
    with pytest.raises(TableError, match=sentence):
        nearest(filled.database).find(QUERY, SearchQuery(**{**query.__dict__, "exact": exact}))


@pytest.mark.parametrize(
    ("column", "value"), [("year", "soon"), ("uid", "4711"), ("open", "perhaps"), ("moment", "noon"), ("year", 2**40)]
)
@pytest.mark.parametrize("exact", [True, False])
def test_value_of_another_type_is_an_error(filled: Filled, column: str, value: object, exact: bool) -> None:
    sentence = rf"^The column {column} of public\.passage is of type .+, and {value!r} of the filter on {column} is not"
    with pytest.raises(TableError, match=sentence) as error:
        nearest(filled.database).find(QUERY, SearchQuery(filters={column: [value]}, exact=exact))
    assert "SELECT" not in str(error.value)


def test_effort_above_the_servers_maximum_is_an_error(filled: Filled) -> None:
    effort = filled.database.dialect.vectors.effort
    searches = nearest(filled.database)
    assert searches.find(QUERY, SearchQuery(effort=effort.largest)).strategy == "index_scan"
    sentence = rf"^The search effort [\d,]+ exceeds the maximum of {re.escape(effort.setting)}, [\d,]+\.$"
    with pytest.raises(ConfigurationError, match=sentence):
        searches.find(QUERY, SearchQuery(effort=effort.largest + 1))


def test_settings_of_a_search_are_reset_after_it(filled: Filled) -> None:
    setting = filled.database.dialect.vectors.effort.setting
    searches = nearest(filled.database)
    show = Statement("probe", sql.SQL("SHOW {}").format(sql.SQL(setting)))
    before = filled.database.fetch(show)
    searches.find(QUERY, SearchQuery(limit=50, effort=11))
    assert filled.database.fetch(show) == before


@pytest.mark.parametrize("exact", [True, False], ids=["exact", "index"])
@pytest.mark.parametrize(
    "filters", [None, {"tenant": ["tenant 3", "it's %(limit)s, 100%"]}, {"tenant": ["\\", None], "open": [True]}]
)
def test_printed_sql_returns_the_same_rows(filled: Filled, filters: Filters | None, exact: bool) -> None:
    effort = None if exact else HIGH_EFFORT
    query = SearchQuery(limit=10, filters=filters, max_distance=5.0, columns=("tenant",), exact=exact, effort=effort)
    searches = nearest(filled.database)
    *settings, search = searches.sql(QUERY, query).splitlines()
    for setting in settings:
        filled.connection.execute(setting.encode())
    returned = filled.connection.execute(search.encode()).fetchall()
    assert returned == searches.find(QUERY, query).rows
    filled.connection.execute("DISCARD ALL" if filled.database.dialect.name == "postgres" else "RESET ALL")


def test_query_plan_abbreviates_a_long_vector(url: str, database: Database, connection: psycopg.Connection) -> None:
    create(connection, entries([*random_vectors(3, dim=300)]), dim=300)
    lines = nearest(database).explain(random_vectors(1, dim=300)[0], SearchQuery())
    assert max(map(len, lines)) < 500


def test_search_of_an_empty_table_returns_nothing(database: Database, connection: psycopg.Connection) -> None:
    create(connection, [])
    vector_index(database).build()
    assert nearest(database).find(QUERY, SearchQuery()).rows == []
    assert nearest(database).find(QUERY, SearchQuery(exact=True)).rows == []


@pytest.mark.parametrize("indexed", [True, False])
def test_rows_at_equal_distances_are_found(database: Database, connection: psycopg.Connection, indexed: bool) -> None:
    one, other, *_ = random_vectors(2)
    rows = entries([one, other] * 30)
    create(connection, rows)
    if indexed:
        vector_index(database).build()
    result = nearest(database).find(one, SearchQuery(limit=40))
    expected = truth(rows, one, limit=40)
    assert [row[0] for row in result.rows] == pytest.approx(expected.distances, abs=1e-6)
    assert set(found_ids(result.rows)[:30]) == set(range(0, 60, 2))


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("indexed", [True, False])
def test_vector_of_length_zero_is_found_by_l2_and_not_by_cosine(
    database: Database, connection: psycopg.Connection, exact: bool, indexed: bool
) -> None:
    rows = entries([*random_vectors(20), np.zeros(8, np.float32)])
    create(connection, rows)
    if indexed:
        vector_index(database).build()
    result = nearest(database).find(QUERY, SearchQuery(limit=50, exact=exact))
    assert found_ids(result.rows) == truth(rows[:20], QUERY, limit=50).ids
    by_l2 = nearest(database, "l2").find(QUERY, SearchQuery(limit=50, exact=exact))
    assert found_ids(by_l2.rows) == truth(rows, QUERY, "l2", limit=50).ids


@pytest.mark.parametrize("metric", METRICS)
def test_index_without_a_predicate_returns_no_row_without_a_vector(
    database: Database, connection: psycopg.Connection, metric: Metric
) -> None:
    rows = without_vectors(entries([*random_vectors(40)]), *range(0, 40, 2))
    create(connection, rows)
    vector_index(database, metric, partial=False).build()
    result = nearest(database, metric).find(QUERY, SearchQuery(limit=50))
    assert found_ids(result.rows) == truth(rows, QUERY, metric, limit=50).ids


def test_deleted_rows_in_the_index_hide_no_other_rows(preferring: Database, connection: psycopg.Connection) -> None:
    near = QUERY + random_vectors(300, seed=5) / 100
    rows = entries([*near, *random_vectors(2_000, seed=6)])
    create(connection, rows)
    vector_index(preferring).build()
    connection.execute("DELETE FROM passage WHERE id < 300")
    result = nearest(preferring).find(QUERY, SearchQuery(limit=10, effort=10))
    assert len(set(found_ids(result.rows)) & set(truth(rows[300:], QUERY, limit=20).ids)) == 10


def test_rows_inserted_after_the_build_are_in_the_index(preferring: Database, connection: psycopg.Connection) -> None:
    rows = entries([*random_vectors(1_200)])
    create(connection, rows[:1_000])
    vector_index(preferring).build()
    insert(connection, rows[1_000:])
    result = nearest(preferring).find(QUERY, SearchQuery(limit=20, effort=HIGH_EFFORT))
    assert result.strategy == "index_scan"
    assert found_ids(result.rows) == truth(rows, QUERY, limit=20).ids


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ((4_711,), r"^public\.passage has no row with the key 4711\.$"),
        ((5,), r"^The row 5 of public\.passage has no vector yet\. Run `crdbvec embed` first\.$"),
        ((1, 2), r"^The key of public\.passage is \(id\); the number of values given is 2\.$"),
        (("one",), r"^A value is not valid for the type of its column: .+\.$"),
    ],
)
def test_row_without_a_readable_vector_is_an_error(filled: Filled, key: tuple[object, ...], sentence: str) -> None:
    with pytest.raises(TableError, match=sentence):
        nearest(filled.database).read_vector(key)


def test_vector_of_a_row_is_the_written_one(filled: Filled) -> None:
    assert np.array_equal(nearest(filled.database).read_vector(("17",)), random_vectors(3_000)[17])


def test_follower_read_returns_past_data(cockroach: Server) -> None:
    with (
        cockroach.new_database() as url,
        Database(url) as database,
        psycopg.connect(url, autocommit=True) as connection,
    ):
        create(connection, ROWS[:200])
        vector_index(database).build()
        connection.execute("SELECT pg_sleep(6)")
        connection.execute("DELETE FROM passage")
        for exact in (True, False):
            assert len(nearest(database).find(QUERY, SearchQuery(as_of="follower_read", exact=exact)).rows) == 10
            assert nearest(database).find(QUERY, SearchQuery(exact=exact)).rows == []


def test_search_has_a_plan_for_its_limit(filled: Filled) -> None:
    # psycopg prepares a statement after it ran five times; its generic plan does not know the limit.
    searches = nearest(filled.database)
    for _ in range(8):
        searches.find(QUERY, SearchQuery(limit=5))
        searches.find(QUERY, SearchQuery(limit=5, exact=True))
    shown = Statement("probe", sql.SQL("SELECT statement FROM pg_catalog.pg_prepared_statements"))
    assert [text for (text,) in filled.database.fetch(shown) if "<=>" in text] == []
