"""A followed table that is replaced: it is prepared again, or waited for; the process does not end."""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import sql

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.rows.vector_rows import VectorRows
from crdbvec_pipelines.errors import CrdbvecError
from crdbvec_pipelines.keyspace import KeyRange
from crdbvec_pipelines.refresh.follower import FollowedColumn, Follower
from tests.support.models import registry
from tests.support.tables import INT_SHAPE, column, create_table, insert_rows, vectors
from tests.support.waiting import wait_until
from tests.support.work import embed, prepare


class Following(threading.Thread):
    """A follower in a thread, as the command line starts it."""

    def __init__(self, database: Database, spec: VectorColumn, max_idle: float | None) -> None:
        super().__init__()
        self.stop = threading.Event()
        self.error: CrdbvecError | None = None

        def prepared() -> tuple[VectorRows, Sequence[KeyRange]]:
            return prepare(database, spec), ()

        rows, ranges = prepared()
        followed = FollowedColumn(rows, registry().load(spec.model), ranges, prepared)
        self._follower = Follower([followed], stop=self.stop, max_idle=max_idle)

    def run(self) -> None:
        try:
            self._follower.run()
        except CrdbvecError as error:
            self.error = error


@contextmanager
def following(database: Database, max_idle: float | None = None) -> Iterator[Following]:
    thread = Following(database, column(model="stub_hash"), max_idle)
    thread.start()
    try:
        yield thread
    finally:
        thread.stop.set()
        thread.join()


def embedded(connection: psycopg.Connection) -> int:
    """Return the number of rows with a vector; 0 while the table has no vector column."""
    try:
        return sum(vector is not None for vector in vectors(connection).values())
    except (psycopg.errors.UndefinedColumn, psycopg.errors.UndefinedTable):
        return 0


def test_table_that_is_dropped_and_created_again_is_embedded_again(
    database: Database, connection: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    create_table(connection, texts=["one", "two"])
    with following(database) as follower:
        wait_until(lambda: embedded(connection) == 2)
        with connection.transaction():
            connection.execute("DROP TABLE passage")
            create_table(connection, texts=["three", "four", "five"])
        wait_until(lambda: embedded(connection) == 3)
        insert_rows(connection, INT_SHAPE, {9: "nine"})
        wait_until(lambda: embedded(connection) == 4)
        assert follower.is_alive()
    assert follower.error is None
    assert "public.passage was replaced and has been prepared again." in caplog.messages


def test_table_without_a_primary_key_is_waited_for_with_one_line(
    database: Database, connection: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    """As `DataFrame.to_sql(if_exists="replace")` creates it, before ALTER TABLE adds the key."""
    create_table(connection, texts=["one"])
    with caplog.at_level(logging.WARNING), following(database):
        wait_until(lambda: embedded(connection) == 1)
        with connection.transaction():
            connection.execute("DROP TABLE passage")
            connection.execute("CREATE TABLE passage (id BIGINT, passage TEXT)")
            connection.execute("INSERT INTO passage VALUES (1, 'a'), (2, 'b')")
        wait_until(lambda: any("has no primary key" in message for message in caplog.messages))
        threading.Event().wait(3)
        connection.execute("ALTER TABLE passage ADD PRIMARY KEY (id)")
        wait_until(lambda: embedded(connection) == 2)
    waiting = [message for message in caplog.messages if message.endswith("The process waits for the table.")]
    assert len(waiting) == 1


def test_missing_table_is_waited_for(
    database: Database, connection: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    create_table(connection, texts=["one"])
    with caplog.at_level(logging.WARNING), following(database):
        wait_until(lambda: embedded(connection) == 1)
        connection.execute("DROP TABLE passage")
        wait_until(lambda: any("There is no table public.passage" in message for message in caplog.messages))
        create_table(connection, texts=["two", "three"])
        wait_until(lambda: embedded(connection) == 2)


def test_table_that_stays_missing_ends_an_idle_follower_with_its_error(
    database: Database, connection: psycopg.Connection
) -> None:
    create_table(connection, texts=["one"])
    with following(database, max_idle=2) as follower:
        wait_until(lambda: embedded(connection) == 1)
        connection.execute("DROP TABLE passage")
        follower.join(60)
    assert "There is no table public.passage" in str(follower.error)


def test_key_of_another_type_is_no_obstacle(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=[f"text {number}" for number in range(30)])
    with following(database):
        wait_until(lambda: embedded(connection) == 30)
        with connection.transaction():
            connection.execute("DROP TABLE passage")
            connection.execute("CREATE TABLE passage (id TEXT PRIMARY KEY, passage TEXT)")
            connection.execute("INSERT INTO passage SELECT 'k' || n, 'text ' || n FROM generate_series(1, 20) AS n")
        wait_until(lambda: embedded(connection) == 20)
        connection.execute("INSERT INTO passage VALUES ('new', 'new')")
        wait_until(lambda: embedded(connection) == 21)


def test_table_that_takes_the_name_is_followed(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["one"])
    create_table(connection, texts=["two", "three"], table=sql.Identifier("public", "passage_new"))
    with following(database):
        wait_until(lambda: embedded(connection) == 1)
        with connection.transaction():
            connection.execute("ALTER TABLE passage RENAME TO passage_old")
            connection.execute("ALTER TABLE passage_new RENAME TO passage")
        wait_until(lambda: embedded(connection) == 2)
        assert pending_index_tables(connection) == ["passage", "passage_old"]


def test_changed_column_of_the_same_table_still_ends_the_process(
    database: Database, connection: psycopg.Connection
) -> None:
    create_table(connection, texts=["one"])
    with following(database) as follower:
        wait_until(lambda: embedded(connection) == 1)
        connection.execute("ALTER TABLE passage DROP COLUMN passage_vector")
        follower.join(60)
    assert "passage_vector" in str(follower.error)
    embed(database, column(model="stub_hash"))


def pending_index_tables(connection: psycopg.Connection) -> list[str]:
    found = connection.execute("SELECT tablename FROM pg_indexes WHERE indexdef LIKE '%IS NULL%' ORDER BY tablename")
    return [str(name) for (name,) in found.fetchall()]
