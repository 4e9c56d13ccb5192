"""Classification of the server's errors, and what a message may contain."""

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdbvec_pipelines.database import sqlstate
from crdbvec_pipelines.database.errors import (
    ConnectionRejected,
    DatabaseError,
    DatabaseUnavailable,
    MissingPrivilege,
    is_duplicate_object,
    is_lost_connection,
    is_retryable,
    redact,
    translate,
    translate_connecting,
)

LOST = ["08000", "08003", "08006", "57P01", "57P02", "57P03", "57P05"]


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


@pytest.mark.parametrize("state", ["40001", "40P01", "40003", "53300"])
def test_retryable_error_is_not_a_lost_connection(state: str) -> None:
    assert is_retryable(error_with(state))
    assert not is_lost_connection(error_with(state))


@pytest.mark.parametrize(
    "state",
    ["08P01", "22000", "22001", "22P02", "23502", "23505", "23514", "42501", "42703", "42P01", "53100", "57014"],
)
def test_other_errors_are_not_retryable(state: str) -> None:
    assert not is_retryable(error_with(state))


@pytest.mark.parametrize("state", ["58C00", "58C01"])
def test_lost_connection_between_nodes_of_cockroachdb(state: str) -> None:
    """The code is unknown to psycopg, whose error is an OperationalError because of its first two characters."""
    assert issubclass(psycopg.errors.get_base_exception(state), psycopg.OperationalError)
    assert sqlstate.is_lost_connection(state)


@pytest.mark.parametrize(
    "message",
    [
        'connection to server at "127.0.0.1", port 5432 failed: FATAL:  password authentication failed for user "me"',
        'FATAL:  no pg_hba.conf entry for host "10.0.0.1", user "me", database "db", no encryption',
        "fe_sendauth: no password supplied",
        'FATAL:  role "me" does not exist',
        'FATAL:  database "db" does not exist',
        'FATAL:  role "me" is not permitted to log in',
        "failed to resolve host 'db.example': [Errno -2] Name or service not known",
        "SSL error: certificate verify failed",
        'server certificate for "a.example" does not match host name "b.example"',
        'root certificate file "/x/root.crt" does not exist',
        "server does not support SSL, but SSL was required",
    ],
)
def test_connection_that_is_rejected_for_good_exits_with_code_2(message: str) -> None:
    error = translate_connecting(psycopg.OperationalError(message))
    assert isinstance(error, ConnectionRejected)
    assert (error.exit_code, error.is_retryable) == (2, False)
    assert "Run the same command again" not in str(error)


@pytest.mark.parametrize(
    "message",
    [
        'connection to server at "127.0.0.1", port 1 failed: Connection reset by peer',
        "connection timeout expired",
        "failed to resolve host 'db.example': [Errno -3] Temporary failure in name resolution",
        "FATAL:  the database system is starting up",
        "FATAL:  sorry, too many clients already",
        'connection to server on socket "/x/.s.PGSQL.5432" failed: No such file or directory',
    ],
)
def test_connection_that_may_be_opened_later_is_unavailable(message: str) -> None:
    assert isinstance(translate_connecting(psycopg.OperationalError(message)), DatabaseUnavailable)


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
    error = translate(error_with("42703"), "reading public.passage")
    assert type(error) is DatabaseError
    assert str(error) == (
        "The database rejected a statement while reading public.passage: the server's message (SQLSTATE 42703)."
    )


def test_missing_privilege_is_permanent_and_has_a_remedy() -> None:
    error = translate(error_with("42501"), "reading public.passage")
    assert type(error) is MissingPrivilege
    assert (error.exit_code, error.is_retryable) == (2, False)
    assert str(error).endswith(
        "(SQLSTATE 42501). Run `crdbvec doctor`, which prints the GRANT for each privilege that the role lacks."
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
