"""While a vector index has to be kept up, writes go in the server's small groups."""

import copy
from collections.abc import Sequence

import numpy as np
import psycopg
import pytest

from crdbvec_pipelines.database.connection import Database, Parameters
from crdbvec_pipelines.database.row_statements import Pass
from crdbvec_pipelines.database.statement import Statement
from crdbvec_pipelines.database.vector_index import VectorIndex
from crdbvec_pipelines.keyspace import KeyRange
from tests.support.models import STUB_DIM
from tests.support.pretence import Pretence
from tests.support.servers import Server
from tests.support.tables import column, create_table
from tests.support.work import prepare

SPEC = column(model="stub_hash", index={"metric": "cosine"})
NAME = "passage_passage_vector_index"
ROWS = 700


class Watched(Database):
    """Notes how many rows each group of writes had."""

    groups: list[int]

    def execute_many(self, statement: Statement, parameters: Sequence[Parameters]) -> int:
        self.groups.append(len(parameters))
        return super().execute_many(statement, parameters)


def write_all(database: Watched) -> list[int]:
    """Writes a vector for every pending row; the groups that it went in."""
    database.groups = []
    rows = prepare(database, SPEC)
    pending = rows.read(KeyRange(), Pass("missing"), None, ROWS)
    assert len(pending) == ROWS
    assert rows.write(pending, np.ones((ROWS, STUB_DIM), np.float32)) == ROWS
    return database.groups


@pytest.fixture
def prepared(url: str, connection: psycopg.Connection) -> str:
    create_table(connection, texts=[f"text {number}" for number in range(ROWS)])
    with Database(url) as database:
        prepare(database, SPEC)
    return url


def test_without_an_index_a_group_is_as_large_as_the_server_likes(prepared: str) -> None:
    with Watched(prepared) as database:
        assert write_all(database)[0] == database.dialect.rows_per_write[0]


def test_with_an_index_it_is_small_from_the_first_one_on(prepared: str) -> None:
    with Watched(prepared) as database:
        VectorIndex(database, prepare(database, SPEC).table, SPEC, "cosine", STUB_DIM).build()
        start, largest = database.dialect.vectors.rows_per_indexed_write
        groups = write_all(database)
        assert groups[0] == start
        assert max(groups) <= largest
        assert sum(groups) == ROWS


def test_on_cockroachdb_it_is_never_more_than_ten_rows(postgres: Server) -> None:
    with postgres.new_database() as url, psycopg.connect(url, autocommit=True) as connection:
        create_table(connection, texts=[f"text {number}" for number in range(ROWS)])
        with Watched(url) as database:
            VectorIndex(database, prepare(database, SPEC).table, SPEC, "cosine", STUB_DIM).build()
            # CockroachDB's groups, sent to PostgreSQL; all else stays PostgreSQL's.
            database.dialect = copy.copy(database.dialect)
            database.dialect.vectors = Pretence({NAME: []})
            groups = write_all(database)
            assert groups[0] == 5
            assert max(groups) <= 10
            assert len(groups) >= ROWS / 10
