"""Recall and latency of the index on the rows of the table: queries, measurements, target recall, plot."""

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
from crdbvec_pipelines.search.plot import recall_plot
from crdbvec_pipelines.search.recall import Measurement, RecallCurve, measure_recall, sample_queries
from tests.support.fake_cockroachdb import NonExhaustiveVectors, search_like_cockroachdb
from tests.support.servers import Server
from tests.support.tables import column
from tests.support.vectors import (
    Entry,
    bound,
    clustered_vectors,
    create,
    entries,
    preferring_indexes,
    random_vectors,
    vector_index,
    without_vectors,
)

ROWS = without_vectors(entries([*clustered_vectors(4_000, 24, clusters=40, spread=0.3)]), *range(0, 4_000, 100))
NAME = "passage_passage_vector_index"
# Dagster stores the plot in its event log.
_MAX_PLOT_BYTES = 50_000
_DIRECTIONS = 80


def spec(**index: object) -> VectorColumn:
    return column(index={"metric": "cosine", **index})


def measure(database: Database, queries: int = 30, efforts: tuple[int, ...] = (), **index: object) -> RecallCurve:
    return measure_recall(bound(database, spec(**index)), queries=queries, efforts=efforts)


@dataclass(frozen=True)
class Indexed:
    url: str
    database: Database
    connection: psycopg.Connection


def _indexed(server: Server, **index: int) -> Iterator[Indexed]:
    with server.new_database() as url, psycopg.connect(url, autocommit=True) as connection:
        create(connection, ROWS, dim=24)
        preferring = preferring_indexes(url)
        with Database(preferring) as database:
            vector_index(database, "cosine", 24, **index).build()
            yield Indexed(preferring, database, connection)


@pytest.fixture(scope="module")
def good(server: Server) -> Iterator[Indexed]:
    yield from _indexed(server)


@pytest.fixture(scope="module")
def poor(postgres: Server) -> Iterator[Indexed]:
    """An index with the fewest connections between rows that pgvector allows."""
    yield from _indexed(postgres, m=2, ef_construction=4)


def test_high_effort_finds_what_an_exact_scan_finds(good: Indexed) -> None:
    curve = measure(good.database, efforts=(10, 500))
    (_, highest) = curve.measurements
    assert highest.used_index
    assert highest.recall >= 0.99
    assert curve.queries == 30
    assert curve.k == 10
    assert all(0 < each.p50_ms <= each.p95_ms for each in curve.measurements)
    assert curve.exact_p50_ms > 0


def test_poor_index_has_a_low_recall_that_rises_with_the_effort(poor: Indexed) -> None:
    curve = measure(poor.database, efforts=(1, 100, 400))
    recalls = [each.recall for each in curve.measurements]
    assert recalls[0] < 0.8
    assert recalls[0] < recalls[-1]
    assert all(each.used_index and each.worst_recall <= each.recall for each in curve.measurements)
    assert curve.smallest_effort_with_recall(recalls[-1]) == curve.measurements[recalls.index(max(recalls))]
    assert curve.smallest_effort_with_recall(1.01) is None


def test_default_efforts_are_those_of_the_server_and_the_configured_one(good: Indexed) -> None:
    choices = good.database.dialect.vectors.effort.choices
    curve = measure(good.database, queries=2, effort=33)
    assert [each.effort for each in curve.measurements] == sorted([*choices, 33])
    assert (curve.setting, curve.default) == (
        good.database.dialect.vectors.effort.setting,
        good.database.dialect.vectors.effort.default,
    )


def test_without_an_index_the_measurements_say_that_none_was_used(
    database: Database, connection: psycopg.Connection
) -> None:
    create(connection, entries([*random_vectors(50)]))
    curve = measure(database, queries=3, efforts=(10, 20))
    assert [each.used_index for each in curve.measurements] == [False, False]
    assert curve.smallest_effort_with_recall(0.5) is None


@pytest.fixture
def distinct(database: Database, connection: psycopg.Connection) -> Database:
    """Rows with orthogonal vectors, so that a query shows between which rows it lies."""
    create(connection, without_vectors(entries([*np.eye(_DIRECTIONS, dtype=np.float32)]), 2, 9), dim=_DIRECTIONS)
    return database


def ends(vector: NDArray[np.float32]) -> set[int]:
    """Return the rows between which a query lies."""
    assert set(vector.tolist()) == {0.0, 0.5}
    return {int(number) for number in np.flatnonzero(vector)}


def test_queries_are_midpoints_between_rows_spread_over_the_table(
    distinct: Database,
) -> None:
    pairs = [ends(vector) for vector, _ in sample_queries(bound(distinct, spec()), 20)]
    assert len(pairs) == 20
    of_rows = Counter(number for pair in pairs for number in pair)
    assert set(of_rows.values()) == {2}
    assert not {2, 9} & of_rows.keys()
    assert max(Counter(number // 20 for number in of_rows).values()) <= 6
    assert all(abs(one - other) >= _DIRECTIONS // 4 for one, other in pairs)


def test_each_query_has_the_prefix_values_of_a_sampled_row(distinct: Database) -> None:
    rows = {row.id: row for row in entries([*np.eye(_DIRECTIONS, dtype=np.float32)])}
    queries = sample_queries(bound(distinct, spec(prefix=["tenant", "open"])), 20)
    prefixes = Counter((filters["tenant"][0], filters["open"][0]) for _, filters in queries)  # type: ignore[index]
    sampled = {number for vector, _ in queries for number in ends(vector)}
    assert prefixes == Counter((rows[number].tenant, rows[number].open) for number in sampled)
    # NULL is a prefix value too.
    assert None in [tenant for tenant, _ in prefixes]


def test_recall_within_a_prefix_considers_only_its_rows(good: Indexed) -> None:
    (only,) = measure(good.database, efforts=(200,), prefix=["tenant"]).measurements
    assert only.used_index
    assert only.recall >= 0.95


def test_index_that_ignores_the_prefix_has_a_low_recall(poor: Indexed) -> None:
    with Database(poor.url) as database:
        # As on CockroachDB, but with one tree for all tenants: only some of the nearest rows are the tenant's.
        search_like_cockroachdb(database, NonExhaustiveVectors, **{NAME: ["tenant"]})
        curve = measure(database, efforts=(1,), prefix=["tenant"])
    assert curve.measurements[0].recall < 0.9


@pytest.mark.parametrize(("rows", "queries"), [(0, 0), (1, 1), (2, 2), (7, 7)])
def test_all_rows_of_a_small_table_are_sampled(
    database: Database, connection: psycopg.Connection, rows: int, queries: int
) -> None:
    create(connection, [*entries([*random_vectors(rows)]), Entry(100, None)])
    assert len(sample_queries(bound(database, spec()), 50)) == queries


def test_rows_as_near_as_the_farthest_true_row_count_as_found(
    database: Database, connection: psycopg.Connection
) -> None:
    create(connection, entries(list(np.repeat(random_vectors(5), 40, axis=0))))
    vector_index(database).build()
    assert measure(database, queries=10, efforts=(100,)).measurements[0].recall == 1


def test_empty_table_has_no_recall_and_a_plot(database: Database, connection: psycopg.Connection) -> None:
    create(connection, [])
    curve = measure(database, efforts=(10,))
    assert curve.queries == 0
    assert curve.measurements == (Measurement(10, 0.0, 0.0, 0.0, 0.0, False),)
    assert Image.open(BytesIO(recall_plot(curve, "empty", 0.95))).format == "PNG"


def _measurement(effort: int, recall: float, *, used_index: bool = True) -> Measurement:
    return Measurement(effort, recall, recall, effort / 10, effort / 5, used_index)


CURVE = RecallCurve("hnsw.ef_search", 40, 10, 50, 80.0, tuple(_measurement(10 * n, 0.8 + n / 50) for n in (1, 2, 4, 8)))


@pytest.mark.parametrize(("target_recall", "effort"), [(0.5, 10), (0.82, 10), (0.83, 20), (0.95, 80)])
def test_smallest_effort_is_the_first_that_reaches_the_target_recall(target_recall: float, effort: int) -> None:
    smallest = CURVE.smallest_effort_with_recall(target_recall)
    assert smallest is not None
    assert smallest.effort == effort


def test_effort_at_which_the_server_used_no_index_does_not_reach_the_target() -> None:
    first, *others = CURVE.measurements
    curve = replace(CURVE, measurements=(replace(first, recall=1.0, used_index=False), *others))
    smallest = curve.smallest_effort_with_recall(0.82)
    assert smallest is not None
    assert smallest.effort == 20


@pytest.mark.parametrize(("requested", "effort"), [(None, 40), (10, 10), (39, 20), (1_000, 80), (5, None)])
def test_measurement_at_an_effort(requested: int | None, effort: int | None) -> None:
    found = CURVE.at(requested)
    assert (found.effort if found else None) == effort


@pytest.mark.parametrize(
    ("curve", "effort", "verdict"),
    [
        (CURVE, 80, "Recall at 10 is 0.960 with hnsw.ef_search = 80; 0.95 is wanted."),
        (CURVE, 5, "with hnsw.ef_search = 10; 0.95 is wanted. The smallest measured value that reaches it is 80; set "),
        (replace(CURVE, measurements=CURVE.measurements[:2]), None, "0.95 is wanted. No measured value reaches it."),
        (replace(CURVE, measurements=(_measurement(40, 1.0, used_index=False),)), None, "The server did not use the "),
        (replace(CURVE, queries=0), None, "No row has a vector."),
    ],
)
def test_verdict_says_what_was_measured_and_what_reaches_the_target(
    curve: RecallCurve, effort: int | None, verdict: str
) -> None:
    assert verdict in curve.verdict(effort, 0.95)


def test_plot_is_small_enough_for_an_event_log() -> None:
    many = replace(CURVE, measurements=tuple(_measurement(n, min(1.0, n / 300)) for n in range(1, 400, 10)))
    for curve in (CURVE, many):
        data = recall_plot(curve, "public.passage.passage_vector", 0.95)
        assert len(data) < _MAX_PLOT_BYTES
        image = Image.open(BytesIO(data))
        assert image.format == "PNG"
        assert min(image.size) > 200
    assert recall_plot(CURVE, "a", 0.95) != recall_plot(many, "a", 0.95)
