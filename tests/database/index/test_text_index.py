"""The text index: built once, replaced when its definition changes, never blocking a row that it cannot contain."""

from collections.abc import Iterator

import psycopg
import pytest

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.column import BoundColumn, open_column
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.errors import TableError
from crdbvec_pipelines.database.index.text_document import text_index_name
from crdbvec_pipelines.database.index.text_index import TextIndex
from crdbvec_pipelines.errors import ConfigurationError
from crdbvec_pipelines.search.index_build import CoverageTooLow, build_text_index_when_covered
from tests.support.models import stub
from tests.support.servers import Server
from tests.support.tables import column, create_table
from tests.support.work import embed


def opened(database: Database, **entry: object) -> BoundColumn:
    return open_column(database, spec(**entry), stub("stub_hash"))


def spec(**entry: object) -> VectorColumn:
    return column(**{"model": "stub_hash", "text_index": {}, **entry})


@pytest.fixture
def own_url(postgres: Server) -> Iterator[str]:
    """The URL of a database on PostgreSQL, for tests of what only PostgreSQL has."""
    with postgres.new_database() as url:
        yield url


@pytest.fixture
def own_database(own_url: str) -> Iterator[Database]:
    with Database(own_url) as opened:
        yield opened


@pytest.fixture
def own_connection(own_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(own_url, autocommit=True) as opened:
        yield opened


def test_index_is_built_after_the_backfill_and_once(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["one", "two", None])
    with pytest.raises(CoverageTooLow):
        build_text_index_when_covered(opened(database))
    embed(database, spec())
    assert TextIndex(opened(database)).state == "not built"
    assert build_text_index_when_covered(opened(database))
    assert not build_text_index_when_covered(opened(database))
    assert TextIndex(opened(database)).state == "built"
    assert TextIndex(opened(database, text_index=None)).state == "none"


def test_another_language_replaces_the_index(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["one"])
    TextIndex(opened(database)).build()
    first = TextIndex(opened(database)).name
    german = opened(database, text_index={"language": "german"})
    assert TextIndex(german).state == "differs"
    assert TextIndex(german).build()
    assert TextIndex(german).name not in (None, first)
    assert TextIndex(opened(database)).state == "differs"


def test_index_of_a_renamed_table_is_kept(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["one"])
    TextIndex(opened(database)).build()
    connection.execute("ALTER TABLE passage RENAME TO renamed")
    assert not TextIndex(opened(database, table="renamed")).build()


def test_what_a_failed_build_has_left_is_replaced(own_database: Database, own_connection: psycopg.Connection) -> None:
    create_table(own_connection, texts=["one"])
    bound = opened(own_database)
    TextIndex(bound).build()
    name = text_index_name(bound)
    own_connection.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s::regclass", (name,))
    assert TextIndex(bound).state == "differs"
    assert TextIndex(bound).build()
    assert TextIndex(bound).name == name


def test_rows_longer_than_the_server_can_index_can_still_be_inserted(
    database: Database, connection: psycopg.Connection
) -> None:
    create_table(connection, texts=["one"])
    TextIndex(opened(database)).build()
    words = " ".join(f"\U0001f418word-{number:06x}-x{number:06d}" for number in range(80_000))
    connection.execute("UPDATE passage SET passage = %s", (words,))
    assert connection.execute("SELECT length(passage) > 1000000 FROM passage").fetchall() == [(True,)]


def test_index_of_a_partitioned_table_consists_of_those_of_its_partitions(
    own_database: Database, own_connection: psycopg.Connection
) -> None:
    own_connection.execute("CREATE TABLE passage (id INT8 PRIMARY KEY, passage TEXT) PARTITION BY RANGE (id)")
    own_connection.execute("CREATE TABLE low PARTITION OF passage FOR VALUES FROM (0) TO (100)")
    own_connection.execute("CREATE TABLE high PARTITION OF passage FOR VALUES FROM (100) TO (200)")
    bound = opened(own_database)
    assert TextIndex(bound).build()
    assert TextIndex(bound).state == "built"
    found = own_connection.execute("SELECT count(*) FROM pg_index WHERE indexprs IS NOT NULL AND indisvalid")
    assert found.fetchall() == [(3,)]


def test_input_without_a_text_and_entry_without_text_index_are_rejected(
    database: Database, connection: psycopg.Connection
) -> None:
    connection.execute("CREATE TABLE passage (id INT8 PRIMARY KEY, passage BYTEA)")
    with pytest.raises(TableError, match=r"no input column of .* is a text"):
        TextIndex(opened(database)).build()
    with pytest.raises(ConfigurationError, match="has no text_index"):
        TextIndex(opened(database, text_index=None)).build()
