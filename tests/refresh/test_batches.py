"""One batch: encoding and writing its rows, with failed rows returned and outages raised."""

from collections.abc import Sequence

import numpy as np
import psycopg
import pytest
from numpy.typing import NDArray

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.errors import DatabaseError
from crdbvec_pipelines.database.rows.pending_page import PendingRow
from crdbvec_pipelines.database.rows.predicates import Pass
from crdbvec_pipelines.encoding.encoder import EncodedBatch
from crdbvec_pipelines.encoding.errors import EncoderUnavailable, EncodingError, InputRejected, ModelError
from crdbvec_pipelines.keyspace import KeyRange
from crdbvec_pipelines.refresh.batches import encode_rows, write_rows
from crdbvec_pipelines.refresh.cache import VectorCache
from tests.support.models import CallLog, stub, stub_vector
from tests.support.tables import column, create_table, vectors
from tests.support.work import prepare


def rows_of(*texts: str) -> list[PendingRow]:
    return [PendingRow((number,), text, f"fingerprint {number}") for number, text in enumerate(texts)]


def encode(rows: Sequence[PendingRow]) -> NDArray[np.float32]:
    return stub("stub_hash").encode([(row.key, row.input) for row in rows]).vectors


def test_rows_that_the_model_rejects_are_returned_with_their_status(calls: CallLog) -> None:
    rows = rows_of("a", "REJECTED one", "b", "TOO_LONG two", "c", "d", "e")
    encoded = encode_rows(stub("stub_failing").encode, rows, VectorCache())
    assert [row.input for row in encoded.rows] == ["a", "b", "c", "d", "e"]
    assert (np.array(encoded.vectors) == np.array([stub_vector(text) for text in "abcde"])).all()
    assert (encoded.truncated, encoded.deduplicated) == (0, 0)
    assert [(failure.key, failure.status) for failure in encoded.failures] == [((1,), "rejected"), ((3,), "too_long")]
    assert [failure.fingerprint for failure in encoded.failures] == ["fingerprint 1", "fingerprint 3"]


def test_reason_of_a_rejection_does_not_contain_the_text(calls: CallLog) -> None:
    encoded = encode_rows(stub("stub_failing").encode, rows_of("REJECTED secret"), VectorCache())
    (message,) = [failure.message for failure in encoded.failures]
    assert "ValueError" in message
    assert "secret" not in message


def test_batch_of_failed_rows_only_has_nothing_to_write(calls: CallLog) -> None:
    encoded = encode_rows(stub("stub_failing").encode, rows_of("REJECTED", "REJECTED"), VectorCache())
    assert (encoded.rows, len(encoded.vectors), len(encoded.failures)) == ([], 0, 2)


def test_unavailable_model_is_not_a_row_failure(calls: CallLog) -> None:
    calls.path.with_suffix(".unavailable").touch()
    with pytest.raises(EncoderUnavailable, match="429"):
        encode_rows(stub("stub_failing").encode, rows_of("a", "b"), VectorCache())
    assert calls.batches() == []


def test_misconfigured_model_is_not_a_row_failure() -> None:
    def encode(_: Sequence[tuple[object, object]]) -> EncodedBatch:
        raise ModelError("The API key is invalid.")

    with pytest.raises(ModelError, match="The API key is invalid"):
        encode_rows(encode, rows_of("a", "b"), VectorCache())


def test_batch_with_an_unusable_result_is_bisected() -> None:
    """A model that returns an unusable vector for one input is still used for the others."""

    def encode(batch: Sequence[tuple[object, object]]) -> EncodedBatch:
        if any(text == "odd" for _, text in batch):
            raise EncodingError("The vector contains a NaN.")
        return stub("stub_hash").encode(batch)

    encoded = encode_rows(encode, rows_of("a", "odd", "b"), VectorCache())
    assert [row.input for row in encoded.rows] == ["a", "b"]
    assert [failure.message for failure in encoded.failures] == [
        "unusable_vector: The model returned no usable vector for the input."
    ]


def test_message_of_a_wrapper_is_not_stored() -> None:
    def encode(batch: Sequence[tuple[object, object]]) -> EncodedBatch:
        raise InputRejected(f"cannot read {batch}", reason="damaged", detail="page 3")

    encoded = encode_rows(encode, rows_of("secret"), VectorCache())
    assert [failure.message for failure in encoded.failures] == [
        "damaged: The input is damaged or incomplete (page 3)."
    ]


def test_tokens_are_those_of_the_inputs_that_the_model_has_read() -> None:
    def encode(batch: Sequence[tuple[object, object]]) -> EncodedBatch:
        if any(text == "odd" for _, text in batch):
            raise EncodingError("The vector contains a NaN.")
        vectors = np.ones((len(batch), 2), np.float32)
        return EncodedBatch(vectors, np.zeros(len(batch), np.bool_), tokens=10 * len(batch))

    cache = VectorCache()
    assert encode_rows(encode, rows_of("a", "odd", "b"), cache).tokens == 20
    assert encode_rows(encode, rows_of("a", "odd", "b"), cache).tokens == 0


def test_unreadable_inputs_are_counted_also_from_the_cache() -> None:
    def encode(batch: Sequence[tuple[object, object]]) -> EncodedBatch:
        shares = np.array([float(str(text)) for _, text in batch], np.float32)
        return EncodedBatch(np.ones((len(batch), 2), np.float32), np.zeros(len(batch), np.bool_), shares)

    cache = VectorCache()
    rows = [PendingRow((number,), text, text) for number, text in enumerate(["0", "0.25", "0.5", "1", "1"])]
    for _ in range(2):
        assert encode_rows(encode, rows, cache, max_unknown=0.25).unreadable == 3
    assert encode_rows(encode, rows, cache).unreadable == 0


def test_equal_inputs_are_encoded_once_and_read_from_the_cache(calls: CallLog) -> None:
    rows = [PendingRow((number,), text, text) for number, text in enumerate(["a", "b", "a", "REJECTED", "REJECTED"])]
    cache = VectorCache()
    encoded = encode_rows(stub("stub_failing").encode, rows, cache)
    assert ([row.key for row in encoded.rows], encoded.deduplicated) == ([(0,), (1,), (2,)], 1)
    assert [failure.key for failure in encoded.failures] == [(3,), (4,)]
    calls.clear()
    encoded = encode_rows(stub("stub_failing").encode, rows[:3], cache)
    assert (len(encoded.rows), encoded.deduplicated, calls.batches()) == (3, 3, [])
    assert (np.array(encoded.vectors) == np.array([stub_vector(text) for text in "aba"])).all()


ROW_FAILURES = [
    ("22012", "rejected"),
    ("23514", "rejected"),
    ("P0001", "rejected"),
    ("21000", "rejected"),
    ("44000", "rejected"),
    ("U0815", "rejected"),
    ("54000", "too_long"),
    ("57014", "transient"),
]


@pytest.mark.parametrize(("state", "expected"), ROW_FAILURES)
def test_row_that_a_trigger_of_the_user_rejects_is_returned(
    database: Database, connection: psycopg.Connection, state: str, expected: str
) -> None:
    create_table(connection, texts=["a", "b", "secret", "d", "e"])
    create_rejecting_trigger(connection, "secret", state)
    table = prepare(database, column(model="stub_hash"))
    pending = table.read(KeyRange(), Pass("unembedded"), None, 10)
    written = write_rows(table, pending, encode(pending))
    assert (written.embedded, written.locked) == (4, [])
    (failure,) = written.failures
    assert [row.input for row in pending if row.key == failure.key] == ["secret"]
    assert failure.status == expected
    assert failure.message == f"The database rejected the row with SQLSTATE {state}."
    assert sum(vector is not None for vector in vectors(connection).values()) == 4


def test_row_for_which_a_trigger_cannot_get_a_lock_is_locked(
    database: Database, connection: psycopg.Connection
) -> None:
    create_table(connection, texts=["a", "b", "secret", "d", "e"])
    create_rejecting_trigger(connection, "secret", "55P03")
    table = prepare(database, column(model="stub_hash"))
    pending = table.read(KeyRange(), Pass("unembedded"), None, 10)
    written = write_rows(table, pending, encode(pending), one_by_one=True)
    assert (written.embedded, written.failures) == (4, [])
    assert [pending[position].input for position in written.locked] == ["secret"]


@pytest.mark.parametrize("state", ["42501", "42P01", "25006", "53100", "58030", "XX000", "0A000"])
def test_error_that_no_row_caused_is_raised(database: Database, connection: psycopg.Connection, state: str) -> None:
    create_table(connection, texts=["a", "b", "c"])
    create_rejecting_trigger(connection, "b", state)
    table = prepare(database, column(model="stub_hash"))
    pending = table.read(KeyRange(), Pass("unembedded"), None, 10)
    with pytest.raises(DatabaseError, match=f"SQLSTATE {state}"):
        write_rows(table, pending, encode(pending))


def test_row_that_violates_a_constraint_is_returned(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["a", "b", "c"])
    table = prepare(database, column(model="stub_hash"))
    connection.execute("ALTER TABLE passage ADD CONSTRAINT no_b CHECK (passage <> 'b' OR passage_vector IS NULL)")
    pending = table.read(KeyRange(), Pass("unembedded"), None, 10)
    written = write_rows(table, pending, encode(pending))
    assert written.embedded == 2
    (failure,) = written.failures
    assert failure.status == "rejected"
    assert failure.message == "The database rejected the row with SQLSTATE 23514."


def create_rejecting_trigger(connection: psycopg.Connection, text: str, state: str) -> None:
    """Create a trigger that rejects a row with this text, and quotes the text in its message."""
    connection.execute(
        "CREATE FUNCTION reject() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN "
        f"IF (NEW).passage = '{text}' THEN "
        f"RAISE EXCEPTION 'not %', (NEW).passage USING ERRCODE = '{state}'; END IF; RETURN NEW; END $$"
    )
    connection.execute("CREATE TRIGGER reject BEFORE UPDATE ON passage FOR EACH ROW EXECUTE FUNCTION reject()")
