"""What an error of the server means, and what its sentence may say."""

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdbvec_pipelines.database.errors import (
    DatabaseError,
    DatabaseUnavailable,
    is_already_there,
    is_lost_connection,
    is_retryable,
    redact,
    translate,
)

LOST = ["08000", "08003", "08006", "57P01", "57P02", "57P03"]


def of_state(state: str) -> psycopg.Error:
    """The error that psycopg raises for a SQLSTATE."""
    return psycopg.errors.lookup(state)("the server's words")


@pytest.mark.parametrize("state", LOST)
def test_a_lost_connection_is_told_from_a_refused_statement(state: str) -> None:
    assert is_lost_connection(of_state(state))
    assert is_retryable(of_state(state))


def test_an_error_without_a_state_is_a_lost_connection() -> None:
    assert is_lost_connection(psycopg.OperationalError("server closed the connection unexpectedly"))
    assert is_lost_connection(psycopg.InterfaceError("connection is closed"))
    assert not is_lost_connection(psycopg.ProgrammingError("no such placeholder"))
    assert not is_lost_connection(ValueError("something else"))


@pytest.mark.parametrize("state", ["40001", "40P01", "40003"])
def test_what_the_server_asks_to_repeat_is_repeated_on_the_same_connection(state: str) -> None:
    assert is_retryable(of_state(state))
    assert not is_lost_connection(of_state(state))


@pytest.mark.parametrize(
    "state",
    ["08P01", "22000", "22001", "22P02", "23502", "23505", "23514", "42501", "42703", "42P01", "53100", "57014"],
)
def test_anything_else_is_not_repeated(state: str) -> None:
    assert not is_retryable(of_state(state))


@pytest.mark.parametrize("state", ["42701", "42710", "42P07", "23505"])
def test_ddl_that_somebody_else_has_just_done_is_known(state: str) -> None:
    assert is_already_there(of_state(state))


def test_other_refused_ddl_is_not_taken_for_done() -> None:
    assert not is_already_there(of_state("42501"))


def test_a_retryable_error_says_that_nothing_is_lost() -> None:
    error = translate(of_state("40001"), "reading public.passage")
    assert isinstance(error, DatabaseUnavailable)
    assert error.sqlstate == "40001"
    assert "while reading public.passage: the server's words (SQLSTATE 40001). Nothing is lost" in str(error)


def test_a_refusal_is_one_sentence_with_the_state() -> None:
    error = translate(of_state("42501"), "reading public.passage")
    assert type(error) is DatabaseError
    assert str(error) == (
        "The database refused a statement while reading public.passage: the server's words (SQLSTATE 42501)."
    )


@pytest.mark.parametrize(
    "text",
    [
        "connecting to postgresql://me:geheim@host:26257/db failed",
        "postgres://:geheim@host",
        "host=host password=geheim user=me",
        "host=host PASSWORD = 'geheim mit Leerzeichen' user=me",
        "postgresql://me@host/db?password=geheim&sslmode=require",
        "postgresql://me:geheim@one postgresql://me:geheim@two",
    ],
)
def test_passwords_are_taken_out_of_texts(text: str) -> None:
    assert "geheim" not in redact(text)
    assert "***" in redact(text)


def test_the_rest_of_a_text_stays() -> None:
    assert (
        redact("connecting to postgresql://me:x@host/db failed") == "connecting to postgresql://me:***@host/db failed"
    )
    assert redact('relation "user:x" at 10:30 @home') == 'relation "user:x" at 10:30 @home'


@given(st.text(st.characters(categories=["L", "N", "P", "S"], exclude_characters="@"), min_size=1))
def test_no_password_survives_in_a_url(password: str) -> None:
    assert redact(f"<postgresql://me:{password}@host/db>") == "<postgresql://me:***@host/db>"
