"""A table with vectors for the tests of the vector index."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from crdbvec_pipelines.database.connection import Database
from tests.support.servers import Server
from tests.support.vectors import create, entries, random_vectors, without_vectors

ROWS = without_vectors(entries([*random_vectors(300)]), 3, 33)
NAME = "passage_passage_vector_index"


@pytest.fixture
def filled(connection: psycopg.Connection) -> psycopg.Connection:
    create(connection, ROWS)
    return connection


@pytest.fixture
def own(postgres: Server) -> Iterator[psycopg.Connection]:
    """A filled database on PostgreSQL, for tests of what only PostgreSQL does."""
    with postgres.new_database() as url, psycopg.connect(url, autocommit=True) as opened:
        create(opened, ROWS)
        yield opened


@contextmanager
def opened(connection: psycopg.Connection) -> Iterator[Database]:
    """Open the database that a connection is connected to."""
    with Database(connection.info.dsn) as database:
        yield database


def oid(connection: psycopg.Connection, name: str = NAME) -> int | None:
    found = connection.execute("SELECT oid FROM pg_class WHERE relname = %s", (name,)).fetchone()
    return None if found is None else int(found[0])
