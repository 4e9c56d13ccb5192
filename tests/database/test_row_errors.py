"""Rows that failed: recorded with growing waits, left alone until then, forgotten when settled."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg import sql

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.row_errors import ErrorClass, ErrorCounts, RowError, RowFailure
from crdbvec_pipelines.database.row_statements import Pass
from crdbvec_pipelines.database.rows import PendingRow, VectorRows
from crdbvec_pipelines.keyspace import KeyRange
from tests.support.models import stub_vector
from tests.support.tables import INT_SHAPE, SHAPES, KeyShape, column, create_table, set_text
from tests.support.work import embed, prepare

MISSING = Pass("missing")


def failures(rows: VectorRows, *texts: str, error_class: ErrorClass = "poison") -> list[RowFailure]:
    """Failures of the pending rows with these texts."""
    return [
        RowFailure(row.key, row.fingerprint, error_class, "The model refused it.")
        for row in pending(rows)
        if row.input in texts
    ]


def pending(rows: VectorRows) -> list[PendingRow]:
    return rows.read(KeyRange(), MISSING, None, 1_000, waiting=False)


def texts_to_do(rows: VectorRows) -> list[str]:
    found = rows.read(KeyRange(), MISSING, None, 1_000, waiting=rows.some_wait())
    return sorted(str(row.input) for row in found)


def wait_of(error: RowError) -> timedelta:
    """Both moments are the server's clock at one statement."""
    return error.next_try - error.last_seen


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_failed_row_leaves_the_pending_set_and_the_others_stay(
    database: Database, connection: psycopg.Connection, shape: KeyShape
) -> None:
    create_table(connection, shape, [f"text {number}" for number in range(40)])
    rows = prepare(database, column())
    rows.errors.record(failures(rows, "text 0", "text 17", "text 39"))
    left = sorted({f"text {number}" for number in range(40)} - {"text 0", "text 17", "text 39"})
    assert texts_to_do(rows) == left
    assert rows.count_missing(1_000) == 37
    assert rows.count(KeyRange()).pending == 37
    assert rows.count(KeyRange()).failed == 3
    assert rows.split(KeyRange(), 4)[0] == 37


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_key_is_listed_and_released_as_it_is(
    database: Database, connection: psycopg.Connection, shape: KeyShape
) -> None:
    create_table(connection, shape, [f"text {number}" for number in range(40)])
    rows = prepare(database, column())
    rows.errors.record(failures(rows, *(f"text {number}" for number in range(40))))
    for number in (0, 7, 39):
        key = shape.key(number)
        assert [str(part) for part in key] in [[str(part) for part in error.key] for error in rows.errors.list(40)]
        # As the command line gives it: all text.
        assert rows.errors.retry([str(part) for part in key]) == 1
    assert texts_to_do(rows) == ["text 0", "text 39", "text 7"]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_settled_rows_are_forgotten_and_the_others_are_not(
    database: Database, connection: psycopg.Connection, shape: KeyShape
) -> None:
    create_table(connection, shape, [f"text {number}" for number in range(20)])
    rows = prepare(database, column())
    rows.errors.record(failures(rows, *(f"text {number}" for number in range(5))))
    by_text = {row.input: row for row in pending(rows)}
    set_text(connection, shape, 1, "another text")
    set_text(connection, shape, 2, None)
    delete_row(connection, shape, 3)
    rows.write([by_text["text 4"]], stub_vector("text 4")[None])
    assert rows.errors.forget_settled(rows.model_id) == 4
    (left,) = rows.errors.list(10)
    assert [str(part) for part in left.key] == [str(part) for part in shape.key(0)]


def test_each_failure_of_one_input_doubles_the_wait_to_a_day_at_most(
    database: Database, connection: psycopg.Connection
) -> None:
    create_table(connection, texts=["a"])
    rows = prepare(database, column())
    failure = failures(rows, "a")
    waits = []
    for _ in range(10):
        rows.errors.record(failure)
        (error,) = rows.errors.list(10)
        waits.append(wait_of(error))
    quarters = [timedelta(minutes=15 * 2**number) for number in range(10)]
    assert waits == [min(wait, timedelta(days=1)) for wait in quarters]
    assert error.attempts == 10


@pytest.mark.parametrize(
    ("error_class", "wait"),
    [("transient", timedelta(minutes=1)), ("poison", timedelta(minutes=15)), ("oversize", timedelta(hours=1))],
)
def test_the_first_wait_depends_on_the_class(
    database: Database, connection: psycopg.Connection, error_class: ErrorClass, wait: timedelta
) -> None:
    create_table(connection, texts=["a"])
    rows = prepare(database, column())
    rows.errors.record(failures(rows, "a", error_class=error_class))
    (error,) = rows.errors.list(10)
    assert (error.error_class, wait_of(error)) == (error_class, wait)


def test_another_input_starts_afresh(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["a"])
    rows = prepare(database, column())
    for _ in range(3):
        rows.errors.record(failures(rows, "a"))
    set_text(connection, INT_SHAPE, 0, "b")
    rows.errors.record(failures(rows, "b"))
    (error,) = rows.errors.list(10)
    assert (error.attempts, wait_of(error)) == (1, timedelta(minutes=15))


def test_an_edited_row_waits_no_longer(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["a", "b"])
    rows = prepare(database, column())
    rows.errors.record(failures(rows, "a"))
    assert texts_to_do(rows) == ["b"]
    set_text(connection, INT_SHAPE, 0, "a, mended")
    assert texts_to_do(rows) == ["a, mended", "b"]


def test_another_model_may_try_at_once(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["a"])
    rows = prepare(database, column())
    rows.errors.record(failures(rows, "a"))
    assert texts_to_do(rows) == []
    assert texts_to_do(prepare(database, column(), model_id="another")) == ["a"]


def test_a_row_comes_back_when_its_wait_is_over(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["a"])
    rows = prepare(database, column())
    rows.errors.record(failures(rows, "a"))
    assert rows.errors.count() == ErrorCounts({"poison": 1}, 1)
    connection.execute("UPDATE crdbvec_row_errors SET next_try = now() - INTERVAL '1 second'")
    assert texts_to_do(rows) == ["a"]
    assert rows.errors.count() == ErrorCounts({"poison": 1}, 0)


def test_all_rows_are_released_at_once(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["a", "b", "c"])
    rows = prepare(database, column())
    rows.errors.record(failures(rows, "a", "c"))
    assert rows.errors.retry() == 2
    assert texts_to_do(rows) == ["a", "b", "c"]


def test_the_list_has_the_latest_first_and_no_more_than_asked_for(
    database: Database, connection: psycopg.Connection
) -> None:
    create_table(connection, texts=["a", "b", "c"])
    rows = prepare(database, column())
    for text in ("b", "a", "c"):
        rows.errors.record(failures(rows, text))
    assert [error.key for error in rows.errors.list(2)] == [[INT_SHAPE.key(2)[0]], [INT_SHAPE.key(0)[0]]]
    assert all(error.first_seen == error.last_seen <= datetime.now(UTC) for error in rows.errors.list(10))


def test_two_columns_of_a_table_have_errors_of_their_own(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["a", "b"])
    one, other = prepare(database, column()), prepare(database, column(output="other"))
    one.errors.record(failures(one, "a"))
    assert (texts_to_do(one), texts_to_do(other)) == (["b"], ["a", "b"])
    assert other.errors.retry() == 0
    embed(database, column(output="other", model="stub_hash"))
    assert one.errors.count().total == 1


def test_a_users_columns_called_as_ours_are_told_apart(database: Database, connection: psycopg.Connection) -> None:
    connection.execute(
        "CREATE TABLE passage (key INT8 PRIMARY KEY, passage TEXT, fingerprint TEXT, message TEXT, "
        "class TEXT, output TEXT, table_name TEXT, next_try TIMESTAMPTZ)"
    )
    connection.execute(
        "INSERT INTO passage SELECT n, 'text ' || n, 'f', 'm', 'c', 'o', 't', '2001-01-01' FROM generate_series(1, 5) n"
    )
    rows = prepare(database, column(model="stub_hash"))
    rows.errors.record(failures(rows, "text 2"))
    assert texts_to_do(rows) == ["text 1", "text 3", "text 4", "text 5"]
    assert embed(database, column(model="stub_hash")).rows_embedded == 4
    assert [error.key for error in rows.errors.list(10)] == [[2]]
    assert rows.errors.retry([2]) == 1
    assert embed(database, column(model="stub_hash")).rows_embedded == 1
    assert rows.errors.list(10) == []


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("BYTEA", b"\x00\xff'\\"),
        ("TIMESTAMPTZ", datetime(2026, 1, 2, 3, 4, 5, 678_901, UTC)),
        ("DATE", datetime(2026, 1, 2, tzinfo=UTC).date()),
        ("NUMERIC", "1.500"),
        ("BOOLEAN", True),
        ("FLOAT8", 0.1),
        ("VARCHAR(20)", "it's \\ 東京"),
    ],
)
def test_a_failed_row_is_known_by_a_key_of_any_type(
    database: Database, connection: psycopg.Connection, kind: str, value: object
) -> None:
    connection.execute(sql.SQL("CREATE TABLE passage (id {} PRIMARY KEY, passage TEXT)").format(sql.SQL(kind)))
    connection.execute(sql.SQL("INSERT INTO passage VALUES (%s::{}, 'a')").format(sql.SQL(kind)), (value,))
    rows = prepare(database, column(model="stub_hash"))
    rows.errors.record(failures(rows, "a"))
    assert texts_to_do(rows) == []
    assert rows.errors.forget_settled(rows.model_id) == 0
    rows.errors.retry()
    assert embed(database, column(model="stub_hash")).rows_embedded == 1
    assert rows.errors.count().total == 0


def delete_row(connection: psycopg.Connection, shape: KeyShape, number: int) -> None:
    tests = sql.SQL(" AND ").join(
        sql.SQL("{} = {}::{}").format(sql.Identifier(name), sql.Placeholder(), sql.SQL(kind))
        for name, kind in shape.columns.items()
    )
    assert connection.execute(sql.SQL("DELETE FROM passage WHERE {}").format(tests), shape.key(number)).rowcount == 1
