"""Building the vector index: once, as asked, whatever happens meanwhile, and never at the cost of somebody else's."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.dialects import CockroachDialect, PostgresDialect
from crdbvec_pipelines.database.errors import TableError
from crdbvec_pipelines.database.names import LONGEST
from crdbvec_pipelines.database.vector_index import VectorIndex, left_out, vector_index_name
from tests.support.pretence import Pretence, pretend
from tests.support.servers import Server
from tests.support.tables import column
from tests.support.vectors import create, entries, random_vectors, table_of, vector_index, without_vectors
from tests.support.waiting import wait_until

ROWS = without_vectors(entries([*random_vectors(300)]), 3, 33)
NAME = "passage_passage_vector_index"


@pytest.fixture
def filled(connection: psycopg.Connection) -> psycopg.Connection:
    create(connection, ROWS)
    return connection


@pytest.fixture
def own(postgres: Server) -> Iterator[psycopg.Connection]:
    """A filled database on PostgreSQL, for what only PostgreSQL does."""
    with postgres.new_database() as url, psycopg.connect(url, autocommit=True) as opened:
        create(opened, ROWS)
        yield opened


@contextmanager
def opened(connection: psycopg.Connection) -> Iterator[Database]:
    """The product's connection to the database of another one."""
    with Database(connection.info.dsn) as database:
        yield database


def oid(connection: psycopg.Connection, name: str = NAME) -> int | None:
    found = connection.execute("SELECT oid FROM pg_class WHERE relname = %s", (name,)).fetchone()
    return None if found is None else int(found[0])


def test_it_is_built_once(database: Database, filled: psycopg.Connection) -> None:
    index = vector_index(database)
    assert index.build()
    assert list(index.existing()) == [NAME]
    first = oid(filled)
    assert not index.build()
    assert not index.build(replace=True)
    assert oid(filled) == first


@pytest.mark.parametrize(
    "asked",
    [
        {"metric": "l2"},
        {"metric": "ip", "partial": False},
        {"m": 8, "ef_construction": 32, "min_partition_size": 8, "max_partition_size": 64},
        {"prefix": ["tenant"]},
    ],
)
def test_it_is_as_the_configuration_asks(
    database: Database, filled: psycopg.Connection, asked: dict[str, object]
) -> None:
    index = vector_index(database, **{"metric": "cosine", **asked})  # type: ignore[arg-type]
    index.build()
    assert index.existing() == {NAME: index.wanted}
    assert index.differences() == []


@pytest.mark.parametrize(
    ("existing", "asked", "difference"),
    [
        ({"metric": "l2"}, {"metric": "cosine"}, "metric is vector_l2_ops and should be vector_cosine_ops"),
        ({"partial": False}, {}, "predicate is none and should be IS NOT NULL"),
        ({}, {"partial": False}, "predicate is IS NOT NULL and should be none"),
    ],
)
def test_an_index_that_is_not_as_asked_is_kept_and_told_until_it_may_be_replaced(
    database: Database,
    filled: psycopg.Connection,
    existing: dict[str, object],
    asked: dict[str, object],
    difference: str,
) -> None:
    vector_index(database, **{"metric": "cosine", **existing}).build()  # type: ignore[arg-type]
    first = oid(filled)
    index = vector_index(database, **{"metric": "cosine", **asked})  # type: ignore[arg-type]
    assert index.differences() == [difference]
    with pytest.raises(TableError, match=f"^The vector index {NAME} of public.passage is not what .+: {difference}. "):
        index.build()
    assert oid(filled) == first
    assert index.build(replace=True)
    assert oid(filled) != first
    assert index.differences() == []


def test_parameters_that_differ_are_told_and_the_servers_defaults_do_not(own: psycopg.Connection) -> None:
    with opened(own) as database:
        vector_index(database).build()
        assert vector_index(database, m=16, ef_construction=64).differences() == []
        assert vector_index(database, m=24, ef_construction=64).differences() == ["m is 16 and should be 24"]


def test_a_prefix_that_differs_is_told(own: psycopg.Connection) -> None:
    with opened(own) as database:
        vector_index(database).build()
        pretend(database, Pretence, **{NAME: ["tenant", "year"]})
        assert vector_index(database, prefix=["tenant", "year"]).differences() == []
        assert vector_index(database, prefix=["tenant"]).differences() == [
            "prefix is tenant, year and should be tenant"
        ]
        assert vector_index(database).differences() == ["prefix is tenant, year and should be none"]


def test_a_predicate_of_somebody_elses_making_is_told(own: psycopg.Connection) -> None:
    own.execute(f"CREATE INDEX {NAME} ON passage USING hnsw (passage_vector vector_cosine_ops) WHERE year = 2001")
    with opened(own) as database:
        assert vector_index(database).differences() == ["predicate is (year = 2001) and should be IS NOT NULL"]


def test_what_a_broken_build_left_is_built_anew(own: psycopg.Connection) -> None:
    with opened(own) as database:
        index = vector_index(database)
        index.build()
        own.execute(f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{NAME}'::regclass")
        broken = oid(own)
        assert index.existing() == {}
        assert index.build()
        assert list(index.existing()) == [NAME]
        assert oid(own) != broken


@contextmanager
def held_up(connection: psycopg.Connection) -> Iterator[psycopg.Connection]:
    """Keeps any index over the table from being finished: a build waits for writers that came before it."""
    with psycopg.connect(connection.info.dsn) as writer:
        writer.execute("UPDATE passage SET year = year WHERE id = 1")
        yield writer
        writer.rollback()


def building(connection: psycopg.Connection) -> list[int]:
    """The server's processes that build an index."""
    return [row[0] for row in connection.execute("SELECT pid FROM pg_stat_progress_create_index").fetchall()]


class InBackground(threading.Thread):
    """A build in a thread of its own."""

    def __init__(self, index: VectorIndex) -> None:
        super().__init__(daemon=True)
        self.shares: list[float] = []
        self.built: bool | None = None
        self._index = index
        self.start()

    def run(self) -> None:
        self.built = self._index.build(on_progress=self.shares.append)

    def finish(self) -> bool | None:
        self.join(60)
        return self.built


def test_a_build_whose_connection_is_killed_ends_with_a_whole_index(own: psycopg.Connection) -> None:
    with opened(own) as database:
        index = vector_index(database)
        with held_up(own):
            build = InBackground(index)
            wait_until(lambda: len(building(own)) == 1)
            (killed,) = building(own)
            own.execute("SELECT pg_terminate_backend(%s)", (killed,))
            wait_until(lambda: killed not in building(own))
        assert build.finish()
        assert index.existing() == {NAME: index.wanted}
        assert own.execute("SELECT count(*) FROM pg_index WHERE NOT indisvalid").fetchone() == (0,)


def test_of_two_builds_at_once_one_waits_for_the_other(own: psycopg.Connection) -> None:
    with opened(own) as one, opened(own) as other, held_up(own) as writer:
        first = InBackground(vector_index(one))
        # It is said to be built a moment before it is in the catalogue.
        wait_until(lambda: len(building(own)) == 1 and oid(own) is not None)
        begun = oid(own)
        second = InBackground(vector_index(other))
        wait_until(lambda: bool(second.shares))
        assert second.is_alive()
        writer.rollback()
        assert (first.finish(), second.finish()) == (True, True)
        assert oid(own) == begun


def test_a_statement_timeout_is_not_for_builds(own: psycopg.Connection) -> None:
    with Database(own.info.dsn, statement_timeout=0.5) as database:
        with held_up(own):
            build = InBackground(vector_index(database))
            wait_until(lambda: len(build.shares) >= 4)
        assert build.finish()
        assert list(vector_index(database).existing()) == [NAME]


def test_writers_go_on_while_it_is_built_and_their_rows_are_in_it(own: psycopg.Connection) -> None:
    with opened(own) as database:
        with held_up(own):
            build = InBackground(vector_index(database))
            wait_until(lambda: len(building(own)) == 1)
            own.execute("UPDATE passage SET passage_vector = '[9,9,9,9,9,9,9,9]' WHERE id = 2")
        assert build.finish()
    own.execute("SET enable_seqscan = off")
    found = own.execute("SELECT id FROM passage ORDER BY passage_vector <=> '[9,9,9,9,9,9,9,9]' LIMIT 1").fetchone()
    assert found == (2,)


def test_progress_is_told_from_nothing_to_all_and_never_backwards(own: psycopg.Connection) -> None:
    with opened(own) as database:
        with held_up(own):
            build = InBackground(vector_index(database))
            wait_until(lambda: bool(build.shares))
        build.finish()
    assert build.shares[0] < 1
    assert build.shares[-1] == 1
    assert build.shares == sorted(build.shares)


def test_an_index_of_another_kind_under_its_name_is_left_alone(database: Database, filled: psycopg.Connection) -> None:
    filled.execute(f"CREATE INDEX {NAME} ON passage (year)")
    theirs = oid(filled)
    sentence = (
        f"^public.passage already has an index {NAME}, and it is no vector index over passage_vector that a search"
    )
    with pytest.raises(TableError, match=sentence):
        vector_index(database).build()
    with pytest.raises(TableError, match=sentence):
        vector_index(database).build(replace=True)
    assert oid(filled) == theirs


def test_the_index_of_another_table_under_its_name_is_left_alone(own: psycopg.Connection) -> None:
    own.execute("CREATE TABLE other (id INT8)")
    own.execute(f"CREATE INDEX {NAME} ON other (id)")
    theirs = oid(own)
    with opened(own) as database, pytest.raises(TableError, match=f"already has an index {NAME}, on the table other;"):
        vector_index(database).build()
    assert oid(own) == theirs


def test_more_dimensions_than_the_server_indexes_are_refused_before_anything_is_done(own: psycopg.Connection) -> None:
    own.execute("ALTER TABLE passage ALTER COLUMN passage_vector TYPE VECTOR(2001) USING NULL")
    with (
        opened(own) as database,
        pytest.raises(TableError, match="takes up to 2000 dimensions, and the model makes 2001"),
    ):
        vector_index(database, dim=2_001).build()
    assert oid(own) is None


def test_a_cluster_before_25_4_is_refused_before_anything_is_done(own: psycopg.Connection) -> None:
    with opened(own) as database:
        database.dialect = CockroachDialect(250300)
        with pytest.raises(TableError, match=r"^This cluster runs CockroachDB 25\.3; before 25\.4 its vector index is"):
            vector_index(database).build()
    assert oid(own) is None


def test_a_prefix_column_that_there_is_not_is_told_with_its_place(
    database: Database, filled: psycopg.Connection
) -> None:
    with pytest.raises(TableError, match=r"^the command line\.index\.prefix: public\.passage has no column tenent\.$"):
        vector_index(database, prefix=["tenent"])


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({}, None),
        ({"m": 8}, None),
        (
            {"prefix": ["tenant"]},
            "postgres has no prefix columns in a vector index, so the index is built without; "
            "searches filtered by the prefix are answered correctly all the same.",
        ),
        (
            {"min_partition_size": 8, "build_beam_size": 16, "m": 8},
            "postgres has no build_beam_size, min_partition_size in a vector index, so the index is built without.",
        ),
    ],
)
def test_what_postgresql_has_not_is_told_in_a_sentence(asked: dict[str, object], sentence: str | None) -> None:
    assert left_out(PostgresDialect(), column(index=asked)) == sentence


def test_so_is_what_cockroachdb_has_not() -> None:
    asked = column(index={"prefix": ["tenant"], "m": 8, "min_partition_size": 8})
    wanted = "cockroachdb has no m in a vector index, so the index is built without."
    assert left_out(CockroachDialect(), asked) == wanted


def test_without_an_index_entry_nothing_is_missing() -> None:
    assert left_out(PostgresDialect(), column()) is None


def test_long_names_are_cut_to_what_postgresql_keeps_and_stay_apart() -> None:
    stem = "a_table_with_a_rather_long_and_telling_name_é"
    names = [vector_index_name(column(table=f"public.{stem}{end}", output="passage_vector")) for end in ("1", "2")]
    assert len(set(names)) == 2
    assert all(len(name.encode()) <= LONGEST and name.endswith("_index") for name in names)


def test_a_long_name_is_found_again(connection: psycopg.Connection, database: Database) -> None:
    create(connection, ROWS)
    table = "t" * 60
    connection.execute(f"ALTER TABLE passage RENAME TO {table}")
    spec = column(table=table, index={"metric": "cosine"})
    index = VectorIndex(database, table_of(database, spec), spec, "cosine", 8)
    assert index.build()
    assert not index.build()
    assert list(index.existing()) == [index.name]


def test_it_can_be_dropped_also_where_there_is_none(database: Database, filled: psycopg.Connection) -> None:
    index = vector_index(database)
    index.drop()
    index.build()
    index.drop()
    assert index.existing() == {}


def test_the_sizes_tell_what_quantized_or_not_the_vectors_would_take(own: psycopg.Connection) -> None:
    with opened(own) as database:
        index = vector_index(database)
        before = index.sizes()
        assert (before.index, before.vectors, before.full_precision) == (None, 298, 298 * (4 * 8 + 8))
        index.build()
        after = index.sizes()
        assert own.execute(f"SELECT pg_relation_size('{NAME}')").fetchone() == (after.index,)
        assert after.index
        assert after.table
        assert before.table
        assert after.table >= before.table + after.index


def test_sizes_that_may_not_be_seen_are_unknown_and_nothing_fails(own: psycopg.Connection) -> None:
    with opened(own) as database:
        index = vector_index(database)
        index.build()
        # What CockroachDB is asked is refused by PostgreSQL, as by a server whose ranges the user may not see.
        pretend(database, Pretence, **{NAME: []})
        sizes = index.sizes()
    assert (sizes.table, sizes.index, sizes.vectors) == (None, None, 298)


def test_a_table_without_the_vector_column_has_sizes_too(own: psycopg.Connection) -> None:
    own.execute("ALTER TABLE passage DROP COLUMN passage_vector")
    with opened(own) as database:
        sizes = vector_index(database).sizes()
    assert (sizes.index, sizes.vectors, sizes.full_precision) == (None, 0, 0)
