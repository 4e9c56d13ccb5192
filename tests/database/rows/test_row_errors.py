"""Failed rows: recorded with growing retry delays, deferred until then, deleted when resolved."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg import sql

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.rows.pending_page import PendingRow
from crdbvec_pipelines.database.rows.predicates import Pass
from crdbvec_pipelines.database.rows.row_errors import ErrorCounts, RowError, RowFailure
from crdbvec_pipelines.database.rows.vector_rows import VectorRows
from crdbvec_pipelines.database.sqlstate import FailureStatus
from crdbvec_pipelines.keyspace import KeyRange
from tests.support.models import stub_vector
from tests.support.tables import INT_SHAPE, SHAPES, KeyShape, column, create_table, set_text
from tests.support.work import embed, prepare

UNEMBEDDED = Pass("unembedded")


def failures(rows: VectorRows, *texts: str, status: FailureStatus = "rejected") -> list[RowFailure]:
    """Return failures of the pending rows with these texts."""
    return [
        RowFailure(row.key, row.fingerprint, status, "The model rejected the input.")
        for row in pending(rows)
        if row.input in texts
    ]


def pending(rows: VectorRows) -> Sequence[PendingRow]:
    return rows.read(KeyRange(), UNEMBEDDED, None, 1_000, exclude_deferred=False)


def texts_to_embed(rows: VectorRows) -> list[str]:
    found = rows.read(KeyRange(), UNEMBEDDED, None, 1_000, exclude_deferred=rows.has_deferred_rows())
    return sorted(str(row.input) for row in found)


def retry_delay(error: RowError) -> timedelta:
    """Return the retry delay. Both times are the server's clock in the same statement."""
    return error.next_retry_at - error.last_seen


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_failed_row_is_not_pending_and_others_are(
    database: Database, connection: psycopg.Connection, shape: KeyShape
) -> None:
    create_table(connection, shape, [f"text {number}" for number in range(40)])
    rows = prepare(database, column())
    rows.errors.record(failures(rows, "text 0", "text 17", "text 39"))
    remaining = sorted({f"text {number}" for number in range(40)} - {"text 0", "text 17", "text 39"})
    assert texts_to_embed(rows) == remaining
    assert rows.count_unembedded(1_000) == 37
    assert rows.count(KeyRange()).pending == 37
    assert rows.count(KeyRange()).failed == 3


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_key_is_listed_and_retried(database: Database, connection: psycopg.Connection, shape: KeyShape) -> None:
    create_table(connection, shape, [f"text {number}" for number in range(40)])
    rows = prepare(database, column())
    rows.errors.record(failures(rows, *(f"text {number}" for number in range(40))))
    for number in (0, 7, 39):
        key = shape.key(number)
        assert [str(part) for part in key] in [[str(part) for part in error.key] for error in rows.errors.list(40)]
        # As the command line passes it: as text.
        assert rows.errors.retry([str(part) for part in key]) == 1
    assert texts_to_embed(rows) == ["text 0", "text 39", "text 7"]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_delete_resolved_keeps_unresolved_rows(
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
    assert rows.errors.delete_resolved() == 4
    (remaining,) = rows.errors.list(10)
    assert [str(part) for part in remaining.key] == [str(part) for part in shape.key(0)]


def test_each_failure_of_an_input_doubles_the_delay_up_to_a_day(
    database: Database, connection: psycopg.Connection
) -> None:
    create_table(connection, texts=["a"])
    rows = prepare(database, column())
    failure = failures(rows, "a")
    delays = []
    for _ in range(10):
        rows.errors.record(failure)
        (error,) = rows.errors.list(10)
        delays.append(retry_delay(error))
    doubled = [timedelta(minutes=15 * 2**number) for number in range(10)]
    assert delays == [min(delay, timedelta(days=1)) for delay in doubled]
    assert error.attempts == 10


@pytest.mark.parametrize(
    ("status", "delay"),
    [("transient", timedelta(minutes=1)), ("rejected", timedelta(minutes=15)), ("too_long", timedelta(hours=1))],
)
def test_first_delay_depends_on_the_status(
    database: Database, connection: psycopg.Connection, status: FailureStatus, delay: timedelta
) -> None:
    create_table(connection, texts=["a"])
    rows = prepare(database, column())
    rows.errors.record(failures(rows, "a", status=status))
    (error,) = rows.errors.list(10)
    assert (error.status, retry_delay(error)) == (status, delay)


def test_failure_of_another_input_starts_with_the_first_delay(
    database: Database, connection: psycopg.Connection
) -> None:
    create_table(connection, texts=["a"])
    rows = prepare(database, column())
    for _ in range(3):
        rows.errors.record(failures(rows, "a"))
    set_text(connection, INT_SHAPE, 0, "b")
    rows.errors.record(failures(rows, "b"))
    (error,) = rows.errors.list(10)
    assert (error.attempts, retry_delay(error)) == (1, timedelta(minutes=15))


def test_edited_row_is_not_deferred(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["a", "b"])
    rows = prepare(database, column())
    rows.errors.record(failures(rows, "a"))
    assert texts_to_embed(rows) == ["b"]
    set_text(connection, INT_SHAPE, 0, "a, corrected")
    assert texts_to_embed(rows) == ["a, corrected", "b"]


def test_another_model_is_not_deferred(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["a"])
    rows = prepare(database, column())
    rows.errors.record(failures(rows, "a"))
    assert texts_to_embed(rows) == []
    assert texts_to_embed(prepare(database, column(), model_id="another")) == ["a"]


def test_row_is_pending_again_after_its_delay(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["a"])
    rows = prepare(database, column())
    rows.errors.record(failures(rows, "a"))
    assert rows.errors.count() == ErrorCounts({"rejected": 1}, 1)
    connection.execute("UPDATE crdbvec_row_errors SET next_try = now() - INTERVAL '1 second'")
    assert texts_to_embed(rows) == ["a"]
    assert rows.errors.count() == ErrorCounts({"rejected": 1}, 0)


def test_statuses_of_release_0_1_0_are_mapped(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["a", "b", "c"])
    rows = prepare(database, column())
    for text, recorded in {"a": "poison", "b": "oversize", "c": "transient"}.items():
        rows.errors.record(failures(rows, text))
        connection.execute(
            "UPDATE crdbvec_row_errors SET class = %s WHERE key = (SELECT key FROM crdbvec_row_errors "
            "ORDER BY last_seen DESC LIMIT 1)",
            (recorded,),
        )
    assert rows.errors.count().by_status == {"rejected": 1, "too_long": 1, "transient": 1}
    assert [error.status for error in rows.errors.list(10)] == ["transient", "too_long", "rejected"]


def test_retry_without_key_sets_all_rows_due(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["a", "b", "c"])
    rows = prepare(database, column())
    rows.errors.record(failures(rows, "a", "c"))
    assert rows.errors.retry() == 2
    assert texts_to_embed(rows) == ["a", "b", "c"]


def test_list_returns_the_latest_failures_up_to_the_limit(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["a", "b", "c"])
    rows = prepare(database, column())
    for text in ("b", "a", "c"):
        rows.errors.record(failures(rows, text))
    assert [error.key for error in rows.errors.list(2)] == [[INT_SHAPE.key(2)[0]], [INT_SHAPE.key(0)[0]]]
    assert all(error.first_seen == error.last_seen <= datetime.now(UTC) for error in rows.errors.list(10))


def test_two_columns_of_a_table_have_separate_errors(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["a", "b"])
    one, other = prepare(database, column()), prepare(database, column(output="other"))
    one.errors.record(failures(one, "a"))
    assert (texts_to_embed(one), texts_to_embed(other)) == (["b"], ["a", "b"])
    assert other.errors.retry() == 0
    embed(database, column(output="other", model="stub_hash"))
    assert one.errors.count().total == 1


def test_columns_of_the_table_may_be_named_like_those_of_the_errors(
    database: Database, connection: psycopg.Connection
) -> None:
    connection.execute(
        "CREATE TABLE passage (key INT8 PRIMARY KEY, passage TEXT, fingerprint TEXT, message TEXT, "
        "class TEXT, output TEXT, table_name TEXT, next_try TIMESTAMPTZ)"
    )
    connection.execute(
        "INSERT INTO passage SELECT n, 'text ' || n, 'f', 'm', 'c', 'o', 't', '2001-01-01' FROM generate_series(1, 5) n"
    )
    rows = prepare(database, column(model="stub_hash"))
    rows.errors.record(failures(rows, "text 2"))
    assert texts_to_embed(rows) == ["text 1", "text 3", "text 4", "text 5"]
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
def test_failed_row_is_identified_by_a_key_of_any_type(
    database: Database, connection: psycopg.Connection, kind: str, value: object
) -> None:
    connection.execute(sql.SQL("CREATE TABLE passage (id {} PRIMARY KEY, passage TEXT)").format(sql.SQL(kind)))
    connection.execute(sql.SQL("INSERT INTO passage VALUES (%s::{}, 'a')").format(sql.SQL(kind)), (value,))
    rows = prepare(database, column(model="stub_hash"))
    rows.errors.record(failures(rows, "a"))
    assert texts_to_embed(rows) == []
    assert rows.errors.delete_resolved() == 0
    rows.errors.retry()
    assert embed(database, column(model="stub_hash")).rows_embedded == 1
    assert rows.errors.count().total == 0


def delete_row(connection: psycopg.Connection, shape: KeyShape, number: int) -> None:
    tests = sql.SQL(" AND ").join(
        sql.SQL("{} = {}::{}").format(sql.Identifier(name), sql.Placeholder(), sql.SQL(kind))
        for name, kind in shape.columns.items()
    )
    assert connection.execute(sql.SQL("DELETE FROM passage WHERE {}").format(tests), shape.key(number)).rowcount == 1


def test_recording_waits_for_another_process_without_holding_locks(
    url: str, database: Database, connection: psycopg.Connection
) -> None:
    create_table(connection, texts=["a", "b"])
    rows = prepare(database, column())
    first, second = failures(rows, "a", "b")
    rows.errors.record([first, second])
    # The failure of the second row is resolved, so that it is to be deleted.
    set_text(connection, INT_SHAPE, 1, "edited")
    with psycopg.connect(url) as other, ThreadPoolExecutor(1) as pool:
        select = "SELECT 1 FROM crdbvec_row_errors WHERE key = %s FOR UPDATE"
        other.execute(select, (json.dumps([second.key[0]]),))
        assert rows.errors.delete_resolved() == 0
        recording = pool.submit(rows.errors.record, [first, second])
        # The recording gives up and starts again, so that the first row becomes free again and again.
        for _ in range(3):
            with connection.transaction():
                connection.execute(select, (json.dumps([first.key[0]]),))
        assert not recording.done()
        other.rollback()
        recording.result()
    assert [error.attempts for error in rows.errors.list(10)] == [2, 2]
