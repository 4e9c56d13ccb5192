"""Recall and latency of the index, on rows of the table itself: what is measured, and what is made of it."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import BytesIO

import numpy as np
import psycopg
import pytest
from numpy.typing import NDArray
from PIL import Image

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.recall import Measurement, RecallCurve, measure_recall, picture, sample_queries
from tests.support.pretence import Distrust, pretend
from tests.support.servers import Server
from tests.support.tables import column
from tests.support.vectors import (
    Entry,
    clustered_vectors,
    create,
    entries,
    preferring_indexes,
    random_vectors,
    table_of,
    vector_index,
    without_vectors,
)

ROWS = without_vectors(entries([*clustered_vectors(4_000, 24, clusters=40, spread=0.3)]), *range(0, 4_000, 100))
NAME = "passage_passage_vector_index"
_LARGEST_PICTURE = 50_000
_DIRECTIONS = 80


def spec(**index: object) -> VectorColumn:
    return column(index={"metric": "cosine", **index})


def measure(database: Database, queries: int = 30, efforts: tuple[int, ...] = (), **index: object) -> RecallCurve:
    asked = spec(**index)
    return measure_recall(database, table_of(database), asked, "cosine", queries=queries, efforts=efforts)


@dataclass(frozen=True)
class Indexed:
    database: Database
    connection: psycopg.Connection


def _indexed(server: Server, **index: int) -> Iterator[Indexed]:
    with server.new_database() as url, psycopg.connect(url, autocommit=True) as connection:
        create(connection, ROWS, dim=24)
        with Database(preferring_indexes(url)) as database:
            vector_index(database, "cosine", 24, **index).build()
            yield Indexed(database, connection)


@pytest.fixture(scope="module")
def good(server: Server) -> Iterator[Indexed]:
    yield from _indexed(server)


@pytest.fixture(scope="module")
def poor(postgres: Server) -> Iterator[Indexed]:
    """An index with as few ways between rows as pgvector allows."""
    yield from _indexed(postgres, m=2, ef_construction=4)


def test_a_generous_effort_finds_all_that_an_exact_search_finds(good: Indexed) -> None:
    curve = measure(good.database, efforts=(10, 500))
    (_, generous) = curve.measurements
    assert generous.by_index
    assert generous.recall >= 0.99
    assert curve.queries == 30
    assert curve.k == 10
    assert all(0 < each.p50 <= each.p95 for each in curve.measurements)
    assert curve.exact_p50 > 0


def test_a_poor_index_is_found_out_and_more_effort_helps(poor: Indexed) -> None:
    curve = measure(poor.database, efforts=(1, 100, 400))
    recalls = [each.recall for each in curve.measurements]
    assert recalls[0] < 0.8
    assert recalls[0] < recalls[-1]
    assert all(each.by_index and each.worst <= each.recall for each in curve.measurements)
    assert curve.smallest(recalls[-1]) == curve.measurements[recalls.index(max(recalls))]
    assert curve.smallest(1.01) is None


def test_without_efforts_those_worth_trying_are_tried_and_the_configured_one(good: Indexed) -> None:
    choices = good.database.dialect.vectors.effort.choices
    curve = measure(good.database, queries=2, effort=33)
    assert [each.effort for each in curve.measurements] == sorted([*choices, 33])
    assert (curve.setting, curve.default) == (
        good.database.dialect.vectors.effort.setting,
        good.database.dialect.vectors.effort.default,
    )


def test_without_an_index_the_figures_are_marked_as_of_no_use(
    database: Database, connection: psycopg.Connection
) -> None:
    create(connection, entries([*random_vectors(50)]))
    curve = measure(database, queries=3, efforts=(10, 20))
    assert [each.by_index for each in curve.measurements] == [False, False]
    assert curve.smallest(0.5) is None


@pytest.fixture
def told_apart(database: Database, connection: psycopg.Connection) -> Database:
    """Rows of which each has a direction of its own, so that a query tells between which of them it lies."""
    create(connection, without_vectors(entries([*np.eye(_DIRECTIONS, dtype=np.float32)]), 2, 9), dim=_DIRECTIONS)
    return database


def ends(vector: NDArray[np.float32]) -> set[int]:
    """The rows between which a query lies."""
    assert set(vector.tolist()) == {0.0, 0.5}
    return {int(number) for number in np.flatnonzero(vector)}


def test_queries_lie_half_way_between_rows_that_have_a_vector_and_are_spread_over_the_table(
    told_apart: Database,
) -> None:
    pairs = [ends(vector) for vector, _ in sample_queries(told_apart, table_of(told_apart), spec(), 20)]
    assert len(pairs) == 20
    of_rows = Counter(number for pair in pairs for number in pair)
    assert set(of_rows.values()) == {2}
    assert not {2, 9} & of_rows.keys()
    assert max(Counter(number // 20 for number in of_rows).values()) <= 6
    assert all(abs(one - other) >= _DIRECTIONS // 4 for one, other in pairs)


def test_each_query_stays_with_the_rows_of_a_rows_own_prefix(told_apart: Database) -> None:
    rows = {row.id: row for row in entries([*np.eye(_DIRECTIONS, dtype=np.float32)])}
    queries = sample_queries(told_apart, table_of(told_apart), spec(prefix=["tenant", "open"]), 20)
    asked = Counter((where["tenant"][0], where["open"][0]) for _, where in queries)  # type: ignore[index]
    sampled = {number for vector, _ in queries for number in ends(vector)}
    assert asked == Counter((rows[number].tenant, rows[number].open) for number in sampled)
    # NULL is a prefix like any other.
    assert None in [tenant for tenant, _ in asked]


def test_recall_within_a_prefix_is_of_the_rows_of_that_prefix_alone(good: Indexed) -> None:
    (only,) = measure(good.database, efforts=(200,), prefix=["tenant"]).measurements
    assert only.by_index
    assert only.recall >= 0.95


def test_a_search_that_leaves_out_what_the_prefix_search_finds_has_a_low_recall(poor: Indexed) -> None:
    with Database(poor.database._url) as database:
        # As on CockroachDB, but by an index that holds all tenants: of the nearest rows only the tenant's are left.
        pretend(database, Distrust, **{NAME: ["tenant"]})
        curve = measure(database, efforts=(1,), prefix=["tenant"])
    assert curve.measurements[0].recall < 0.9


@pytest.mark.parametrize(("rows", "queries"), [(0, 0), (1, 1), (2, 2), (7, 7)])
def test_a_table_of_fewer_rows_is_sampled_whole(
    database: Database, connection: psycopg.Connection, rows: int, queries: int
) -> None:
    create(connection, [*entries([*random_vectors(rows)]), Entry(100, None)])
    assert len(sample_queries(database, table_of(database), spec(), 50)) == queries


def test_rows_as_near_as_the_farthest_true_one_count_as_found(
    database: Database, connection: psycopg.Connection
) -> None:
    create(connection, entries(list(np.repeat(random_vectors(5), 40, axis=0))))
    vector_index(database).build()
    assert measure(database, queries=10, efforts=(100,)).measurements[0].recall == 1


def test_an_empty_table_has_no_recall_and_a_picture_all_the_same(
    database: Database, connection: psycopg.Connection
) -> None:
    create(connection, [])
    curve = measure(database, efforts=(10,))
    assert curve.queries == 0
    assert curve.measurements == (Measurement(10, 0.0, 0.0, 0.0, 0.0, False),)
    assert Image.open(BytesIO(picture(curve, "empty", 0.95))).format == "PNG"


def _measurement(effort: int, recall: float, *, by_index: bool = True) -> Measurement:
    return Measurement(effort, recall, recall, effort / 10, effort / 5, by_index)


CURVE = RecallCurve("hnsw.ef_search", 40, 10, 50, 80.0, tuple(_measurement(10 * n, 0.8 + n / 50) for n in (1, 2, 4, 8)))


@pytest.mark.parametrize(("wanted", "effort"), [(0.5, 10), (0.82, 10), (0.83, 20), (0.95, 80)])
def test_the_smallest_effort_is_the_first_that_reaches_the_wanted_recall(wanted: float, effort: int) -> None:
    smallest = CURVE.smallest(wanted)
    assert smallest is not None
    assert smallest.effort == effort


def test_an_effort_at_which_the_server_used_no_index_is_not_the_smallest() -> None:
    first, *others = CURVE.measurements
    curve = replace(CURVE, measurements=(replace(first, recall=1.0, by_index=False), *others))
    smallest = curve.smallest(0.82)
    assert smallest is not None
    assert smallest.effort == 20


@pytest.mark.parametrize(("asked", "effort"), [(None, 40), (10, 10), (39, 20), (1_000, 80), (5, None)])
def test_what_holds_at_an_effort_is_what_was_measured_at_it_or_below(asked: int | None, effort: int | None) -> None:
    found = CURVE.at(asked)
    assert (found.effort if found else None) == effort


def test_the_picture_is_small_enough_for_an_event_log() -> None:
    many = replace(CURVE, measurements=tuple(_measurement(n, min(1.0, n / 300)) for n in range(1, 400, 10)))
    for curve in (CURVE, many):
        data = picture(curve, "public.passage.passage_vector", 0.95)
        assert len(data) < _LARGEST_PICTURE
        image = Image.open(BytesIO(data))
        assert image.format == "PNG"
        assert min(image.size) > 200
    assert picture(CURVE, "a", 0.95) != picture(many, "a", 0.95)
