"""The vector index: its definition, the differences from the configuration, its sizes."""

import psycopg
import pytest

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.dialects import CockroachDialect, PostgresDialect
from crdbvec_pipelines.database.errors import TableError
from crdbvec_pipelines.database.identifiers import MAX_IDENTIFIER_BYTES
from crdbvec_pipelines.database.index.statements import unsupported_options, vector_index_name
from crdbvec_pipelines.database.index.vector_index import VectorIndex
from tests.database.index.conftest import NAME, ROWS, oid, opened
from tests.support.fake_cockroachdb import FakeCockroachVectors, search_like_cockroachdb
from tests.support.tables import column
from tests.support.vectors import bound, create, vector_index


def test_index_is_built_once(database: Database, filled: psycopg.Connection) -> None:
    index = vector_index(database)
    assert index.build()
    assert list(index.existing()) == [NAME]
    first = oid(filled)
    assert not index.build()
    assert not index.build(replace=True)
    assert oid(filled) == first


@pytest.mark.parametrize(
    "options",
    [
        {"metric": "l2"},
        {"metric": "ip", "partial": False},
        {"m": 8, "ef_construction": 32, "min_partition_size": 8, "max_partition_size": 64},
        {"prefix": ["tenant"]},
    ],
)
def test_built_index_matches_the_configuration(
    database: Database, filled: psycopg.Connection, options: dict[str, object]
) -> None:
    index = vector_index(database, **{"metric": "cosine", **options})  # type: ignore[arg-type]
    index.build()
    assert index.existing() == {NAME: index.configured}
    assert index.differences() == []


@pytest.mark.parametrize(
    ("existing", "configured", "difference"),
    [
        ({"metric": "l2"}, {"metric": "cosine"}, "metric: l2, configured: cosine"),
        ({"partial": False}, {"partial": True}, "predicate: none, configured: IS NOT NULL"),
        ({"partial": True}, {"partial": False}, "predicate: IS NOT NULL, configured: none"),
    ],
)
def test_index_that_differs_is_kept_and_reported_until_it_may_be_replaced(
    database: Database,
    filled: psycopg.Connection,
    existing: dict[str, object],
    configured: dict[str, object],
    difference: str,
) -> None:
    vector_index(database, **{"metric": "cosine", **existing}).build()  # type: ignore[arg-type]
    first = oid(filled)
    index = vector_index(database, **{"metric": "cosine", **configured})  # type: ignore[arg-type]
    assert index.differences() == [difference]
    sentence = (
        rf"^The vector index {NAME} of public\.passage differs from the configuration \(the command line\): "
        rf"{difference}\. Run `crdbvec index build --replace`\.$"
    )
    with pytest.raises(TableError, match=sentence):
        index.build()
    assert oid(filled) == first
    assert index.build(replace=True)
    assert oid(filled) != first
    assert index.differences() == []


@pytest.mark.parametrize("partial", [True, False])
def test_existing_index_is_kept_if_the_configuration_does_not_say_whether_it_is_partial(
    database: Database, filled: psycopg.Connection, partial: bool
) -> None:
    vector_index(database, partial=partial).build()
    first = oid(filled)
    assert vector_index(database).differences() == []
    assert not vector_index(database).build(replace=True)
    assert oid(filled) == first


def test_new_index_contains_all_rows(database: Database, filled: psycopg.Connection) -> None:
    vector_index(database).build()
    (found,) = vector_index(database).existing().values()
    assert found.predicate is None


def test_parameters_differ_from_the_servers_defaults_if_configured_otherwise(own: psycopg.Connection) -> None:
    with opened(own) as database:
        vector_index(database).build()
        assert vector_index(database, m=16, ef_construction=64).differences() == []
        assert vector_index(database, m=24, ef_construction=64).differences() == ["m: 16, configured: 24"]


def test_prefix_that_differs_is_reported(own: psycopg.Connection) -> None:
    with opened(own) as database:
        vector_index(database).build()
        search_like_cockroachdb(database, FakeCockroachVectors, **{NAME: ["tenant", "year"]})
        assert vector_index(database, prefix=["tenant", "year"]).differences() == []
        assert vector_index(database, prefix=["tenant"]).differences() == ["prefix: tenant, year, configured: tenant"]
        assert vector_index(database).differences() == ["prefix: tenant, year, configured: none"]


def test_predicate_that_a_user_wrote_is_reported(own: psycopg.Connection) -> None:
    own.execute(f"CREATE INDEX {NAME} ON passage USING hnsw (passage_vector vector_cosine_ops) WHERE year = 2001")
    with opened(own) as database:
        assert vector_index(database).differences() == ["predicate: (year = 2001), configured: none"]


def test_operator_class_of_no_supported_metric_is_reported(own: psycopg.Connection) -> None:
    own.execute(
        f"CREATE INDEX {NAME} ON passage USING hnsw (passage_vector vector_l1_ops) WHERE passage_vector IS NOT NULL"
    )
    with opened(own) as database:
        assert vector_index(database).differences() == ["metric: vector_l1_ops, configured: cosine"]


def test_unknown_prefix_column_is_an_error_that_names_the_entry(database: Database, filled: psycopg.Connection) -> None:
    with pytest.raises(TableError, match=r"^the command line\.index\.prefix: public\.passage has no column tenent\.$"):
        vector_index(database, prefix=["tenent"])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, None),
        ({"m": 8}, None),
        (
            {"prefix": ["tenant"]},
            "The vector index is built without prefix, which PostgreSQL does not support. "
            "Searches that filter by the prefix columns still return the correct rows.",
        ),
        (
            {"min_partition_size": 8, "build_beam_size": 16, "m": 8},
            "The vector index is built without build_beam_size, min_partition_size, which PostgreSQL does not support.",
        ),
    ],
)
def test_options_that_postgresql_does_not_support(options: dict[str, object], sentence: str | None) -> None:
    assert unsupported_options(PostgresDialect(), column(index=options)) == sentence


def test_options_that_cockroachdb_does_not_support() -> None:
    spec = column(index={"prefix": ["tenant"], "m": 8, "min_partition_size": 8})
    sentence = "The vector index is built without m, which CockroachDB does not support."
    assert unsupported_options(CockroachDialect(), spec) == sentence


def test_without_an_index_entry_no_option_is_unsupported() -> None:
    assert unsupported_options(PostgresDialect(), column()) is None


def test_long_names_are_shortened_and_remain_distinct() -> None:
    stem = "a_table_with_a_rather_long_and_telling_name_é"
    names = [vector_index_name(column(table=f"public.{stem}{end}", output="passage_vector")) for end in ("1", "2")]
    assert len(set(names)) == 2
    assert all(len(name.encode()) <= MAX_IDENTIFIER_BYTES and name.endswith("_index") for name in names)


def test_index_with_a_long_name_is_found(connection: psycopg.Connection, database: Database) -> None:
    create(connection, ROWS)
    table = "t" * 60
    connection.execute(f"ALTER TABLE passage RENAME TO {table}")
    spec = column(table=table, index={"metric": "cosine"})
    index = VectorIndex(bound(database, spec))
    assert index.build()
    assert not index.build()
    assert list(index.existing()) == [index.name]


def test_index_can_be_dropped_whether_or_not_it_exists(database: Database, filled: psycopg.Connection) -> None:
    index = vector_index(database)
    index.drop()
    index.build()
    index.drop()
    assert index.existing() == {}


def test_sizes_of_table_index_and_vectors_in_full_precision(own: psycopg.Connection) -> None:
    with opened(own) as database:
        index = vector_index(database)
        before = index.sizes()
        assert (before.index_bytes, before.vectors, before.full_precision_bytes) == (None, 298, 298 * (4 * 8 + 8))
        index.build()
        after = index.sizes()
        assert own.execute(f"SELECT pg_relation_size('{NAME}')").fetchone() == (after.index_bytes,)
        assert after.index_bytes
        assert after.table_bytes
        assert before.table_bytes
        assert after.table_bytes >= before.table_bytes + after.index_bytes


def test_sizes_that_the_role_may_not_read_are_unknown(own: psycopg.Connection) -> None:
    with opened(own) as database:
        index = vector_index(database)
        index.build()
        # PostgreSQL rejects the query for CockroachDB, as CockroachDB does without the privilege.
        search_like_cockroachdb(database, FakeCockroachVectors, **{NAME: []})
        sizes = index.sizes()
    assert (sizes.table_bytes, sizes.index_bytes, sizes.vectors) == (None, None, 298)


def test_sizes_of_a_table_without_the_vector_column(own: psycopg.Connection) -> None:
    own.execute("ALTER TABLE passage DROP COLUMN passage_vector")
    with opened(own) as database:
        sizes = vector_index(database).sizes()
    assert (sizes.index_bytes, sizes.vectors, sizes.full_precision_bytes) == (None, 0, 0)
