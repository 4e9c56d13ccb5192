"""Errors of the database layer, and the classification of psycopg's errors (`sqlstate` has the codes).

Messages contain the server's primary message and its SQLSTATE, never its DETAIL, which can quote a whole row. They do
not contain the primary message either if it can quote a value, and an error has no cause that does.
"""

import re

import psycopg
from psycopg_pool import PoolClosed

from crdbvec_pipelines.database import sqlstate
from crdbvec_pipelines.errors import ConfigurationError, CrdbvecError

_PASSWORD_IN_URL = re.compile(r"(://[^:/@\s]*):[^@\s]*@")
_PASSWORD_IN_DSN = re.compile(r"(password\s*=\s*)('[^']*'|\S+)", re.IGNORECASE)


class DatabaseError(CrdbvecError):
    """The database rejected a statement.

    Attributes:
        sqlstate: The SQLSTATE of the server's error; None if the connection failed.
        server_message: The server's primary message, also if it quotes a value. It is shown only if the value is one
            that the user has typed.
    """

    remedy = "Correct what the server's message names, such as a missing privilege, and run it again."

    def __init__(self, message: str, code: str | None = None, server_message: str = "") -> None:
        super().__init__(message)
        self.sqlstate = code
        self.server_message = server_message


class DatabaseUnavailable(DatabaseError):
    """The database could not be reached, or every attempt ended in a retryable error; no row is recorded as failed."""

    remedy = "Run the same command again when the database is available; no work is lost."


class ColumnExchanged(DatabaseUnavailable):
    """The vectors of a column are now those of another model, because `crdbvec migrate` has exchanged two columns."""

    remedy = "Run the same command again; it then uses the column with its present model."

    def __init__(self, table: str, output: str) -> None:
        super().__init__(
            f"The vector column {output} of {table} has the vectors of another model since this process has started. "
            f"No work is lost. {self.remedy}"
        )


class ConnectionRejected(DatabaseError):
    """The server rejects the connection, or its name or certificate is wrong; another attempt ends in the same way."""

    exit_code = 2
    is_retryable = False
    remedy = "Correct the user name, the password, the database, the host name or the certificate in the database URL."

    def __init__(self, reason: str) -> None:
        super().__init__(f"No connection to the database can be opened: {reason}. {self.remedy}")


class SharedSessions(DatabaseError):
    """A connection pooler runs the statements of one connection in changing sessions of the server."""

    exit_code = 2
    is_retryable = False
    remedy = "Connect to the server directly, or set pool_mode = session for this database in PgBouncer."

    def __init__(self) -> None:
        super().__init__(
            "A connection pooler runs each transaction in another session of the server, which loses the settings of "
            f"the session, or gives them to your application. {self.remedy}"
        )


class MissingPrivilege(DatabaseError):
    """The role lacks a privilege that the statement needs."""

    exit_code = 2
    is_retryable = False
    remedy = "Run `crdbvec doctor`, which prints the GRANT for each privilege that the role lacks."


class UnconvertibleValue(DatabaseError):
    """A value of the database cannot be represented in Python, or the other way round."""

    remedy = "Look for values such as infinite dates, or dates before the year 1, and correct them."


class TableError(ConfigurationError):
    """The table differs from the configuration, or cannot have the vector column or index."""

    remedy = "Correct the entry of the table in crdbvec.yaml, or run the statement that the message names."


class NotMigrated(TableError):
    """A second column of a model migration that is not in progress; it is not created by anything but `start`."""

    remedy = (
        "Run `crdbvec migrate status`. After the end of a migration, remove `migration` from the entry in crdbvec.yaml "
        "and reload the code location."
    )

    def __init__(self, table: str, output: str, second: str) -> None:
        super().__init__(
            f"{table}.{output} is not being migrated with the second column {second} in this database. {self.remedy}"
        )


class TableRejectsVectors(TableError):
    """The table rejects every vector, whatever the row; no row is recorded as failed."""

    remedy = "Correct what the message names: a replica identity, a constraint, a trigger, or too many columns."

    def __init__(self, table: str, output: str, error: DatabaseError) -> None:
        state = error.sqlstate
        # The message of a trigger may quote a row.
        reason = str(error) if sqlstate.is_usually_of_table(state) else f"The SQLSTATE is {state}."
        super().__init__(
            f"The table {table} accepts no vector in {output}, so no row is recorded as failed. {reason} "
            f"{sqlstate.table_remedy(state)} Then run the command again."
        )


def is_lost_connection(error: BaseException) -> bool:
    """Return whether the connection, not the statement, failed."""
    if not isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError)):
        return False
    if isinstance(error, PoolClosed):
        return False
    return sqlstate.is_lost_connection(error.sqlstate, is_fatal=error.diag.severity == "FATAL")


def is_retryable(error: BaseException) -> bool:
    """Return whether the same guarded or read-only statement may succeed when it is sent again."""
    return is_lost_connection(error) or (isinstance(error, psycopg.Error) and sqlstate.is_retryable(error.sqlstate))


def is_full(error: psycopg.Error) -> bool:
    """Return whether a server accepts no further connection for the moment, although it is available."""
    return sqlstate.is_full(str(error))


def is_duplicate_object(error: psycopg.Error | DatabaseError) -> bool:
    """Return whether a DDL statement failed because another session has already run it."""
    return sqlstate.is_duplicate_object(error.sqlstate)


def is_locked(error: BaseException) -> bool:
    """Return whether a statement ended because another transaction did not release a lock in time."""
    return isinstance(error, DatabaseError) and sqlstate.is_lock_timeout(error.sqlstate)


def is_not_readable_in_past(error: DatabaseError) -> bool:
    """Return whether a follower read may have failed only because it reads the past, such as that of a new table."""
    return sqlstate.is_not_readable_in_past(error.sqlstate)


def is_timed_out(error: BaseException | None) -> bool:
    """Return whether a statement was canceled because it ran too long."""
    return isinstance(error, (psycopg.Error, DatabaseError)) and sqlstate.is_timed_out(error.sqlstate)


def is_not_supported(error: DatabaseError) -> bool:
    """Return whether the server does not have a feature, or does not have it for this table."""
    return sqlstate.is_not_supported(error.sqlstate)


def is_unreadable_row(error: DatabaseError) -> bool:
    """Return whether one row may be the reason why a page of rows could not be read."""
    return isinstance(error, UnconvertibleValue) or sqlstate.is_unreadable_row(error.sqlstate)


def is_concurrent_change(error: DatabaseError) -> bool:
    """Return whether a DDL statement failed because another session changed the same object at the same time."""
    return sqlstate.is_concurrent_change(error.sqlstate)


def is_changed_schema(error: DatabaseError) -> bool:
    """Return whether a statement may have failed because a table was replaced or its columns were changed."""
    return sqlstate.is_changed_schema(error.sqlstate)


def redact(text: str) -> str:
    """Return a text with the passwords of URLs and connection strings replaced by `***`."""
    return _PASSWORD_IN_DSN.sub(r"\1***", _PASSWORD_IN_URL.sub(r"\1:***@", text))


def translate_connecting(error: psycopg.Error) -> DatabaseError:
    """Return the error of this project for one of a connection that could not be opened."""
    if sqlstate.is_rejected_connection(str(error)):
        return ConnectionRejected(_reason(error))
    return translate(error, "connecting")


def _reason(error: psycopg.Error) -> str:
    """Return the primary message, in one line, without passwords and without a period at the end."""
    primary = error.diag.message_primary or (str(error).splitlines() or [type(error).__name__])[0]
    return redact(primary).rstrip(".")


def translate(error: psycopg.Error, action: str) -> DatabaseError:
    """Return the error of this project for an error of psycopg.

    Args:
        error: The error of psycopg.
        action: What failed, as the message names it after "while", such as `connecting`.
    """
    reason = _reason(error)
    shown = "its message is not shown, because it can quote a row" if _may_quote_row(error) else reason
    state = error.sqlstate
    if is_retryable(error):
        return DatabaseUnavailable(
            f"The database could not be reached, or every attempt ended in a retryable error, while {action}: {shown}"
            + (f" (SQLSTATE {state})" if state else "")
            + ". No work is lost. Run the same command again when the database is available.",
            state,
        )
    if isinstance(error, psycopg.DataError) and state is None:
        # The message of psycopg quotes the value.
        return UnconvertibleValue(
            f"A value of the database cannot be represented in Python while {action}. {UnconvertibleValue.remedy}"
        )
    rejected = f"The database rejected a statement while {action}: {shown} (SQLSTATE {state})."
    if sqlstate.is_missing_privilege(state):
        return MissingPrivilege(f"{rejected} {MissingPrivilege.remedy}", state, reason)
    return DatabaseError(rejected, state, reason)


def _may_quote_row(error: psycopg.Error) -> bool:
    """Return whether the primary message can quote a value: that of a data exception, or one that a function raised."""
    # The source that PostgreSQL names, and the context of both servers, tell RAISE from an error of the server itself.
    is_raised = error.diag.source_function == "exec_stmt_raise" or "at RAISE" in (error.diag.context or "")
    return is_raised or sqlstate.may_quote_value(error.sqlstate)
