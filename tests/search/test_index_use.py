"""Whether the vector index is used, for each form of search and as the role that asks."""

from collections.abc import Iterator

import psycopg
import pytest

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.search.index_use import read_index_use
from tests.support.fake_cockroachdb import search_like_cockroachdb
from tests.support.servers import Server
from tests.support.tables import column
from tests.support.vectors import bound, create, entries, preferring_indexes, random_vectors

ROWS = entries([*random_vectors(300)])
OWN, BARE = "a search of this project", "ORDER BY without a condition"


@pytest.fixture
def own(postgres: Server) -> Iterator[psycopg.Connection]:
    with postgres.new_database() as url, psycopg.connect(url, autocommit=True) as opened:
        create(opened, ROWS)
        yield opened


def used(connection: psycopg.Connection, **options: object) -> dict[str, bool]:
    with Database(preferring_indexes(connection.info.dsn)) as database:
        return read_index_use(bound(database, column(index={"metric": "cosine", **options})), 2).by_form


@pytest.mark.parametrize(
    ("predicate", "expected"),
    [("", {OWN: True, BARE: True}), ("WHERE passage_vector IS NOT NULL", {OWN: True, BARE: False})],
)
def test_only_an_index_of_all_rows_is_used_without_a_condition(
    own: psycopg.Connection, predicate: str, expected: dict[str, bool]
) -> None:
    own.execute(f"CREATE INDEX i ON passage USING hnsw (passage_vector vector_cosine_ops) {predicate}")
    assert used(own) == expected


def test_without_an_index_no_form_uses_one(own: psycopg.Connection) -> None:
    assert used(own) == {OWN: False, BARE: False}


def test_with_a_prefix_an_application_gives_a_value_for_each_prefix_column(own: psycopg.Connection) -> None:
    own.execute("CREATE INDEX i ON passage USING hnsw (passage_vector vector_cosine_ops)")
    with Database(preferring_indexes(own.info.dsn)) as database:
        search_like_cockroachdb(database, i=["uid", "moment"])
        use = read_index_use(bound(database, column(index={"metric": "cosine", "prefix": ["uid", "moment"]})), 1)
    assert list(use.by_form) == [OWN, "ORDER BY with = on uid, moment"]
    assert use.is_used
    assert use.notes == []


def test_policy_of_the_role_is_named_if_the_index_is_not_used(own: psycopg.Connection) -> None:
    own.execute("ALTER TABLE passage ENABLE ROW LEVEL SECURITY")
    own.execute("CREATE POLICY of_tenant ON passage USING (tenant = 'tenant 1')")
    own.execute("CREATE ROLE crdbvec_searcher LOGIN")
    try:
        own.execute("GRANT SELECT ON passage TO crdbvec_searcher")
        own.execute("GRANT USAGE ON SCHEMA public TO crdbvec_searcher")
        with Database(own.info.dsn, application_name="crdbvec") as database:
            as_owner = read_index_use(bound(database, column(index={"metric": "cosine"})), 1)
        options = f"{own.info.dsn} user=crdbvec_searcher"
        with Database(options) as database:
            as_searcher = read_index_use(bound(database, column(index={"metric": "cosine"})), 1)
    finally:
        own.execute("DROP OWNED BY crdbvec_searcher")
        own.execute("DROP ROLE crdbvec_searcher")
    assert as_owner.notes == []
    assert as_searcher.notes == [
        "Row-level security applies to this role, and the condition of a policy can take the index out of use."
    ]
