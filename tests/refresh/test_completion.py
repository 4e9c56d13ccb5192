"""Completing a key range: done means that no row that was read is pending without a reason."""

import threading
from collections.abc import Sequence
from typing import Any

import psycopg
import pytest

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.rows.vector_rows import VectorRows
from crdbvec_pipelines.encoding.encoder import EncodedBatch
from crdbvec_pipelines.keyspace import KeyRange
from crdbvec_pipelines.refresh.completion import UnsettledRows, complete_range
from crdbvec_pipelines.refresh.options import RefreshOptions
from tests.support.models import CallLog, stub
from tests.support.servers import Server
from tests.support.tables import INT_SHAPE, column, create_table, insert_rows, set_text
from tests.support.work import prepare


def options(**values: Any) -> RefreshOptions:
    """Return options with a cache of their own."""
    return RefreshOptions(**{"batch_size": 10, **values})


class EditingEncoder:
    """The counting stub; before it encodes for the first times, an application changes the table."""

    def __init__(self, *changes: "Change") -> None:
        self._changes = list(changes)
        self._encoder = stub()

    def encode(self, batch: Sequence[tuple[object, object]], batch_index: int = 0) -> EncodedBatch:
        if self._changes:
            self._changes.pop(0)()
        return self._encoder.encode(batch, batch_index)


class Change:
    """One insert or edit of an application."""

    def __init__(self, connection: psycopg.Connection, number: int, text: str, *, insert: bool = False) -> None:
        self._arguments = (connection, number, text, insert)

    def __call__(self) -> None:
        connection, number, text, insert = self._arguments
        if insert:
            insert_rows(connection, INT_SHAPE, {number: text})
        else:
            set_text(connection, INT_SHAPE, number, text)


def test_a_range_without_pending_rows_is_read_once(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=["", None])
    done = complete_range(prepare(database, column()), stub(), KeyRange(), options())
    assert (done.is_done, done.report.batches, done.state.rows) == (True, 0, 2)
    assert calls.batches() == []


def test_rows_that_arrive_or_change_get_further_passes(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=["a", "b"])
    encoder = EditingEncoder(Change(connection, 50, "new", insert=True), Change(connection, 0, "edited"))
    done = complete_range(prepare(database, column()), encoder, KeyRange(), options())
    assert (done.is_done, done.rows_arrived, done.state.pending) == (True, 0, 0)
    assert sorted(calls.inputs()) == ["a", "b", "edited", "new"]


def test_rows_that_keep_arriving_are_counted_and_are_no_error(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=["a"])
    changes = [Change(connection, 50 + number, f"new {number}", insert=True) for number in range(9)]
    done = complete_range(prepare(database, column()), EditingEncoder(*changes), KeyRange(), options())
    assert done.is_done
    assert done.rows_arrived == done.state.pending >= 1


@pytest.mark.parametrize("returned", ["NULL", "NEW"])
def test_an_update_that_a_trigger_discards_is_an_error(postgres: Server, returned: str, calls: CallLog) -> None:
    with (
        postgres.new_database() as url,
        Database(url) as database,
        psycopg.connect(url, autocommit=True) as connection,
    ):
        create_table(connection, texts=["a", "b"])
        rows = prepare(database, column())
        connection.execute(
            "CREATE FUNCTION discard() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$BEGIN NEW.passage_vector := NULL; RETURN {returned}; END$$"
        )
        connection.execute("CREATE TRIGGER discard BEFORE UPDATE ON passage FOR EACH ROW EXECUTE FUNCTION discard()")
        with pytest.raises(UnsettledRows, match=r"2 rows of public.passage are still pending in passage_v"):
            complete_range(rows, stub(), KeyRange(), options())
        assert rows.errors.count().deferred == 2


def test_failed_rows_are_explained(database: Database, connection: psycopg.Connection, calls: CallLog) -> None:
    create_table(connection, texts=["a", "REJECTED"])
    done = complete_range(prepare(database, column(model="stub_failing")), stub("stub_failing"), KeyRange(), options())
    assert (done.is_done, done.report.rows_failed, done.state.deferred, done.state.pending) == (True, 1, 1, 0)


def test_a_limit_on_batches_leaves_the_range_incomplete(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=[f"text {number}" for number in range(25)])
    rows = prepare(database, column())
    done = complete_range(rows, stub(), KeyRange(), options(max_batches=2))
    assert (done.is_done, done.state.pending, done.report.batches) == (False, 5, 2)
    done = complete_range(rows, stub(), KeyRange(), options(max_batches=2))
    assert (done.is_done, done.state.pending, done.report.batches) == (True, 0, 1)


def test_a_stopped_refresh_is_incomplete(database: Database, connection: psycopg.Connection, calls: CallLog) -> None:
    create_table(connection, texts=[f"text {number}" for number in range(95)])
    stop = threading.Event()
    stopping = options(stop=stop, on_batch=lambda _: stop.set())
    done = complete_range(prepare(database, column()), stub(), KeyRange(), stopping)
    assert not done.is_done
    assert done.state.pending > 0


def test_stale_rows_and_vectors_without_input_are_completed(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=["a", "b", "c"])
    rows: VectorRows = prepare(database, column())
    complete_range(rows, stub(), KeyRange(), options())
    set_text(connection, INT_SHAPE, 0, "edited")
    set_text(connection, INT_SHAPE, 1, None)
    done = complete_range(rows, stub(), KeyRange(), options())
    assert (done.report.rows_embedded, done.report.rows_cleared, done.state.vectors) == (1, 1, 2)
