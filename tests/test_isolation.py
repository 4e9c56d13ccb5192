"""Bad rows are found by halving, the others go through, and what is nobody's fault is blamed on nobody."""

from collections.abc import Sequence

import numpy as np
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.errors import DatabaseError
from crdbvec_pipelines.database.row_statements import Pass
from crdbvec_pipelines.database.rows import PendingRow
from crdbvec_pipelines.encoding.errors import EncoderUnavailable, EncodingError, ModelError
from crdbvec_pipelines.errors import CrdbvecError
from crdbvec_pipelines.isolation import encode_apart, take_apart, write_apart
from crdbvec_pipelines.keyspace import KeyRange
from crdbvec_pipelines.reuse import VectorCache
from tests.support.models import CallLog, stub, stub_vector
from tests.support.tables import column, create_table, vectors
from tests.support.work import prepare


class Refused(CrdbvecError):
    """A fault of one of the rows."""


def rows_of(*texts: str) -> list[PendingRow]:
    return [PendingRow((number,), text, f"fingerprint {number}") for number, text in enumerate(texts)]


@given(st.integers(1, 300), st.sets(st.integers(0, 299), max_size=12))
def test_every_good_row_goes_through_once_and_every_bad_row_is_found(size: int, chosen: set[int]) -> None:
    bad = {place for place in chosen if place < size}
    attempts = 0

    def attempt(places: list[int]) -> list[int]:
        nonlocal attempts
        attempts += 1
        if bad & set(places):
            raise Refused
        return places

    apart = take_apart(list(range(size)), attempt, lambda _: "poison")
    assert [place for places, result in apart.results for place in result] == sorted(set(range(size)) - bad)
    assert [place for place, _, _ in apart.refused] == sorted(bad)
    assert all(places == result for places, result in apart.results)
    # Halving: each bad row costs two attempts a level at most.
    assert attempts <= 1 + 2 * len(bad) * size.bit_length()


def test_an_error_that_is_no_rows_fault_ends_the_work_at_once() -> None:
    attempts: list[list[int]] = []

    def attempt(places: list[int]) -> None:
        attempts.append(places)
        raise Refused("the server is on fire")

    with pytest.raises(Refused, match="on fire"):
        take_apart([0, 1, 2, 3], attempt, lambda _: None)
    assert attempts == [[0, 1, 2, 3]]


def test_the_model_s_bad_rows_are_set_apart_with_their_class(calls: CallLog) -> None:
    rows = rows_of("a", "POISON one", "b", "ENDLESS two", "c", "d", "e")
    encoded = encode_apart(stub("stub_moody").encode, rows, VectorCache())
    made, failures = encoded.vectors, encoded.failures
    assert [row.input for row in encoded.rows] == ["a", "b", "c", "d", "e"]
    assert (made == np.array([stub_vector(text) for text in "abcde"])).all()
    assert (encoded.truncated, encoded.reused) == (0, 0)
    assert [(failure.key, failure.error_class) for failure in failures] == [((1,), "poison"), ((3,), "oversize")]
    assert [failure.fingerprint for failure in failures] == ["fingerprint 1", "fingerprint 3"]


def test_why_the_model_refused_a_row_is_told_without_its_text(calls: CallLog) -> None:
    encoded = encode_apart(stub("stub_moody").encode, rows_of("POISON geheim"), VectorCache())
    (message,) = [failure.message for failure in encoded.failures]
    assert "ValueError" in message
    assert "geheim" not in message


def test_a_batch_of_bad_rows_alone_leaves_nothing_to_write(calls: CallLog) -> None:
    encoded = encode_apart(stub("stub_moody").encode, rows_of("POISON", "POISON"), VectorCache())
    assert (encoded.rows, len(encoded.vectors), len(encoded.failures)) == ([], 0, 2)


def test_a_model_that_is_away_is_no_rows_fault(calls: CallLog) -> None:
    calls.path.with_suffix(".away").touch()
    with pytest.raises(EncoderUnavailable, match="429"):
        encode_apart(stub("stub_moody").encode, rows_of("a", "b"), VectorCache())
    assert calls.batches() == []


def test_a_model_that_cannot_be_used_as_configured_is_no_rows_fault() -> None:
    def encode(_: object) -> None:
        raise ModelError("The key is refused.")

    with pytest.raises(ModelError, match="The key is refused"):
        encode_apart(encode, rows_of("a", "b"), VectorCache())  # type: ignore[arg-type]


REFUSALS = [
    ("22012", "poison"),
    ("23514", "poison"),
    ("P0001", "poison"),
    ("21000", "poison"),
    ("44000", "poison"),
    ("U0815", "poison"),
    ("54000", "oversize"),
    ("55P03", "transient"),
    ("57014", "transient"),
]


@pytest.mark.parametrize(("state", "expected"), REFUSALS)
def test_a_row_that_a_trigger_of_the_user_refuses_is_set_apart(
    database: Database, connection: psycopg.Connection, state: str, expected: str
) -> None:
    create_table(connection, texts=["a", "b", "geheim", "d", "e"])
    refuse(connection, "geheim", state)
    table = prepare(database, column(model="stub_hash"))
    pending = table.read(KeyRange(), Pass("missing"), None, 10)
    written, failures = write_apart(table, pending, encoded(pending))
    assert written == 4
    assert {row.input for row in pending if row.key in {failure.key for failure in failures}} == {"geheim"}
    (failure,) = failures
    assert failure.error_class == expected
    assert failure.message == f"The database refused the row with SQLSTATE {state}."
    assert sum(vector is not None for vector in vectors(connection).values()) == 4


@pytest.mark.parametrize("state", ["42501", "42P01", "25006", "53100", "58030", "XX000", "0A000"])
def test_what_would_fail_for_any_row_ends_the_work(
    database: Database, connection: psycopg.Connection, state: str
) -> None:
    create_table(connection, texts=["a", "b", "c"])
    refuse(connection, "b", state)
    table = prepare(database, column(model="stub_hash"))
    pending = table.read(KeyRange(), Pass("missing"), None, 10)
    with pytest.raises(DatabaseError, match=f"SQLSTATE {state}"):
        write_apart(table, pending, encoded(pending))


def test_a_row_that_breaks_a_constraint_is_set_apart(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["a", "b", "c"])
    table = prepare(database, column(model="stub_hash"))
    connection.execute("ALTER TABLE passage ADD CONSTRAINT no_b CHECK (passage <> 'b' OR passage_vector IS NULL)")
    pending = table.read(KeyRange(), Pass("missing"), None, 10)
    written, (failure,) = write_apart(table, pending, encoded(pending))
    assert written == 2
    assert failure.error_class == "poison"
    assert failure.message == "The database refused the row with SQLSTATE 23514."


def test_an_answer_that_cannot_be_used_is_halved_too() -> None:
    """A model that mixes up its answers over one input still serves the others."""

    def encode(batch: Sequence[tuple[object, object]]) -> object:
        if any(text == "odd" for _, text in batch):
            raise EncodingError("The vector holds a NaN.")
        return stub("stub_hash").encode(batch)

    encoded = encode_apart(encode, rows_of("a", "odd", "b"), VectorCache())  # type: ignore[arg-type]
    assert [row.input for row in encoded.rows] == ["a", "b"]
    assert [failure.message for failure in encoded.failures] == ["The vector holds a NaN."]


def encoded(rows: Sequence[PendingRow]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return stub("stub_hash").encode([(row.key, row.input) for row in rows]).vectors


def refuse(connection: psycopg.Connection, text: str, state: str) -> None:
    """A trigger of the user's own that quotes the text in its message."""
    connection.execute(
        "CREATE FUNCTION refuse() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN "
        f"IF (NEW).passage = '{text}' THEN "
        f"RAISE EXCEPTION 'not %', (NEW).passage USING ERRCODE = '{state}'; END IF; RETURN NEW; END $$"
    )
    connection.execute("CREATE TRIGGER refuse BEFORE UPDATE ON passage FOR EACH ROW EXECUTE FUNCTION refuse()")
