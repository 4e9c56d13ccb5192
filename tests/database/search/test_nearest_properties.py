"""Random searches over 1,000 tenants of uneven size: the correct rows, in order, and none of another tenant."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.search.nearest import NearestNeighbors
from crdbvec_pipelines.database.search.query import SearchQuery
from tests.support.fake_cockroachdb import FakeCockroachVectors, NonExhaustiveVectors, search_like_cockroachdb
from tests.support.servers import Server
from tests.support.vectors import (
    Entry,
    create,
    distances,
    entries,
    nearest,
    preferring_indexes,
    random_vectors,
    truth,
    vector_index,
)

# Names that need quoting, or that differ only in case or in trailing spaces.
_ODD = ("", "it's", "100%", "%(limit)s", "a' OR ''='", "\\", "Ünïcödé 🐘", "tenant 1 ", "TENANT 1", "NULL")


def _rows() -> list[Entry]:
    """Return rows whose n-th tenant has about 1/n of the first's; every seventh has no vector, and vectors repeat."""
    random = np.random.default_rng(1)
    vectors = np.repeat(random_vectors(2_000, seed=2), 2, axis=0)
    weights = 1 / np.arange(1, 1_001)
    tenants = [*range(1_000), *random.choice(1_000, 3_000, p=weights / weights.sum())]
    return [
        replace(
            row,
            vector=None if row.id % 7 == 3 else row.vector,
            tenant=_ODD[tenant] if tenant < len(_ODD) else f"tenant {tenant}",
        )
        for row, tenant in zip(entries([*vectors]), tenants, strict=True)
    ]


ROWS = _rows()
BY_ID = {row.id: row for row in ROWS}
TENANTS = [row.tenant for row in ROWS[:1_000]]


@pytest.fixture(scope="module")
def searches(server: Server) -> Iterator[dict[str, NearestNeighbors]]:
    """Searches with the strategies of the server, and on PostgreSQL also with those of CockroachDB."""
    with server.new_database() as url:
        with psycopg.connect(url, autocommit=True) as connection, Database(url) as database:
            create(connection, ROWS)
            vector_index(database, prefix=["tenant"]).build()
        with Database(preferring_indexes(url)) as database, Database(url) as unforced:
            found = {"index preferred": nearest(database), "server's choice": nearest(unforced)}
            if database.dialect.name == "postgres":
                with Database(preferring_indexes(url)) as prefixed, Database(preferring_indexes(url)) as plain:
                    name = "passage_passage_vector_index"
                    search_like_cockroachdb(prefixed, NonExhaustiveVectors, **{name: ["tenant"]})
                    search_like_cockroachdb(plain, FakeCockroachVectors, **{name: []})
                    yield {**found, "prefix": nearest(prefixed), "over-fetch": nearest(plain)}
            else:
                yield found


tenants = st.one_of(
    st.none(), st.lists(st.one_of(st.sampled_from(TENANTS), st.just("unknown")), min_size=1, max_size=4, unique=True)
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    chosen=tenants,
    years=st.one_of(st.none(), st.lists(st.one_of(st.none(), st.integers(1999, 2005)), min_size=1, max_size=3)),
    limit=st.one_of(st.integers(1, 60), st.just(5_000)),
    max_distance=st.one_of(st.none(), st.floats(0, 2)),
    number=st.integers(0, 3_999),
    excluded=st.booleans(),
    exact=st.booleans(),
    data=st.data(),
)
def test_every_search_returns_the_correct_rows(
    searches: dict[str, NearestNeighbors],
    chosen: list[str | None] | None,
    years: list[int | None] | None,
    limit: int,
    max_distance: float | None,
    number: int,
    excluded: bool,
    exact: bool,
    data: st.DataObject,
) -> None:
    vector = random_vectors(2_000, seed=2)[number // 2]
    query = SearchQuery(
        limit=limit,
        filters={**({} if chosen is None else {"tenant": chosen}), **({} if years is None else {"year": years})},
        exact=exact,
        max_distance=max_distance,
        exclude_key=(number,) if excluded else None,
    )

    def matches(row: Entry) -> bool:
        return (
            (chosen is None or row.tenant in chosen)
            and (years is None or row.year in years)
            and not (excluded and row.id == number)
        )

    result = searches[data.draw(st.sampled_from(sorted(searches)))].find(vector, query)
    rows = [BY_ID[row[2]] for row in result.rows]
    assert all(matches(row) and row.vector is not None for row in rows)
    assert len({row.id for row in rows}) == len(rows)
    found = [row[0] for row in result.rows]
    assert found == sorted(found)
    # A distance equal to `max_distance` may be rounded to either side of it, so both bounds are computed.
    tolerance = 1e-6
    upper_bound = None if max_distance is None else max_distance + tolerance
    expected = truth(ROWS, vector, limit=limit, matches=matches, max_distance=upper_bound)
    certain = [each for each in expected.distances if max_distance is None or each <= max_distance - tolerance]
    if rows:
        computed = distances("cosine", np.stack([row.vector for row in rows if row.vector is not None]), vector)
        assert found == pytest.approx(computed.tolist(), abs=1e-6)
    if result.strategy == "exact_scan":
        assert len(rows) >= len(certain)
        assert found == pytest.approx(expected.distances[: len(rows)], abs=1e-6)
    else:
        assert len(rows) <= len(expected.ids)
        # Which of the near rows an index scan finds depends on its recall; their number does not.
        if max_distance is None:
            assert len(rows) == len(expected.ids)
