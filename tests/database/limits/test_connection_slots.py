"""Connections over several processes: never more than allowed, shared with a process that waits, and returned."""

import threading
import time
from collections.abc import Iterator

import psycopg
import pytest

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.limits.connection_slots import ConnectionSlots
from crdbvec_pipelines.database.permits import Permits
from tests.support.tables import INT_SHAPE, column, create_table
from tests.support.waiting import wait_until
from tests.support.work import embed, prepared

NEVER = 3_600.0


@pytest.fixture
def spec(database: Database, connection: psycopg.Connection) -> VectorColumn:
    create_table(connection, INT_SHAPE, [f"text {number}" for number in range(20)])
    prepared(database, column(model="stub_hash"))
    return column(max_connections=4, model="stub_hash")


@pytest.fixture
def other(url: str) -> Iterator[Database]:
    """The database as another process has it."""
    with Database(url) as opened:
        yield opened


def held(connection: psycopg.Connection) -> int:
    row = connection.execute("SELECT count(*) FROM crdbvec_connections WHERE expires_at > now()").fetchone()
    assert row is not None
    return int(row[0])


def test_a_process_takes_what_is_free_and_returns_it(
    url: str, spec: VectorColumn, connection: psycopg.Connection
) -> None:
    with Database(url) as database:
        limited = prepared(database, spec).database
        assert limited is not database
        # A second column of the table shares them.
        assert prepared(database, spec).database is limited
        assert held(connection) == 4
    assert held(connection) == 0


def test_a_process_that_waits_is_given_half(
    database: Database, other: Database, spec: VectorColumn, connection: psycopg.Connection
) -> None:
    first, second = (ConnectionSlots(each, spec.table, 4, NEVER) for each in (database, other))
    first.open()
    assert first.count == 4
    waiting = threading.Thread(target=second.open)
    waiting.start()
    wait_until(lambda: connection.execute("SELECT wanted_until > now() FROM crdbvec_limits").fetchone() == (True,))
    first.renew()
    waiting.join()
    assert (first.count, second.count, held(connection)) == (2, 2, 4)


def test_free_connections_are_taken_at_the_next_renewal(
    database: Database, url: str, spec: VectorColumn, connection: psycopg.Connection
) -> None:
    slots = ConnectionSlots(database, spec.table, 4, NEVER)
    with Database(url) as other:
        ConnectionSlots(other, spec.table, 3, NEVER).open()
        slots.open()
        assert slots.count == 1
    slots.renew()
    assert (slots.count, held(connection)) == (4, 4)


def test_connections_of_an_ended_process_expire(
    database: Database, other: Database, spec: VectorColumn, connection: psycopg.Connection
) -> None:
    ConnectionSlots(other, spec.table, 4, NEVER).open()
    connection.execute("UPDATE crdbvec_connections SET expires_at = now() - interval '1 second'")
    slots = ConnectionSlots(database, spec.table, 4, NEVER)
    slots.open()
    assert (slots.count, held(connection)) == (4, 4)


def test_a_limited_database_has_no_more_statements_in_flight(
    database: Database, connection: psycopg.Connection
) -> None:
    permits = Permits(3)
    most, used, lock = 0, 0, threading.Lock()

    def work() -> None:
        nonlocal most, used
        for _ in range(20):
            with permits:
                with lock:
                    used += 1
                    most = max(most, used)
                time.sleep(0.001)
                with lock:
                    used -= 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    permits.set(2)
    with lock:
        assert used <= 2
        most = used
    for thread in threads:
        thread.join()
    assert most <= 2


def test_a_column_is_embedded_with_one_connection(url: str, spec: VectorColumn) -> None:
    with Database(url) as database:
        report = embed(database, column(max_connections=1, batch_size=2, model="stub_hash"), workers=2)
    assert report.rows_embedded == 20
