"""Whatever is asked of 1,000 tenants of uneven size: the right rows, in order, and never anybody else's."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.nearest import Nearest, Wish
from tests.support.pretence import Distrust, Pretence, pretend
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

# Names as tenants have them, and as nobody would wish them to.
_ODD = ("", "it's", "100%", "%(limit)s", "a' OR ''='", "\\", "Ünïcödé 🐘", "tenant 1 ", "TENANT 1", "NULL")


def _rows() -> list[Entry]:
    """The n-th tenant has about 1/n of the rows of the first; every seventh row has no vector, many vectors repeat."""
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


@dataclass(frozen=True)
class Filled:
    """Searches by the routes of the server, and on PostgreSQL also by those of CockroachDB."""

    routes: dict[str, Nearest]


@pytest.fixture(scope="module")
def filled(server: Server) -> Iterator[Filled]:
    with server.new_database() as url:
        with psycopg.connect(url, autocommit=True) as connection, Database(url) as database:
            create(connection, ROWS)
            vector_index(database, prefix=["tenant"]).build()
        with Database(preferring_indexes(url)) as database, Database(url) as unforced:
            routes = {"prefer the index": nearest(database), "as the server likes": nearest(unforced)}
            if database.dialect.name == "postgres":
                with Database(preferring_indexes(url)) as pinned, Database(preferring_indexes(url)) as free:
                    name = "passage_passage_vector_index"
                    routes["prefix"] = nearest(pretend(pinned, Distrust, **{name: ["tenant"]}))
                    routes["over-fetch"] = nearest(pretend(free, Pretence, **{name: []}))
                    yield Filled(routes)
            else:
                yield Filled(routes)


tenants = st.one_of(
    st.none(), st.lists(st.one_of(st.sampled_from(TENANTS), st.just("nobody")), min_size=1, max_size=4, unique=True)
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    asked=tenants,
    years=st.one_of(st.none(), st.lists(st.one_of(st.none(), st.integers(1999, 2005)), min_size=1, max_size=3)),
    limit=st.one_of(st.integers(1, 60), st.just(5_000)),
    farthest=st.one_of(st.none(), st.floats(0, 2)),
    query=st.integers(0, 3_999),
    leave_out=st.booleans(),
    exact=st.booleans(),
    data=st.data(),
)
def test_every_search_gives_the_right_rows(
    filled: Filled,
    asked: list[str | None] | None,
    years: list[int | None] | None,
    limit: int,
    farthest: float | None,
    query: int,
    leave_out: bool,
    exact: bool,
    data: st.DataObject,
) -> None:
    route = data.draw(st.sampled_from(sorted(filled.routes)))
    vector = random_vectors(2_000, seed=2)[query // 2]
    where = {**({} if asked is None else {"tenant": asked}), **({} if years is None else {"year": years})}
    wish = Wish(
        limit=limit,
        where=where,
        exact=exact,
        within=farthest,
        without=(query,) if leave_out else None,
    )

    def fits(row: Entry) -> bool:
        return (
            (asked is None or row.tenant in asked)
            and (years is None or row.year in years)
            and not (leave_out and row.id == query)
        )

    answer = filled.routes[route].find(vector, wish)
    rows = [BY_ID[row[2]] for row in answer.rows]
    assert all(fits(row) and row.vector is not None for row in rows)
    assert len({row.id for row in rows}) == len(rows)
    given_distances = [row[0] for row in answer.rows]
    assert given_distances == sorted(given_distances)
    # A distance equal to the farthest may be rounded to either side of it, so those are compared apart.
    edge = 1e-6
    wanted = truth(ROWS, vector, limit=limit, fits=fits, within=None if farthest is None else farthest + edge)
    sure = [distance for distance in wanted.distances if farthest is None or distance <= farthest - edge]
    if rows:
        real = distances("cosine", np.stack([row.vector for row in rows if row.vector is not None]), vector)
        assert given_distances == pytest.approx(real.tolist(), abs=1e-6)
    assert len(rows) >= len(sure) if not answer.by_index else len(rows) <= len(wanted.ids)
    if not answer.by_index:
        assert given_distances == pytest.approx(wanted.distances[: len(rows)], abs=1e-6)
    elif farthest is None:
        # Which of the near rows an index finds is a matter of its recall; how many there are is not.
        assert len(rows) == len(wanted.ids)
