"""Failed rows: they are recorded and deferred, the other rows are embedded, and a corrected row is embedded again."""

import threading
from collections.abc import Sequence

import psycopg
import pytest

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.rows.vector_rows import VectorRows
from crdbvec_pipelines.encoding.encoder import EncodedBatch
from crdbvec_pipelines.encoding.errors import EncoderUnavailable, EncodingError
from crdbvec_pipelines.keyspace import KeyRange
from tests.support.models import CallLog, stub, stub_vector
from tests.support.tables import INT_SHAPE, column, create_table, set_text, vectors
from tests.support.work import embed, prepare

FAILING = column(model="stub_failing")


def rejected_calls(calls: CallLog) -> int:
    return len(CallLog(calls.path.with_suffix(".rejected")).batches())


def embedded_rows(rows: VectorRows) -> int:
    return rows.count(KeyRange()).embedded


def test_one_rejected_row_in_ten_thousand(database: Database, connection: psycopg.Connection, calls: CallLog) -> None:
    create_table(connection, texts=["" if number == 0 else f"text {number}" for number in range(10_001)])
    set_text(connection, INT_SHAPE, 5_000, "REJECTED")
    report = embed(database, FAILING, batch_size=256)
    assert (report.rows_embedded, report.rows_failed) == (9_999, 1)
    rows = prepare(database, FAILING)
    (error,) = rows.errors.list(10)
    assert (error.key, error.status, error.attempts) == ([INT_SHAPE.key(5_000)[0]], "rejected", 1)
    # Its batch was tried in smaller parts; no other row was encoded twice.
    assert rejected_calls(calls) <= 2 * (256).bit_length()
    assert sorted(calls.inputs()) == sorted(f"text {number}" for number in range(1, 10_001) if number != 5_000)

    before = rejected_calls(calls), len(calls.batches())
    assert rows.count_unembedded(10) == 0
    assert embed(database, FAILING).rows_read == 0
    assert (rejected_calls(calls), len(calls.batches())) == before

    set_text(connection, INT_SHAPE, 5_000, "corrected")
    report = embed(database, FAILING)
    assert (report.rows_read, report.rows_embedded, report.rows_failed) == (1, 1, 0)
    assert rows.errors.list(10) == []
    found = vectors(connection)[INT_SHAPE.key(5_000)]
    assert found is not None
    assert (found == stub_vector("corrected")).all()


def test_row_that_the_database_rejects_is_recorded_without_its_text(
    database: Database, connection: psycopg.Connection
) -> None:
    create_table(connection, texts=[f"text {number}" for number in range(300)])
    spec = column(model="stub_hash")
    rows = prepare(database, spec)
    connection.execute("ALTER TABLE passage ADD CHECK (passage <> 'text 77' OR passage_vector IS NULL)")
    report = embed(database, spec)
    assert (report.rows_embedded, report.rows_failed, embedded_rows(rows)) == (299, 1, 299)
    (error,) = rows.errors.list(10)
    assert error.key == [INT_SHAPE.key(77)[0]]
    assert error.message == "The database rejected the row with SQLSTATE 23514."
    assert embed(database, spec).rows_read == 0


def test_failed_row_is_retried_at_its_retry_time(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=["a", "REJECTED"])
    embed(database, FAILING)
    connection.execute("UPDATE crdbvec_row_errors SET next_try = now()")
    report = embed(database, FAILING)
    assert (report.rows_read, report.rows_failed) == (1, 1)
    (error,) = prepare(database, FAILING).errors.list(10)
    assert error.attempts == 2


def test_row_with_a_rejected_edit_keeps_its_old_vector_and_is_deferred(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=["a", "b"])
    embed(database, FAILING)
    set_text(connection, INT_SHAPE, 0, "REJECTED")
    assert embed(database, FAILING).rows_failed == 1
    assert embed(database, FAILING).rows_read == 0
    assert all(vector is not None for vector in vectors(connection).values())


@pytest.mark.parametrize("workers", [1, 3])
def test_other_rows_are_embedded_despite_failed_rows_in_several_batches(
    database: Database, connection: psycopg.Connection, calls: CallLog, workers: int
) -> None:
    bad = {0, 1, 15, 16, 31, 64, 99}
    create_table(connection, texts=[("REJECTED" if number in bad else "text") + f" {number}" for number in range(100)])
    report = embed(database, FAILING, batch_size=16, workers=workers)
    assert (report.rows_embedded, report.rows_failed) == (93, 7)
    assert {tuple(error.key) for error in prepare(database, FAILING).errors.list(100)} == {
        INT_SHAPE.key(number) for number in bad
    }


def test_unavailable_model_is_not_a_row_failure(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=["a", "b"])
    outage = calls.path.with_suffix(".unavailable")
    outage.touch()
    with pytest.raises(EncoderUnavailable, match="429"):
        embed(database, FAILING)
    rows = prepare(database, FAILING)
    assert rows.errors.count().total == 0
    assert rows.count_unembedded(10) == 2
    outage.unlink()
    assert embed(database, FAILING).rows_embedded == 2


def test_run_fails_if_all_of_the_first_rows_failed(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=[f"REJECTED {number}" for number in range(1_000)])
    with pytest.raises(EncodingError, match=r"^The first \d+ rows all failed; the model is probably misconfigured\."):
        embed(database, FAILING, batch_size=64)
    failed = prepare(database, FAILING).errors.count().total
    # Only the rows of the first batch are recorded, and few others were encoded.
    assert failed == 64
    assert rejected_calls(calls) < 1_000


def test_few_failed_rows_are_not_a_misconfigured_model(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=["REJECTED"] * 5)
    report = embed(database, FAILING)
    assert (report.rows_read, report.rows_failed) == (5, 5)


class StoppingEncoder:
    """A model that requests the stop of the refresh while it encodes the first batch."""

    def __init__(self, stop: threading.Event) -> None:
        self.stop = stop
        self.batches = 0

    def encode(self, batch: Sequence[tuple[object, object]], batch_index: int = 0) -> EncodedBatch:
        self.batches += 1
        self.stop.set()
        return stub("stub_hash").encode(batch, batch_index)


def test_refresh_stops_after_the_current_batch(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=[f"text {number}" for number in range(100)])
    stop = threading.Event()
    encoder = StoppingEncoder(stop)
    report = embed(database, column(), encoder, batch_size=10, stop=stop)
    assert (encoder.batches, report.rows_embedded) == (1, 10)
    assert prepare(database, column()).count_unembedded(1_000) == 90
