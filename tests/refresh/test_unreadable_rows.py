"""Rows that cannot be read: they are found, recorded as failed with a reason, and do not block other rows."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import sql

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.errors import DatabaseError, is_unreadable_row
from crdbvec_pipelines.database.rows import pending_reasons
from crdbvec_pipelines.database.rows.pending_reasons import sample_inputs
from crdbvec_pipelines.database.rows.predicates import Pass
from crdbvec_pipelines.keyspace import KeyRange
from crdbvec_pipelines.refresh.completion import complete_range
from crdbvec_pipelines.refresh.engine import refresh
from crdbvec_pipelines.refresh.options import RefreshOptions
from tests.support.models import CallLog, stub
from tests.support.servers import Server
from tests.support.tables import column
from tests.support.work import embed, prepare, prepared

NO_ENCODING = "The database could not read the row: SQLSTATE 22021."
NO_PYTHON = "Python cannot represent a value of the row, such as an infinite date or one before the year 1."


@contextmanager
def sql_ascii_database(postgres: Server) -> Iterator[str]:
    """Create a database that stores bytes of any encoding as text, and yield its URL."""
    name = sql.Identifier("crdbvec_sql_ascii")
    with psycopg.connect(postgres.url, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {} ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0").format(name))
        try:
            yield postgres.url_of("crdbvec_sql_ascii")
        finally:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


def count(connection: psycopg.Connection) -> int:
    row = connection.execute("SELECT count(*) FROM passage WHERE passage_vector IS NOT NULL").fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.parametrize("batch_size", [1, 7, 64])
@pytest.mark.parametrize("bad", [{1}, {30}, {60}, {1, 2, 3, 31, 59, 60}], ids=str)
def test_text_in_another_encoding_is_a_failed_row(
    postgres: Server, calls: CallLog, bad: set[int], batch_size: int
) -> None:
    with (
        sql_ascii_database(postgres) as url,
        Database(url) as database,
        psycopg.connect(url, autocommit=True) as connection,
    ):
        connection.execute("CREATE TABLE passage (id INT8 PRIMARY KEY, passage TEXT)")
        connection.execute("INSERT INTO passage SELECT n, 'text ' || n FROM generate_series(1, 60) AS n")
        connection.execute(
            r"UPDATE passage SET passage = convert_from('\x636166e9', 'SQL_ASCII') WHERE id = ANY(%s)", (list(bad),)
        )
        report = embed(database, column(), batch_size=batch_size)
        assert (report.rows_read, report.rows_embedded, report.rows_failed) == (60, 60 - len(bad), len(bad))
        rows = prepare(database, column())
        errors = rows.errors.list(100)
        assert {tuple(error.key) for error in errors} == {(key,) for key in bad}
        assert {(error.status, error.message) for error in errors} == {("rejected", NO_ENCODING)}
        assert sorted(calls.inputs()) == sorted(f"text {key}" for key in set(range(1, 61)) - bad)
        # They are deferred, and an edit makes them pending at once.
        assert embed(database, column(), batch_size=batch_size).rows_read == 0
        connection.execute("UPDATE passage SET passage = 'corrected ' || id WHERE id = ANY(%s)", (list(bad),))
        assert embed(database, column(), batch_size=batch_size).rows_embedded == len(bad)
        assert rows.errors.count().total == 0


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("DATE", "2026-01-31", ["infinity", "-infinity", "0044-03-15 BC", "10000-01-01"]),
        ("TIMESTAMP", "2026-01-31 10:00", ["infinity", "0044-03-15 12:00 BC"]),
        ("TIMESTAMPTZ", "2026-01-31 10:00+00", ["-infinity", "12000-01-01 00:00+00"]),
        ("TIME", "10:00", ["24:00:00"]),
    ],
)
def test_key_that_python_cannot_represent_is_a_failed_row(
    postgres: Server, calls: CallLog, kind: str, good: str, bad: list[str]
) -> None:
    with (
        postgres.new_database() as url,
        Database(url) as database,
        psycopg.connect(url, autocommit=True) as connection,
    ):
        key = sql.SQL(kind)
        connection.execute(
            sql.SQL("CREATE TABLE passage (day {}, number INT8, passage TEXT, PRIMARY KEY (day, number))").format(key)
        )
        insert = sql.SQL("INSERT INTO passage VALUES (%s::{}, %s, %s)").format(key)
        for number, value in enumerate([good, *bad] * 5):
            connection.execute(insert, (value, number, f"text {number}"))
        report = embed(database, column(), batch_size=10)
        assert (report.rows_embedded, report.rows_failed) == (5, 5 * len(bad))
        rows = prepare(database, column())
        assert {error.message for error in rows.errors.list(100)} == {NO_PYTHON}
        listed = connection.execute("SELECT DISTINCT key::jsonb ->> 0 FROM crdbvec_row_errors").fetchall()
        stored = connection.execute(
            sql.SQL("SELECT DISTINCT to_jsonb(day) #>> '{{}}' FROM passage WHERE day <> {}::{}").format(
                sql.Literal(good), key
            )
        ).fetchall()
        assert sorted(listed) == sorted(stored)
        assert embed(database, column(), batch_size=10).rows_read == 0
        done = complete_range(rows, stub(), KeyRange(), RefreshOptions(batch_size=10))
        assert (done.is_done, done.state.failed, done.state.pending) == (True, 5 * len(bad), 0)


def test_input_that_python_cannot_represent_is_a_failed_row(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    connection.execute("CREATE TABLE passage (id INT8 PRIMARY KEY, passage DATE)")
    connection.execute(
        "INSERT INTO passage VALUES (1, '2026-01-31'), (2, 'infinity'), (3, '2026-02-01'), (4, '0001-01-01')"
    )
    report = embed(database, column(model="stub_hash"))
    assert (report.rows_embedded, report.rows_failed) == (3, 1)
    (error,) = prepare(database, column(model="stub_hash")).errors.list(10)
    assert (error.key, error.message) == ([2], NO_PYTHON)


def test_stale_row_that_cannot_be_read_keeps_its_vector(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    connection.execute("CREATE TABLE passage (id INT8 PRIMARY KEY, passage DATE)")
    connection.execute("INSERT INTO passage VALUES (1, '2026-01-31'), (2, '2026-02-01'), (3, '2026-02-02')")
    embed(database, column(model="stub_hash"))
    connection.execute("UPDATE passage SET passage = 'infinity' WHERE id = 2")
    connection.execute("UPDATE passage SET passage = '2026-03-01' WHERE id = 3")
    report = embed(database, column(model="stub_hash"))
    assert (report.rows_embedded, report.rows_failed, count(connection)) == (1, 1, 3)


def test_table_of_which_no_row_can_be_read_ends_the_refresh(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    connection.execute("CREATE TABLE passage (id INT8 PRIMARY KEY, passage DATE)")
    connection.execute("INSERT INTO passage SELECT n, 'infinity' FROM generate_series(1, 1000) AS n")
    with pytest.raises(DatabaseError, match=r"The first 64 rows of public\.passage could not be read"):
        embed(database, column(model="stub_hash"))
    assert prepare(database, column(model="stub_hash")).errors.count().total == 64


def test_error_that_no_row_caused_ends_the_refresh(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    connection.execute("CREATE TABLE passage (id INT8 PRIMARY KEY, passage TEXT)")
    connection.execute("INSERT INTO passage VALUES (1, 'a'), (2, 'b')")
    rows = prepare(database, column())
    embed(database, column())
    connection.execute("ALTER TABLE passage DROP COLUMN passage_vector_fingerprint")
    for limit in (10, 1):
        with pytest.raises(DatabaseError, match="SQLSTATE 42703") as raised:
            rows.read(KeyRange(), Pass("stale"), None, limit)
        assert not is_unreadable_row(raised.value)
    options = RefreshOptions(batch_size=10, passes=[Pass("stale")])
    with pytest.raises(DatabaseError, match="SQLSTATE 42703"):
        refresh(rows, stub(), KeyRange(), options)
    assert rows.errors.count().total == 0


def test_sample_of_an_estimate_leaves_out_what_cannot_be_read(
    database: Database, connection: psycopg.Connection
) -> None:
    connection.execute("CREATE TABLE passage (id INT8 PRIMARY KEY, passage DATE)")
    connection.execute(
        "INSERT INTO passage SELECT n, CASE n WHEN 2 THEN DATE 'infinity' ELSE DATE '2026-01-31' END "
        "FROM generate_series(1, 64) AS n"
    )
    sample = sample_inputs(prepared(database, column(model="stub_hash")), 64)
    assert len(sample) == 32


def test_sample_of_an_estimate_is_limited_by_bytes(
    database: Database, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending_reasons, "_SAMPLE_BYTES", 10_000)
    connection.execute("CREATE TABLE passage (id INT8 PRIMARY KEY, passage TEXT)")
    connection.execute("INSERT INTO passage SELECT n, repeat('x', 3000) FROM generate_series(1, 64) AS n")
    assert len(sample_inputs(prepared(database, column()), 64)) == 3
