"""The sizes of groups of writes: small with a vector index, and not affected by retries of other threads."""

import copy
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import psycopg
import pytest

from crdbvec_pipelines.database.connection import Database, Executed, Parameters, Row
from crdbvec_pipelines.database.dialects.vector_support import Settings
from crdbvec_pipelines.database.index.vector_index import VectorIndex
from crdbvec_pipelines.database.rows import guarded_writes
from crdbvec_pipelines.database.rows.predicates import Pass
from crdbvec_pipelines.database.statement import Statement
from crdbvec_pipelines.keyspace import KeyRange
from tests.support.fake_cockroachdb import FakeCockroachVectors
from tests.support.models import STUB_DIM
from tests.support.servers import Server
from tests.support.statements import create_failing_function, probe
from tests.support.tables import column, create_table
from tests.support.work import prepare, prepared

SPEC = column(model="stub_hash", index={"metric": "cosine"})
NAME = "passage_passage_vector_index"
ROWS = 700


class RecordingDatabase(Database):
    """A database that records how many rows each group of writes has."""

    groups: list[int]

    def execute_many(
        self, statement: Statement, parameters: Sequence[Parameters], settings: Settings | None = None
    ) -> Executed:
        self.groups.append(len(parameters))
        return super().execute_many(statement, parameters, settings)

    def fetch_each(
        self, statement: Statement, parameters: Sequence[Parameters], settings: Settings | None = None
    ) -> list[Row]:
        self.groups.append(len(parameters))
        return super().fetch_each(statement, parameters, settings)


class ConcurrentReader(RecordingDatabase):
    """A database on which another thread reads during each group of writes, and has to retry."""

    def execute_many(
        self, statement: Statement, parameters: Sequence[Parameters], settings: Settings | None = None
    ) -> Executed:
        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(self.fetch, probe("SELECT public.fail_every_second_time()"))
            written = super().execute_many(statement, parameters, settings)
            reading.result()
        return written


def write_all(database: RecordingDatabase) -> list[int]:
    """Write a vector for every pending row, and return the sizes of the groups."""
    database.groups = []
    rows = prepare(database, SPEC)
    pending = rows.read(KeyRange(), Pass("unembedded"), None, ROWS)
    assert len(pending) == ROWS
    assert rows.write(pending, np.ones((ROWS, STUB_DIM), np.float32)).rows == ROWS
    return database.groups


@contextmanager
def indexed_table(postgres: Server, database_class: type[RecordingDatabase]) -> Iterator[RecordingDatabase]:
    """A table with a vector index on PostgreSQL, whose groups of writes have the sizes of CockroachDB."""
    with postgres.new_database() as url, psycopg.connect(url, autocommit=True) as connection:
        create_table(connection, texts=[f"text {number}" for number in range(ROWS)])
        create_failing_function(connection)
        with database_class(url) as database:
            VectorIndex(prepared(database, SPEC)).build()
            # Only the vector support is CockroachDB's; everything else of the dialect stays PostgreSQL's.
            database.dialect = copy.copy(database.dialect)
            database.dialect.vectors = FakeCockroachVectors({NAME: []})
            yield database


@pytest.fixture
def prepared_url(url: str, connection: psycopg.Connection) -> str:
    create_table(connection, texts=[f"text {number}" for number in range(ROWS)])
    with Database(url) as database:
        prepare(database, SPEC)
    return url


def test_first_group_without_an_index_has_the_size_of_the_dialect(prepared_url: str) -> None:
    with RecordingDatabase(prepared_url) as database:
        assert write_all(database)[0] == database.dialect.rows_per_write[0]


def test_groups_with_an_index_are_small_from_the_first_one(prepared_url: str) -> None:
    with RecordingDatabase(prepared_url) as database:
        VectorIndex(prepared(database, SPEC)).build()
        start, largest = database.dialect.vectors.rows_per_indexed_write
        groups = write_all(database)
        assert groups[0] == start
        assert max(groups) <= largest
        assert sum(groups) == ROWS


def test_groups_with_an_index_of_cockroachdb_have_at_most_ten_rows(postgres: Server) -> None:
    with indexed_table(postgres, RecordingDatabase) as database:
        groups = write_all(database)
        assert groups[0] == 5
        assert max(groups) <= 10
        assert len(groups) >= ROWS / 10


def test_retries_of_a_concurrent_reader_do_not_shrink_the_groups(
    postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Every group takes no time, so that only retries could shrink the next one.
    monkeypatch.setattr(guarded_writes, "time", SimpleNamespace(perf_counter=lambda: 0.0))
    with indexed_table(postgres, ConcurrentReader) as database:
        groups = write_all(database)
        assert database.retries == len(groups)
    assert groups == [5, 7, *[10] * 68, 8]
