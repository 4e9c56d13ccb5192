"""What a server's error means: to be retried, nobody's fault but a row's, or the end of the work.

Error texts keep the server's primary message and its SQLSTATE, never its DETAIL, which can quote a whole row.
"""

import re

import psycopg
from psycopg_pool import PoolClosed

from crdbvec_pipelines.errors import ConfigurationError, CrdbvecError

# 40001 serialization failure ("restart transaction" on CockroachDB); 40P01 deadlock, which CockroachDB's own vector
# benchmark retries too; 40003 statement completion unknown: safe to send again, since our writes are guarded and DDL is
# idempotent.
_RETRYABLE = frozenset({"40001", "40P01", "40003"})
# Connection exceptions, and the server going away or coming up; 08P01 is a protocol violation and will happen again.
_LOST_CONNECTION = re.compile(r"08(?!P01)...|57P0[123]")
# What "somebody else has just done the same DDL" looks like.
_ALREADY_THERE = frozenset({"42701", "42710", "42P07", "23505"})
# What "somebody else is just changing the same" looks like: a function or trigger gone, back, or still in use by then;
# XX000 is PostgreSQL's "tuple concurrently updated".
_CHANGED_MEANWHILE = frozenset({"42883", "42704", "42723", "2BP01", "XX000"})

_PASSWORD_IN_URL = re.compile(r"(://[^:/@\s]*):[^@\s]*@")
_PASSWORD_IN_DSN = re.compile(r"(password\s*=\s*)('[^']*'|\S+)", re.IGNORECASE)


class DatabaseError(CrdbvecError):
    """The database refused a statement, or could not be reached."""

    def __init__(self, message: str, sqlstate: str | None = None) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class DatabaseUnavailable(DatabaseError):
    """The database could not be reached, or kept asking for a retry. Nothing is wrong with the work itself."""


class TableError(ConfigurationError):
    """The table is not what the configuration says, or cannot carry a vector column."""


def is_lost_connection(error: BaseException) -> bool:
    """Whether the connection, not the statement, failed."""
    if not isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError)):
        return False
    if isinstance(error, PoolClosed):
        return False
    return error.sqlstate is None or bool(_LOST_CONNECTION.fullmatch(error.sqlstate))


def is_retryable(error: BaseException) -> bool:
    """Whether sending the same guarded or read-only statement again may succeed."""
    return is_lost_connection(error) or (isinstance(error, psycopg.Error) and error.sqlstate in _RETRYABLE)


def is_already_there(error: psycopg.Error) -> bool:
    """Whether a DDL statement failed because another process has just done the same."""
    return error.sqlstate in _ALREADY_THERE


def is_locked(error: BaseException) -> bool:
    """Whether a statement gave up waiting for a lock that somebody else's transaction holds."""
    return isinstance(error, DatabaseError) and error.sqlstate == "55P03"


def is_changed_meanwhile(error: DatabaseError) -> bool:
    """Whether a DDL statement failed because another process changed the same thing at the same moment."""
    return error.sqlstate in _CHANGED_MEANWHILE


def redact(text: str) -> str:
    """The text without passwords of URLs and connection strings in it."""
    return _PASSWORD_IN_DSN.sub(r"\1***", _PASSWORD_IN_URL.sub(r"\1:***@", text))


def translate(error: psycopg.Error, doing: str) -> DatabaseError:
    """The error as a sentence about what was being done, such as `reading public.passage`."""
    primary = error.diag.message_primary or (str(error).splitlines() or [type(error).__name__])[0]
    reason = redact(primary).rstrip(".")
    state = error.sqlstate
    if is_retryable(error):
        return DatabaseUnavailable(
            f"The database could not be reached or kept asking for a retry while {doing}: {reason}"
            + (f" (SQLSTATE {state})" if state else "")
            + ". Nothing is lost: run the same command again when it answers.",
            state,
        )
    return DatabaseError(f"The database refused a statement while {doing}: {reason} (SQLSTATE {state}).", state)
