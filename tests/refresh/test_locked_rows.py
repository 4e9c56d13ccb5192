"""Rows that an application has locked: no other row waits for them, and the application never waits for a refresh."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import LiteralString

import numpy as np
import psycopg
import pytest

from crdbvec_pipelines.database.connection import Database, Parameters, Row
from crdbvec_pipelines.database.dialects.vector_support import Settings
from crdbvec_pipelines.database.statement import Statement
from crdbvec_pipelines.keyspace import KeyRange
from crdbvec_pipelines.refresh.completion import complete_range
from crdbvec_pipelines.refresh.follower import FollowedColumn, Follower
from crdbvec_pipelines.refresh.options import RefreshOptions
from crdbvec_pipelines.refresh.report import RefreshReport, WrittenBatch
from tests.support.models import CallLog, registry, stub, stub_vector
from tests.support.servers import Server
from tests.support.tables import INT_SHAPE, column, create_table, insert_rows, set_text, vectors
from tests.support.waiting import wait_until
from tests.support.work import embed, prepare

ROWS = 100
# Longer than any test waits: the refresh ends because the rows are free.
PATIENT = 300.0


@pytest.fixture
def application(url: str) -> Iterator[psycopg.Connection]:
    """A connection of an application, whose transaction stays open until the test ends it."""
    with psycopg.connect(url) as opened:
        yield opened
        opened.rollback()


@contextmanager
def embedding(database: Database, **options: object) -> Iterator["Future[RefreshReport]"]:
    """Embed in a thread; if the test fails, the refresh stops."""
    stop = threading.Event()
    spec = column()
    prepare(database, spec)
    with ThreadPoolExecutor(1) as pool:
        try:
            given = {"batch_size": 40, "lock_wait_seconds": PATIENT, "stop": stop, **options}
            yield pool.submit(lambda: embed(database, spec, **given))  # type: ignore[arg-type]
        finally:
            stop.set()


def texts(count: int = ROWS) -> list[str | None]:
    return [f"text {number}" for number in range(count)]


def embedded(connection: psycopg.Connection) -> set[int]:
    """Return the numbers of the rows with a vector."""
    written = vectors(connection)
    return {number for number in range(len(written)) if written[INT_SHAPE.key(number)] is not None}


def lock(application: psycopg.Connection, *numbers: int, how: LiteralString = "FOR UPDATE") -> None:
    keys = [INT_SHAPE.key(number)[0] for number in numbers]
    application.execute("SELECT id FROM passage WHERE id = ANY(%s) ORDER BY id " + how, (keys,))


def lockable(connection: psycopg.Connection) -> int:
    """Return how many rows an application can lock without waiting."""
    with connection.transaction():
        return len(connection.execute("SELECT id FROM passage FOR UPDATE SKIP LOCKED").fetchall())


@pytest.mark.parametrize("locked", [{0}, {50}, {ROWS - 1}, set(range(3, ROWS, 5)), set(range(ROWS - 1))])
def test_other_rows_are_embedded_and_free_while_rows_are_locked(
    database: Database,
    connection: psycopg.Connection,
    application: psycopg.Connection,
    calls: CallLog,
    locked: set[int],
) -> None:
    create_table(connection, texts=texts())
    prepare(database, column())
    lock(application, *locked)
    with embedding(database) as refreshing:
        wait_until(lambda: embedded(connection) == set(range(ROWS)) - locked)
        assert lockable(connection) == ROWS - len(locked)
        assert not refreshing.done()
        application.rollback()
        report = refreshing.result()
    assert (report.rows_read, report.rows_embedded, report.rows_changed, report.rows_locked) == (ROWS, ROWS, 0, 0)
    assert report.rows_failed == 0
    assert embedded(connection) == set(range(ROWS))
    assert sorted(calls.inputs()) == sorted(f"text {number}" for number in range(ROWS))


@pytest.fixture
def locked_first(
    database: Database, connection: psycopg.Connection, application: psycopg.Connection
) -> psycopg.Connection:
    """A prepared table of which the application has locked the row 7."""
    create_table(connection, texts=texts())
    prepare(database, column())
    lock(application, 7)
    return application


def test_row_that_the_application_has_edited_stays_pending(
    database: Database, connection: psycopg.Connection, application: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=texts())
    prepare(database, column())
    set_text(application, INT_SHAPE, 7, "edited")
    with embedding(database) as refreshing:
        wait_until(lambda: len(embedded(connection)) == ROWS - 1)
        application.commit()
        report = refreshing.result()
    assert (report.rows_embedded, report.rows_changed, report.rows_locked) == (ROWS - 1, 1, 0)
    assert embed(database, column()).rows_embedded == 1
    written = vectors(connection)[INT_SHAPE.key(7)]
    assert written is not None
    assert np.array_equal(written, stub_vector("edited"))


def test_row_that_the_application_has_deleted_is_changed(
    database: Database, connection: psycopg.Connection, application: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=texts())
    prepare(database, column())
    application.execute("DELETE FROM passage WHERE passage IN ('text 7', 'text 70')")
    with embedding(database) as refreshing:
        wait_until(lambda: len([vector for vector in vectors(connection).values() if vector is not None]) == ROWS - 2)
        application.commit()
        report = refreshing.result()
    assert (report.rows_embedded, report.rows_changed, report.rows_locked) == (ROWS - 2, 2, 0)


def test_deleted_row_is_not_waited_for_next_to_a_locked_one(
    database: Database, connection: psycopg.Connection, locked_first: psycopg.Connection, calls: CallLog
) -> None:
    rows = prepare(database, column())
    pending = rows.read(KeyRange(), rows.all_passes[0], None, ROWS)
    connection.execute("DELETE FROM passage WHERE passage = 'text 20'")
    written = rows.write(pending, np.stack([stub_vector(row.input) for row in pending]), one_by_one=True)
    assert written.rows == ROWS - 2
    assert [pending[position].input for position in written.locked] == ["text 7"]


def test_row_that_stays_locked_is_pending_and_not_failed(
    database: Database, connection: psycopg.Connection, locked_first: psycopg.Connection, calls: CallLog
) -> None:
    batches: list[WrittenBatch] = []
    report = embed(database, column(), lock_wait_seconds=0.2, on_batch=batches.append)
    assert (report.rows_embedded, report.rows_locked, report.rows_failed) == (ROWS - 1, 1, 0)
    assert [batch.locked for batch in batches] == [{INT_SHAPE.key(7)}]
    rows = prepare(database, column())
    assert rows.errors.count().total == 0
    assert rows.count(KeyRange()).pending == 1
    locked_first.rollback()
    assert embed(database, column()).rows_embedded == 1


def test_range_with_a_row_that_stays_locked_is_not_done(
    database: Database, connection: psycopg.Connection, locked_first: psycopg.Connection, calls: CallLog
) -> None:
    options = RefreshOptions(batch_size=40, lock_wait_seconds=0.2)
    done = complete_range(prepare(database, column()), stub(), KeyRange(), options)
    assert (done.is_done, done.rows_locked, done.state.pending) == (False, 1, 1)
    locked_first.rollback()
    done = complete_range(prepare(database, column()), stub(), KeyRange(), options)
    assert (done.is_done, done.rows_locked, done.state.pending) == (True, 0, 0)


def test_refresh_that_is_stopped_does_not_wait_for_locked_rows(
    database: Database, connection: psycopg.Connection, locked_first: psycopg.Connection, calls: CallLog
) -> None:
    stop = threading.Event()
    with embedding(database, stop=stop) as refreshing:
        wait_until(lambda: len(embedded(connection)) == ROWS - 1)
        stop.set()
        assert refreshing.result().rows_locked == 1


def test_late_rows_are_reported_as_a_batch_without_their_inputs(
    database: Database, connection: psycopg.Connection, locked_first: psycopg.Connection, calls: CallLog
) -> None:
    batches: list[WrittenBatch] = []
    with embedding(database, on_batch=batches.append) as refreshing:
        wait_until(lambda: len(embedded(connection)) == ROWS - 1)
        locked_first.rollback()
        assert refreshing.result().batches == 3
    assert [batch.is_late for batch in batches] == [False, False, False, True]
    assert sum(batch.embedded for batch in batches) == ROWS
    assert [(row.key, row.input) for row in batches[-1].rows] == [(INT_SHAPE.key(7), None)]


def test_vectors_of_other_blank_rows_are_cleared_while_one_is_locked(
    database: Database, connection: psycopg.Connection, application: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=texts())
    embed(database, column())
    connection.execute("UPDATE passage SET passage = ' ' WHERE passage <> 'text 0'")
    lock(application, 50)
    with embedding(database) as refreshing:
        wait_until(lambda: embedded(connection) == {0, 50})
        assert lockable(connection) == ROWS - 1
        application.rollback()
        report = refreshing.result()
    assert (report.rows_cleared, report.rows_locked) == (ROWS - 1, 0)
    assert embedded(connection) == {0}


def test_blank_row_that_stays_locked_is_reported(
    database: Database, connection: psycopg.Connection, application: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=texts())
    embed(database, column())
    connection.execute("UPDATE passage SET passage = NULL")
    lock(application, 50)
    report = embed(database, column(), lock_wait_seconds=0.2)
    assert (report.rows_cleared, report.rows_locked) == (ROWS - 1, 1)


def lock_table(application: psycopg.Connection) -> None:
    application.execute("LOCK TABLE passage IN SHARE MODE")


def lock_row_of_a_trigger(application: psycopg.Connection) -> None:
    application.execute("SELECT 1 FROM counter FOR UPDATE")


@pytest.mark.parametrize("take_lock", [lock_table, lock_row_of_a_trigger])
def test_lock_that_cannot_be_skipped_is_waited_for_without_holding_rows(
    postgres: Server, calls: CallLog, take_lock: Callable[[psycopg.Connection], None]
) -> None:
    with (
        postgres.new_database() as url,
        Database(url) as database,
        psycopg.connect(url, autocommit=True) as connection,
        psycopg.connect(url) as application,
    ):
        create_table(connection, texts=texts())
        prepare(database, column())
        connection.execute("CREATE TABLE counter (updates INT8)")
        connection.execute("INSERT INTO counter VALUES (0)")
        connection.execute(
            "CREATE FUNCTION increment() RETURNS TRIGGER LANGUAGE plpgsql AS "
            "$$ BEGIN UPDATE counter SET updates = updates + 1; RETURN NEW; END $$"
        )
        connection.execute(
            "CREATE TRIGGER increment BEFORE UPDATE ON passage FOR EACH ROW EXECUTE FUNCTION increment()"
        )
        take_lock(application)
        with embedding(database) as refreshing:
            wait_until(lambda: len(calls.inputs()) == ROWS)
            with connection.transaction():
                connection.execute("SELECT id FROM passage WHERE passage = 'text 99' FOR UPDATE")
            application.rollback()
            report = refreshing.result()
        assert (report.rows_embedded, report.rows_locked, report.rows_failed) == (ROWS, 0, 0)


def test_row_to_which_a_foreign_key_is_added_is_not_locked(postgres: Server, calls: CallLog) -> None:
    with (
        postgres.new_database() as url,
        Database(url) as database,
        psycopg.connect(url, autocommit=True) as connection,
        psycopg.connect(url) as application,
    ):
        create_table(connection, texts=texts())
        prepare(database, column())
        connection.execute("CREATE TABLE note (id INT8 REFERENCES passage)")
        application.execute("INSERT INTO note VALUES (%s)", INT_SHAPE.key(3))
        lock(application, 7)
        report = embed(database, column(), lock_wait_seconds=0.2)
        assert (report.rows_embedded, report.rows_locked) == (ROWS - 1, 1)
        assert embedded(connection) == set(range(ROWS)) - {7}


def test_follower_embeds_new_rows_while_a_row_is_locked(
    database: Database, connection: psycopg.Connection, locked_first: psycopg.Connection, calls: CallLog
) -> None:
    stop = threading.Event()
    followed = FollowedColumn(prepare(database, column()), registry().load("stub_counting"))
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(Follower([followed], stop=stop).run)
        try:
            wait_until(lambda: len(embedded(connection)) == ROWS - 1)
            insert_rows(connection, INT_SHAPE, {ROWS: "new"})
            wait_until(lambda: ROWS in embedded(connection))
            locked_first.rollback()
            wait_until(lambda: 7 in embedded(connection))
        finally:
            stop.set()
        assert following.result().rows_embedded == ROWS + 1
    # The locked row was read in several rounds and encoded once.
    assert calls.inputs().count("text 7") == 1


def test_follower_that_finds_only_a_locked_row_ends_when_it_is_idle(
    database: Database, connection: psycopg.Connection, locked_first: psycopg.Connection, calls: CallLog
) -> None:
    followed = FollowedColumn(prepare(database, column()), registry().load("stub_counting"))
    report = Follower([followed], stop=threading.Event(), max_idle=0.5).run()
    assert report.rows_embedded == ROWS - 1
    assert report.rows_locked > 0


def test_slow_server_is_not_taken_for_locked_rows(
    database: Database, connection: psycopg.Connection, calls: CallLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_table(connection, texts=texts(10))
    rows = prepare(database, column())
    pending = rows.read(KeyRange(), rows.all_passes[0], None, ROWS)
    connection.execute(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN PERFORM pg_catalog.pg_sleep(0.11); RETURN NEW; END'"
    )
    connection.execute("CREATE TRIGGER slow BEFORE UPDATE ON passage FOR EACH ROW EXECUTE FUNCTION slow()")
    skipping: list[int] = []
    write_unlocked = database.fetch_each

    def counted(statement: Statement, parameters: Sequence[Parameters], settings: Settings) -> Sequence[Row]:
        skipping.append(len(parameters))
        return write_unlocked(statement, parameters, settings)

    monkeypatch.setattr(database, "fetch_each", counted)
    vectors_of_rows = np.stack([stub_vector(row.input) for row in pending])
    written = [rows.write(pending[n : n + 1], vectors_of_rows[n : n + 1]) for n in range(len(pending))]
    assert [each.rows for each in written] == [1] * len(pending)
    # One group finds out that no row is locked.
    assert skipping == [1]
