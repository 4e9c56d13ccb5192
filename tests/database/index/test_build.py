"""The build of the vector index: recovery, simultaneous builds, progress; other indexes are not changed."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import LiteralString

import psycopg
import pytest
from psycopg import sql

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.dialects import CockroachDialect
from crdbvec_pipelines.database.errors import TableError
from crdbvec_pipelines.database.index.statements import index_progress
from crdbvec_pipelines.database.index.vector_index import VectorIndex
from tests.database.index.conftest import NAME, oid, opened
from tests.support.fake_cockroachdb import FakeJobs, create_jobs, search_like_cockroachdb
from tests.support.vectors import vector_index
from tests.support.waiting import wait_until


def test_unfinished_index_of_an_interrupted_build_is_rebuilt(own: psycopg.Connection) -> None:
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
def blocked_builds(connection: psycopg.Connection) -> Iterator[psycopg.Connection]:
    """Prevent any index build from finishing: it waits for transactions that started earlier."""
    with psycopg.connect(connection.info.dsn) as writer:
        writer.execute("UPDATE passage SET year = year WHERE id = 1")
        yield writer
        writer.rollback()


def building(connection: psycopg.Connection) -> list[int]:
    """Return the server processes that build an index."""
    return [row[0] for row in connection.execute("SELECT pid FROM pg_stat_progress_create_index").fetchall()]


class BackgroundBuild(threading.Thread):
    """A build in another thread."""

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


def test_build_whose_connection_is_killed_ends_with_a_complete_index(own: psycopg.Connection) -> None:
    with opened(own) as database:
        index = vector_index(database)
        with blocked_builds(own):
            build = BackgroundBuild(index)
            wait_until(lambda: len(building(own)) == 1)
            (killed,) = building(own)
            own.execute("SELECT pg_terminate_backend(%s)", (killed,))
            wait_until(lambda: killed not in building(own))
        assert build.finish()
        assert index.existing() == {NAME: index.configured}
        assert own.execute("SELECT count(*) FROM pg_index WHERE NOT indisvalid").fetchone() == (0,)


def test_second_simultaneous_build_waits_for_the_first(own: psycopg.Connection) -> None:
    with opened(own) as one, opened(own) as other, blocked_builds(own) as writer:
        first = BackgroundBuild(vector_index(one))
        # The build is reported shortly before the index is in pg_catalog.
        wait_until(lambda: len(building(own)) == 1 and oid(own) is not None)
        started = oid(own)
        second = BackgroundBuild(vector_index(other))
        wait_until(lambda: bool(second.shares))
        assert second.is_alive()
        writer.rollback()
        assert (first.finish(), second.finish()) == (True, True)
        assert oid(own) == started


def test_statement_timeout_does_not_apply_to_builds(own: psycopg.Connection) -> None:
    with Database(own.info.dsn, statement_timeout=0.5) as database:
        with blocked_builds(own):
            build = BackgroundBuild(vector_index(database))
            wait_until(lambda: len(build.shares) >= 4)
        assert build.finish()
        assert list(vector_index(database).existing()) == [NAME]


def test_build_does_not_block_writers_and_contains_their_rows(own: psycopg.Connection) -> None:
    with opened(own) as database:
        with blocked_builds(own):
            build = BackgroundBuild(vector_index(database))
            wait_until(lambda: len(building(own)) == 1)
            own.execute("UPDATE passage SET passage_vector = '[9,9,9,9,9,9,9,9]' WHERE id = 2")
        assert build.finish()
    own.execute("SET enable_seqscan = off")
    found = own.execute("SELECT id FROM passage ORDER BY passage_vector <=> '[9,9,9,9,9,9,9,9]' LIMIT 1").fetchone()
    assert found == (2,)


def test_progress_increases_to_one(own: psycopg.Connection) -> None:
    with opened(own) as database:
        with blocked_builds(own):
            build = BackgroundBuild(vector_index(database))
            wait_until(lambda: bool(build.shares))
        build.finish()
    assert build.shares[0] < 1
    assert build.shares[-1] == 1
    assert build.shares == sorted(build.shares)


def test_index_of_another_kind_with_its_name_is_not_changed(database: Database, filled: psycopg.Connection) -> None:
    filled.execute(f"CREATE INDEX {NAME} ON passage (year)")
    before = oid(filled)
    sentence = (
        f"^public.passage already has an index {NAME}, which is not a vector index over passage_vector that searches"
    )
    with pytest.raises(TableError, match=sentence):
        vector_index(database).build()
    with pytest.raises(TableError, match=sentence):
        vector_index(database).build(replace=True)
    assert oid(filled) == before


@pytest.mark.parametrize("other", ["CREATE INDEX {} ON other (id)", "CREATE TABLE {} (id INT8)"])
def test_name_of_another_object_is_not_used(own: psycopg.Connection, other: LiteralString) -> None:
    own.execute("CREATE TABLE other (id INT8)")
    own.execute(sql.SQL(other).format(sql.Identifier(NAME)))
    before = oid(own)
    with opened(own) as database:
        index = vector_index(database)
        assert index.build()
        assert index.name != NAME
        assert vector_index(database).name == index.name
        assert not vector_index(database).build()
        assert list(index.existing()) == [index.name]
    assert oid(own) == before


def test_too_many_dimensions_are_rejected_before_any_change(own: psycopg.Connection) -> None:
    own.execute("ALTER TABLE passage ALTER COLUMN passage_vector TYPE VECTOR(2001) USING NULL")
    with (
        opened(own) as database,
        pytest.raises(TableError, match="at most 2000 dimensions, and the model's vectors have 2001"),
    ):
        vector_index(database, dim=2_001).build()
    assert oid(own) is None


def test_cluster_before_25_4_is_rejected_before_any_change(own: psycopg.Connection) -> None:
    with opened(own) as database:
        database.dialect = CockroachDialect(250300)
        with pytest.raises(TableError, match=r"^This cluster runs CockroachDB 25\.3; before 25\.4 its vector index is"):
            vector_index(database).build()
    assert oid(own) is None


@pytest.mark.parametrize(
    ("index", "in_description"),
    [
        # The description of the other job contains this name as a part of words.
        ("i", "i"),
        ("passage_of_a_long_book_passage_vector_index", "passage_of_a_long_book_passage_vector_index"),
        ('a "quoted" index of some length', '"a ""quoted"" index of some length"'),
    ],
)
@pytest.mark.parametrize(("status", "expected"), [("running", [(0.5,)]), ("succeeded", [])])
def test_running_build_on_cockroachdb_is_found_by_its_whole_description(
    own: psycopg.Connection, index: str, in_description: str, status: str, expected: list[tuple[float]]
) -> None:
    create_jobs(own)
    own.execute(
        "INSERT INTO fake_jobs VALUES (1, 'NEW SCHEMA CHANGE', %s, %s, now(), 0.5), "
        "(2, 'NEW SCHEMA CHANGE', 'CREATE INDEX other ON app.public.passage (year)', 'running', now(), 0.9)",
        (
            f"CREATE VECTOR INDEX IF NOT EXISTS {in_description} ON app.public.passage "
            "(passage_vector vector_cosine_ops) WHERE passage_vector IS NOT NULL",
            status,
        ),
    )
    with opened(own) as database:
        search_like_cockroachdb(database, FakeJobs)
        parameters = {"schema": "public", "table": "passage", "index": index}
        assert database.fetch(index_progress(database.dialect), parameters) == expected
