"""Similarity searches: the right rows by whichever route, and the truth about the route."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import psycopg
import pytest
from psycopg import sql

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.errors import TableError
from crdbvec_pipelines.database.metrics import DISTANCES
from crdbvec_pipelines.database.nearest import Where, Wish
from crdbvec_pipelines.database.statement import Statement
from crdbvec_pipelines.encoding.contract import Metric
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
# More than a search needs on so few rows, so that the index misses none.
GENEROUS = 400
INDEX = "passage_passage_vector_index"


@dataclass(frozen=True)
class Filled:
    """A database with an index for each metric, which the server takes wherever it can."""

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


@pytest.fixture
def preferring(url: str) -> Iterator[Database]:
    """The product's connection, on which the server takes an index wherever it can."""
    with Database(preferring_indexes(url)) as opened:
        yield opened


@pytest.mark.parametrize("metric", METRICS)
def test_an_exact_search_is_what_numpy_computes(filled: Filled, metric: Metric) -> None:
    answer = nearest(filled.database, metric).find(QUERY, Wish(limit=30, exact=True))
    wanted = truth(ROWS, QUERY, metric, limit=30)
    assert found_ids(answer.rows) == wanted.ids
    assert [row[0] for row in answer.rows] == pytest.approx(wanted.distances, abs=1e-6)
    assert [row[1] for row in answer.rows] == [f"text {number}" for number in wanted.ids]
    assert (answer.how, answer.by_index) == ("exactly, as asked", False)


@pytest.mark.parametrize("metric", METRICS)
def test_a_search_by_the_index_finds_what_numpy_computes_and_its_plan_shows_the_index(
    filled: Filled, metric: Metric
) -> None:
    searches = nearest(filled.database, metric)
    wish = Wish(limit=10, effort=GENEROUS)
    answer = searches.find(QUERY, wish)
    wanted = truth(ROWS, QUERY, metric)
    assert found_ids(answer.rows) == wanted.ids
    assert [row[0] for row in answer.rows] == pytest.approx(wanted.distances, abs=1e-6)
    assert answer.by_index
    assert answer.how == f"by the index by_{metric}, {filled.database.dialect.vectors.effort.setting} {GENEROUS}"
    assert any(f"by_{metric}" in line for line in searches.explain(QUERY, wish))
    assert not any("by_" in line for line in searches.explain(QUERY, Wish(exact=True)))


FILTERS: dict[str, tuple[Where, Callable[[Entry], bool]]] = {
    "one value": ({"tenant": ["tenant 3"]}, lambda row: row.tenant == "tenant 3"),
    "a value that is not in a list": ({"tenant": "tenant 3"}, lambda row: row.tenant == "tenant 3"),
    "several values": ({"tenant": ["tenant 1", "tenant 2"]}, lambda row: row.tenant in ("tenant 1", "tenant 2")),
    "NULL": ({"tenant": [None]}, lambda row: row.tenant is None),
    "NULL, not in a list": ({"tenant": None}, lambda row: row.tenant is None),
    "a value or NULL": ({"tenant": ["tenant 1", None]}, lambda row: row.tenant in ("tenant 1", None)),
    "no value at all": ({"tenant": []}, lambda row: False),
    "a value that no row has": ({"tenant": ["tenant 99"]}, lambda row: False),
    "an integer": ({"year": [2003]}, lambda row: row.year == 2003),
    "an integer as text": ({"year": ["2003", "2004"]}, lambda row: row.year in (2003, 2004)),
    "a boolean": ({"open": [True]}, lambda row: row.open is True),
    "a boolean as text": ({"open": ["false"]}, lambda row: row.open is False),
    "a UUID": ({"uid": [ROWS[4].uid]}, lambda row: row.uid == ROWS[4].uid),
    "a UUID as text in capitals": ({"uid": [str(ROWS[4].uid).upper()]}, lambda row: row.uid == ROWS[4].uid),
    "a point in time": ({"moment": [ROWS[2].moment]}, lambda row: row.moment == ROWS[2].moment),
    "a point in time as text elsewhere": (
        {"moment": ["2024-02-29 02:01:00+02"]},
        lambda row: row.moment == ROWS[2].moment,
    ),
    "several columns": (
        {"tenant": ["tenant 3"], "year": [2001], "open": [True]},
        lambda row: (row.tenant, row.year, row.open) == ("tenant 3", 2001, True),
    ),
    "the key": ({"id": [7, "8"]}, lambda row: row.id in (7, 8)),
}


@pytest.mark.parametrize("exact", [True, False], ids=["exactly", "by any route"])
@pytest.mark.parametrize("name", FILTERS)
def test_filtered_rows_are_those_of_brute_force(filled: Filled, name: str, exact: bool) -> None:
    where, fits = FILTERS[name]
    wish = Wish(limit=10, where=where, exact=exact, effort=None if exact else GENEROUS)
    answer = nearest(filled.database).find(QUERY, wish)
    assert found_ids(answer.rows) == truth(ROWS, QUERY, fits=fits).ids


@pytest.mark.parametrize("limit", [11, 40, 41, 200, 1_500])
def test_a_limit_beyond_what_the_index_looks_at_still_gives_as_many_rows(filled: Filled, limit: int) -> None:
    answer = nearest(filled.database).find(QUERY, Wish(limit=limit, effort=10))
    found = found_ids(answer.rows)
    assert len(found) == len(set(found)) == limit
    assert [row[0] for row in answer.rows] == sorted(row[0] for row in answer.rows)


def test_what_the_index_gives_is_sorted_since_its_order_is_only_about_right(postgres: Server) -> None:
    with postgres.new_database() as url, psycopg.connect(url, autocommit=True) as connection:
        create(connection, ROWS)
        with Database(preferring_indexes(url)) as database:
            vector_index(database).build()
            plan = nearest(database).explain(QUERY, Wish(limit=50, effort=10))
    assert [word for line in plan for word in ("Sort  (", "Index Scan") if word in line] == ["Sort  (", "Index Scan"]


@pytest.mark.parametrize("exact", [True, False], ids=["exactly", "by any route"])
def test_a_limit_above_the_number_of_rows_gives_every_row_that_has_a_vector(filled: Filled, exact: bool) -> None:
    answer = nearest(filled.database).find(QUERY, Wish(limit=5_000, exact=exact))
    assert sorted(found_ids(answer.rows)) == [row.id for row in ROWS if row.vector is not None]


@pytest.mark.parametrize("exact", [True, False], ids=["exactly", "by any route"])
@pytest.mark.parametrize("filtered", [True, False])
@pytest.mark.parametrize("nearest_distances", [0, 3, 10, 60])
def test_rows_beyond_the_distance_are_left_out_and_no_nearer_one_is_missing(
    filled: Filled, exact: bool, filtered: bool, nearest_distances: int
) -> None:
    def fits(row: Entry) -> bool:
        return not filtered or row.tenant == "tenant 3"

    far = truth(ROWS, QUERY, limit=nearest_distances + 1, fits=fits).distances[-1] - 1e-7
    wish = Wish(
        limit=40,
        within=far,
        where={"tenant": ["tenant 3"]} if filtered else None,
        exact=exact,
        effort=None if exact else GENEROUS,
    )
    answer = nearest(filled.database).find(QUERY, wish)
    assert found_ids(answer.rows) == truth(ROWS, QUERY, limit=40, fits=fits, within=far).ids
    assert len(answer.rows) == min(nearest_distances, 40)


@pytest.mark.parametrize("exact", [True, False], ids=["exactly", "by any route"])
def test_further_columns_come_behind_the_key(filled: Filled, exact: bool) -> None:
    wish = Wish(limit=5, columns=("year", "id", "tenant"), exact=exact, effort=None if exact else GENEROUS)
    answer = nearest(filled.database).find(QUERY, wish)
    chosen = [ROWS[number] for number in truth(ROWS, QUERY, limit=5).ids]
    assert [row[1:] for row in answer.rows] == [(r.passage, r.id, r.year, r.id, r.tenant) for r in chosen]


@pytest.mark.parametrize("exact", [True, False], ids=["exactly", "by any route"])
def test_a_row_can_be_left_out(filled: Filled, exact: bool) -> None:
    ids = truth(ROWS, QUERY, limit=6).ids
    wish = Wish(limit=5, without=(ids[0],), exact=exact, effort=None if exact else GENEROUS)
    assert found_ids(nearest(filled.database).find(QUERY, wish).rows) == ids[1:]


@pytest.mark.parametrize("wish", [Wish(where={"tenent": ["a"]}), Wish(columns=("tenent",))])
@pytest.mark.parametrize("exact", [True, False])
def test_a_column_that_there_is_not_is_told_with_those_that_there_are(filled: Filled, wish: Wish, exact: bool) -> None:
    sentence = r"^public\.passage has no column tenent; its columns are id, tenant, year, open, uid, moment, passage,"
    with pytest.raises(TableError, match=sentence):
        nearest(filled.database).find(QUERY, Wish(**{**wish.__dict__, "exact": exact}))


@pytest.mark.parametrize(
    ("column", "value"), [("year", "soon"), ("uid", "4711"), ("open", "perhaps"), ("moment", "noon"), ("year", 2**40)]
)
@pytest.mark.parametrize("exact", [True, False])
def test_a_value_of_another_type_is_told_as_such(filled: Filled, column: str, value: object, exact: bool) -> None:
    with pytest.raises(TableError, match=r"^A value does not fit its column: .+\.$") as refusal:
        nearest(filled.database).find(QUERY, Wish(where={column: [value]}, exact=exact))
    assert "SELECT" not in str(refusal.value)


def test_an_effort_beyond_the_servers_limit_is_refused_rather_than_ignored(filled: Filled) -> None:
    effort = filled.database.dialect.vectors.effort
    searches = nearest(filled.database)
    assert searches.find(QUERY, Wish(effort=effort.largest)).by_index
    with pytest.raises(ConfigurationError, match=rf"^{re.escape(effort.setting)} goes up to [\d,]+, and [\d,]+ is"):
        searches.find(QUERY, Wish(effort=effort.largest + 1))


def test_settings_of_a_search_do_not_stay_behind(filled: Filled) -> None:
    setting = filled.database.dialect.vectors.effort.setting
    searches = nearest(filled.database)
    show = Statement("probe", sql.SQL("SHOW {}").format(sql.SQL(setting)))
    before = filled.database.fetch(show)
    searches.find(QUERY, Wish(limit=50, effort=11))
    assert filled.database.fetch(show) == before


@pytest.mark.parametrize("exact", [True, False], ids=["exactly", "by the index"])
@pytest.mark.parametrize(
    "where", [None, {"tenant": ["tenant 3", "it's %(limit)s, 100%"]}, {"tenant": ["\\", None], "open": [True]}]
)
def test_the_printed_sql_runs_as_it_is_and_gives_the_same_rows(
    filled: Filled, where: Where | None, exact: bool
) -> None:
    wish = Wish(limit=10, where=where, within=5.0, columns=("tenant",), exact=exact, effort=None if exact else GENEROUS)
    searches = nearest(filled.database)
    *settings, search = searches.sql(QUERY, wish).splitlines()
    for setting in settings:
        filled.connection.execute(setting.encode())
    given = filled.connection.execute(search.encode()).fetchall()
    assert given == searches.find(QUERY, wish).rows
    filled.connection.execute("DISCARD ALL" if filled.database.dialect.name == "postgres" else "RESET ALL")


def test_the_plan_does_not_quote_a_long_vector(url: str, database: Database, connection: psycopg.Connection) -> None:
    create(connection, entries([*random_vectors(3, dim=300)]), dim=300)
    lines = nearest(database).explain(random_vectors(1, dim=300)[0], Wish())
    assert max(map(len, lines)) < 500


def test_an_empty_table_has_nothing_near(database: Database, connection: psycopg.Connection) -> None:
    create(connection, [])
    vector_index(database).build()
    assert nearest(database).find(QUERY, Wish()).rows == []
    assert nearest(database).find(QUERY, Wish(exact=True)).rows == []


@pytest.mark.parametrize("indexed", [True, False])
def test_rows_equally_near_are_all_found(database: Database, connection: psycopg.Connection, indexed: bool) -> None:
    one, other, *_ = random_vectors(2)
    rows = entries([one, other] * 30)
    create(connection, rows)
    if indexed:
        vector_index(database).build()
    answer = nearest(database).find(one, Wish(limit=40))
    wanted = truth(rows, one, limit=40)
    assert [row[0] for row in answer.rows] == pytest.approx(wanted.distances, abs=1e-6)
    assert set(found_ids(answer.rows)[:30]) == set(range(0, 60, 2))


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("indexed", [True, False])
def test_a_vector_of_length_zero_has_no_direction_and_is_near_to_nothing(
    database: Database, connection: psycopg.Connection, exact: bool, indexed: bool
) -> None:
    rows = entries([*random_vectors(20), np.zeros(8, np.float32)])
    create(connection, rows)
    if indexed:
        vector_index(database).build()
    answer = nearest(database).find(QUERY, Wish(limit=50, exact=exact))
    assert found_ids(answer.rows) == truth(rows[:20], QUERY, limit=50).ids
    by_length = nearest(database, "l2").find(QUERY, Wish(limit=50, exact=exact))
    assert found_ids(by_length.rows) == truth(rows, QUERY, "l2", limit=50).ids


@pytest.mark.parametrize("metric", METRICS)
def test_rows_without_a_vector_are_left_out_also_by_an_index_of_all_rows(
    database: Database, connection: psycopg.Connection, metric: Metric
) -> None:
    rows = without_vectors(entries([*random_vectors(40)]), *range(0, 40, 2))
    create(connection, rows)
    vector_index(database, metric, partial=False).build()
    answer = nearest(database, metric).find(QUERY, Wish(limit=50))
    assert found_ids(answer.rows) == truth(rows, QUERY, metric, limit=50).ids


def test_rows_that_are_gone_but_still_in_the_index_hide_no_others(
    preferring: Database, connection: psycopg.Connection
) -> None:
    near = QUERY + random_vectors(300, seed=5) / 100
    rows = entries([*near, *random_vectors(2_000, seed=6)])
    create(connection, rows)
    vector_index(preferring).build()
    connection.execute("DELETE FROM passage WHERE id < 300")
    answer = nearest(preferring).find(QUERY, Wish(limit=10, effort=10))
    assert len(set(found_ids(answer.rows)) & set(truth(rows[300:], QUERY, limit=20).ids)) == 10


def test_rows_of_later_are_found_by_the_index_too(preferring: Database, connection: psycopg.Connection) -> None:
    rows = entries([*random_vectors(1_200)])
    create(connection, rows[:1_000])
    vector_index(preferring).build()
    insert(connection, rows[1_000:])
    answer = nearest(preferring).find(QUERY, Wish(limit=20, effort=GENEROUS))
    assert answer.by_index
    assert found_ids(answer.rows) == truth(rows, QUERY, limit=20).ids


def test_without_an_index_the_search_is_exact_and_says_why(database: Database, connection: psycopg.Connection) -> None:
    create(connection, ROWS[:10])
    answer = nearest(database).find(QUERY, Wish())
    assert (answer.how, answer.by_index) == ("exactly, since there is no vector index", False)


def test_an_index_for_another_metric_is_not_used_and_named(database: Database, connection: psycopg.Connection) -> None:
    create(connection, ROWS[:500])
    vector_index(database, "l2").build()
    answer = nearest(database, "cosine").find(QUERY, Wish())
    assert answer.how == f"exactly, since the index {INDEX} is for another metric"
    assert found_ids(answer.rows) == truth(ROWS[:500], QUERY).ids


def test_an_index_over_some_of_the_rows_is_not_used_and_named(
    database: Database, connection: psycopg.Connection
) -> None:
    create(connection, ROWS[:500])
    connection.execute(
        "CREATE INDEX of_some ON passage USING hnsw (passage_vector vector_cosine_ops) WHERE tenant = 'tenant 1'"
    )
    answer = nearest(database).find(QUERY, Wish())
    assert answer.how == "exactly, since the index of_some is for some of the rows only"
    assert found_ids(answer.rows) == truth(ROWS[:500], QUERY).ids


def test_an_index_that_somebody_else_made_is_used_under_its_name(
    preferring: Database, connection: psycopg.Connection
) -> None:
    create(connection, ROWS)
    connection.execute('CREATE INDEX "Their ""own"" index" ON passage USING hnsw (passage_vector vector_cosine_ops)')
    answer = nearest(preferring).find(QUERY, Wish(effort=GENEROUS))
    assert answer.by_index
    assert answer.how.startswith('by the index Their "own" index, ')
    assert found_ids(answer.rows) == truth(ROWS, QUERY).ids


@pytest.mark.parametrize("rows", [5, 3_000])
def test_what_is_said_of_the_index_is_what_the_server_plans(
    database: Database, connection: psycopg.Connection, rows: int
) -> None:
    create(connection, ROWS[:rows])
    vector_index(database).build()
    searches = nearest(database)
    for wish in (Wish(limit=2), Wish(limit=2, where={"tenant": ["tenant 3"]})):
        answer = searches.find(QUERY, wish)
        planned = any(INDEX in line for line in searches.explain(QUERY, wish))
        assert answer.by_index == planned == searches.would_use_index(QUERY, wish)
        assert answer.how.startswith("by the index" if planned else "exactly, since the server found that cheaper")


def test_a_filter_that_the_index_gives_up_on_is_answered_exactly_and_says_so(postgres: Server) -> None:
    with postgres.new_database() as url, psycopg.connect(url, autocommit=True) as connection:
        rows = [replace(row, tenant="rare" if row.id % 900 == 7 else "other") for row in ROWS]
        create(connection, rows)
        # pgvector ends a search after so many rows; 20,000 if it is not told.
        with Database(preferring_indexes(url, **{"hnsw.max_scan_tuples": 50})) as database:
            vector_index(database).build()
            answer = nearest(database).find(QUERY, Wish(where={"tenant": ["rare"]}))
    assert found_ids(answer.rows) == truth(rows, QUERY, fits=lambda row: row.tenant == "rare").ids
    assert re.fullmatch(r"exactly, since the filter leaves in the index only \d of the 10 rows wanted", answer.how)
    assert not answer.by_index


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ((4_711,), r"^public\.passage has no row with the key 4711\.$"),
        ((5,), r"^The row 5 of public\.passage has no vector yet; run crdbvec embed first\.$"),
        ((1, 2), r"^The key of public\.passage is \(id\), and 2 values are given for it\.$"),
        (("one",), r"^A value does not fit its column: .+\.$"),
    ],
)
def test_a_row_whose_vector_is_not_to_be_had_is_told(filled: Filled, key: tuple[object, ...], sentence: str) -> None:
    with pytest.raises(TableError, match=sentence):
        nearest(filled.database).vector_of(key)


def test_the_vector_of_a_row_is_what_was_written(filled: Filled) -> None:
    assert np.array_equal(nearest(filled.database).vector_of(("17",)), random_vectors(3_000)[17])


def test_the_past_is_read_where_the_server_offers_it(cockroach: Server) -> None:
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
            assert len(nearest(database).find(QUERY, Wish(past=True, exact=exact)).rows) == 10
            assert nearest(database).find(QUERY, Wish(exact=exact)).rows == []
