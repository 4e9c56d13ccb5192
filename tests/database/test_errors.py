"""Classification of the server's errors, and what a message may contain."""

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdbvec_pipelines.database.errors import (
    DatabaseError,
    DatabaseUnavailable,
    is_duplicate_object,
    is_lost_connection,
    is_retryable,
    redact,
    translate,
)

LOST = ["08000", "08003", "08006", "57P01", "57P02", "57P03"]


def error_with(state: str) -> psycopg.Error:
    """Return the error that psycopg raises for a SQLSTATE."""
    return psycopg.errors.lookup(state)("the server's message")


@pytest.mark.parametrize("state", LOST)
def test_lost_connection_is_retryable(state: str) -> None:
    assert is_lost_connection(error_with(state))
    assert is_retryable(error_with(state))


def test_client_error_without_sqlstate_is_a_lost_connection() -> None:
    assert is_lost_connection(psycopg.OperationalError("server closed the connection unexpectedly"))
    assert is_lost_connection(psycopg.InterfaceError("connection is closed"))
    assert not is_lost_connection(psycopg.ProgrammingError("no such placeholder"))
    assert not is_lost_connection(ValueError("not an error of psycopg"))


@pytest.mark.parametrize("state", ["40001", "40P01", "40003"])
def test_retryable_error_is_not_a_lost_connection(state: str) -> None:
    assert is_retryable(error_with(state))
    assert not is_lost_connection(error_with(state))


@pytest.mark.parametrize(
    "state",
    ["08P01", "22000", "22001", "22P02", "23502", "23505", "23514", "42501", "42703", "42P01", "53100", "57014"],
)
def test_other_errors_are_not_retryable(state: str) -> None:
    assert not is_retryable(error_with(state))


@pytest.mark.parametrize("state", ["42701", "42710", "42P07", "23505"])
def test_ddl_run_by_another_session_is_recognized(state: str) -> None:
    assert is_duplicate_object(error_with(state))


def test_other_ddl_errors_are_not_duplicates() -> None:
    assert not is_duplicate_object(error_with("42501"))


def test_message_of_a_retryable_error_says_that_no_work_is_lost() -> None:
    error = translate(error_with("40001"), "reading public.passage")
    assert isinstance(error, DatabaseUnavailable)
    assert error.sqlstate == "40001"
    assert "while reading public.passage: the server's message (SQLSTATE 40001). No work is lost. Run the same" in str(
        error
    )


def test_message_of_a_rejected_statement_contains_the_sqlstate() -> None:
    error = translate(error_with("42501"), "reading public.passage")
    assert type(error) is DatabaseError
    assert str(error) == (
        "The database rejected a statement while reading public.passage: the server's message (SQLSTATE 42501)."
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
def test_redact_removes_passwords(text: str) -> None:
    assert "geheim" not in redact(text)
    assert "***" in redact(text)


def test_redact_keeps_the_rest_of_the_text() -> None:
    assert (
        redact("connecting to postgresql://me:x@host/db failed") == "connecting to postgresql://me:***@host/db failed"
    )
    assert redact('relation "user:x" at 10:30 @home') == 'relation "user:x" at 10:30 @home'


@given(st.text(st.characters(categories=["L", "N", "P", "S"], exclude_characters="@"), min_size=1))
def test_redact_removes_any_password_of_a_url(password: str) -> None:
    assert redact(f"<postgresql://me:{password}@host/db>") == "<postgresql://me:***@host/db>"
