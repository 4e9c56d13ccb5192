"""One bad row among many: the others are embedded, it is recorded and left alone, and embedded when it is repaired."""

import threading
from collections.abc import Sequence

import psycopg
import pytest

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.rows import VectorRows
from crdbvec_pipelines.encoding.encoder import EncodedBatch
from crdbvec_pipelines.encoding.errors import EncoderUnavailable, EncodingError
from crdbvec_pipelines.keyspace import KeyRange
from tests.support.models import CallLog, stub, stub_vector
from tests.support.tables import INT_SHAPE, column, create_table, set_text, vectors
from tests.support.work import embed, prepare

MOODY = column(model="stub_moody")


def refused_calls(calls: CallLog) -> int:
    return len(CallLog(calls.path.with_suffix(".refused")).batches())


def texts_with_vector(rows: VectorRows) -> int:
    return rows.count(KeyRange()).embedded


def test_one_poison_row_in_ten_thousand(database: Database, connection: psycopg.Connection, calls: CallLog) -> None:
    create_table(connection, texts=["" if number == 0 else f"text {number}" for number in range(10_001)])
    set_text(connection, INT_SHAPE, 5_000, "POISON")
    report = embed(database, MOODY, batch_size=256)
    assert (report.rows_embedded, report.rows_failed) == (9_999, 1)
    rows = prepare(database, MOODY)
    (error,) = rows.errors.list(10)
    assert (error.key, error.error_class, error.attempts) == ([INT_SHAPE.key(5_000)[0]], "poison", 1)
    # Its batch was halved down to it; nothing else was encoded twice.
    assert refused_calls(calls) == 1 + (256).bit_length() - 1
    assert sorted(calls.inputs()) == sorted(f"text {number}" for number in range(1, 10_001) if number != 5_000)

    before = refused_calls(calls), len(calls.batches())
    assert rows.count_missing(10) == 0
    assert embed(database, MOODY).rows_read == 0
    assert (refused_calls(calls), len(calls.batches())) == before

    set_text(connection, INT_SHAPE, 5_000, "repaired")
    report = embed(database, MOODY)
    assert (report.rows_read, report.rows_embedded, report.rows_failed) == (1, 1, 0)
    assert rows.errors.list(10) == []
    found = vectors(connection)[INT_SHAPE.key(5_000)]
    assert found is not None
    assert (found == stub_vector("repaired")).all()


def test_a_row_that_the_database_refuses_is_recorded_without_its_text(
    database: Database, connection: psycopg.Connection
) -> None:
    create_table(connection, texts=[f"text {number}" for number in range(300)])
    spec = column(model="stub_hash")
    rows = prepare(database, spec)
    connection.execute("ALTER TABLE passage ADD CHECK (passage <> 'text 77' OR passage_vector IS NULL)")
    report = embed(database, spec)
    assert (report.rows_embedded, report.rows_failed, texts_with_vector(rows)) == (299, 1, 299)
    (error,) = rows.errors.list(10)
    assert error.key == [INT_SHAPE.key(77)[0]]
    assert error.message == "The database refused the row with SQLSTATE 23514."
    assert embed(database, spec).rows_read == 0


def test_a_failed_row_is_tried_again_when_its_wait_is_over(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=["a", "POISON"])
    embed(database, MOODY)
    connection.execute("UPDATE crdbvec_row_errors SET next_try = now()")
    report = embed(database, MOODY)
    assert (report.rows_read, report.rows_failed) == (1, 1)
    (error,) = prepare(database, MOODY).errors.list(10)
    assert error.attempts == 2


def test_a_row_edited_into_a_bad_one_keeps_its_old_vector_and_is_left_alone(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=["a", "b"])
    embed(database, MOODY)
    set_text(connection, INT_SHAPE, 0, "POISON")
    assert embed(database, MOODY).rows_failed == 1
    assert embed(database, MOODY).rows_read == 0
    assert all(vector is not None for vector in vectors(connection).values())


@pytest.mark.parametrize("workers", [1, 3])
def test_several_bad_rows_in_several_batches_cost_the_others_nothing(
    database: Database, connection: psycopg.Connection, calls: CallLog, workers: int
) -> None:
    bad = {0, 1, 15, 16, 31, 64, 99}
    create_table(connection, texts=[("POISON" if number in bad else "text") + f" {number}" for number in range(100)])
    report = embed(database, MOODY, batch_size=16, workers=workers)
    assert (report.rows_embedded, report.rows_failed) == (93, 7)
    assert {tuple(error.key) for error in prepare(database, MOODY).errors.list(100)} == {
        INT_SHAPE.key(number) for number in bad
    }


def test_a_model_that_is_away_blames_no_row(database: Database, connection: psycopg.Connection, calls: CallLog) -> None:
    create_table(connection, texts=["a", "b"])
    away = calls.path.with_suffix(".away")
    away.touch()
    with pytest.raises(EncoderUnavailable, match="429"):
        embed(database, MOODY)
    rows = prepare(database, MOODY)
    assert rows.errors.count().total == 0
    assert rows.count_missing(10) == 2
    away.unlink()
    assert embed(database, MOODY).rows_embedded == 2


def test_where_every_row_is_refused_the_run_stops_with_a_sentence(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=[f"POISON {number}" for number in range(1_000)])
    with pytest.raises(
        EncodingError, match=r"^All of the first \d+ rows were refused, so the fault is hardly theirs\."
    ):
        embed(database, MOODY, batch_size=64)
    failed = prepare(database, MOODY).errors.count().total
    # Those of the batch that told; the others were not even tried for long.
    assert failed == 64
    assert refused_calls(calls) < 1_000


def test_a_few_bad_rows_alone_are_no_broken_model(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=["POISON"] * 5)
    report = embed(database, MOODY)
    assert (report.rows_read, report.rows_failed) == (5, 5)


class Stopping:
    """The model, which is asked to stop while it works on its first batch."""

    def __init__(self, stop: threading.Event) -> None:
        self.stop = stop
        self.batches = 0

    def encode(self, batch: Sequence[tuple[object, object]], batch_index: int = 0) -> EncodedBatch:
        self.batches += 1
        self.stop.set()
        return stub("stub_hash").encode(batch, batch_index)


def test_stopping_ends_after_the_batch_in_hand(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=[f"text {number}" for number in range(100)])
    stop = threading.Event()
    encoder = Stopping(stop)
    report = embed(database, column(), encoder, batch_size=10, stop=stop)
    assert (encoder.batches, report.rows_embedded) == (1, 10)
    assert prepare(database, column()).count_missing(1_000) == 90
