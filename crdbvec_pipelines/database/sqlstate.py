"""What a SQLSTATE means for this project: retry, lost connection, concurrent DDL, lock timeout, bad value, failed row.

The only module that names SQLSTATEs. Sources: PostgreSQL's appendix "Error Codes", CockroachDB's `pgcode` package.
"""

import re
from collections.abc import Sequence
from typing import Literal

FailureStatus = Literal["transient", "rejected", "too_long"]
"""transient: the row may succeed as it is. rejected: this input will fail again. too_long: the input is too large."""

# 40001 serialization failure ("restart transaction" on CockroachDB); 40P01 deadlock, which CockroachDB's own vector
# benchmark retries too; 40003 statement completion unknown: safe to send again, since writes are guarded and DDL is
# idempotent; 53300 too many connections, which the server accepts again when others are closed.
_RETRYABLE = frozenset({"40001", "40P01", "40003", "53300"})
# Connection exceptions, a server that shuts down or starts, and one that closes idle sessions (57P05); 08P01 is a
# protocol violation and would happen again. 58C00 and 58C01 are those of CockroachDB between its nodes.
_LOST_CONNECTION = re.compile(r"08(?!P01)...|57P0[1235]|58C0[01]")
# A message that is too large for CockroachDB. As a fatal error, what PgBouncer reports when it has lost its connection
# to the server, or gets none.
_PROTOCOL = "08P01"
# What libpq and the server say when they reject a connection for good. An error of a connection that was not opened has
# no SQLSTATE, so only the text is known, which is in English unless the server has another `lc_messages`. A name that
# could not be resolved for the moment ("Temporary failure") is not among them.
_REJECTED_CONNECTION = re.compile(
    r"authentication failed|no password supplied|no pg_hba\.conf entry|pg_hba\.conf rejects"
    r"|(?:role|database|user) .* does not exist|is not permitted to log in|permission denied for database"
    r"|does not have CONNECT privilege|no such (?:database|user)|is not currently accepting connections"
    r"|Name or service not known|nodename nor servname provided|No address associated with hostname"
    r"|No such host is known|certificate verify failed|certificate .* (?:does not exist|does not match|has expired)"
    r"|could not (?:read|load) (?:root certificate|certificate|private key)|does not support SSL"
    r"|SSL (?:connection )?(?:is )?required|unsupported frontend protocol",
    re.IGNORECASE,
)
# What a server says if it has no free connection.
_FULL = re.compile(r"too many clients|too many connections|remaining connection slots", re.IGNORECASE)
# Another session has already run the same DDL: duplicate column, object, table, or a unique violation in the catalog.
_DUPLICATE_OBJECT = frozenset({"42701", "42710", "42P07", "23505"})
# Another session changes the same object at the moment: function or trigger missing, created again, or still in use;
# XX000 is PostgreSQL's "tuple concurrently updated".
_CONCURRENT_CHANGE = frozenset({"42883", "42704", "42723", "2BP01", "XX000"})
_INSUFFICIENT_PRIVILEGE = "42501"
_LOCK_NOT_AVAILABLE = "55P03"
# A statement that ran longer than `statement_timeout`, or that an administrator canceled.
_QUERY_CANCELED = "57014"
_FEATURE_NOT_SUPPORTED = "0A000"
_DATA_EXCEPTION_CLASS = "22"
# Undefined function, which an operator is too.
_UNDEFINED_OPERATOR = "42883"
# A name or type in a statement is not there, or not as before; 0A000 is "cached plan must not change result type".
# Without 42501, a missing privilege.
_CHANGED_SCHEMA = re.compile(r"42(?!501)...|0A000")
# What a follower read of a table, column or privilege runs into that did not exist a few seconds ago (42, 3D, 3F, 0A);
# a time that is no longer stored (XXUUU, the code of errors without one of their own), or a licence (XXC).
_NOT_READABLE_IN_PAST = re.compile(r"(42|3D|3F|0A)...|XXUUU|XXC..")
# Locks, objects in use and timeouts, which end without a change of the table or of a row.
_LOCK_OR_TIMEOUT = re.compile(r"55(P03|006)|57014")
# What the same statement of every row runs into: limits of the server, and states of the table, such as a missing
# replica identity. Values over 2 kB are stored outside of the row, so its size depends on the number and the types of
# the columns. The server's primary message for these codes names objects and limits, but no value of a row.
_OF_TABLE = re.compile(r"5[45]...")
# Data and integrity errors, and what a user's own trigger raises, for which the SQL standard leaves the classes that
# start with 5 to 9 and I to Z (5 and XX are the servers'); then program limits; then locks and timeouts.
_ROW_FAILURES: Sequence[tuple[re.Pattern[str], FailureStatus]] = (
    (re.compile(r"(09|21|22|23|27|44)...|(?!XX)[6-9I-Z]...."), "rejected"),
    (re.compile(r"54...|08P01"), "too_long"),
    (re.compile(r"55...|57014"), "transient"),
)
# A row that cannot be read: a value that cannot be converted or is too large to send (22, 54), an error of a function
# that the user wrote (2F, 38, 39, P0, and other codes that it may raise), damaged data, or a value that is too large
# for the memory of the server (XX).
_UNREADABLE_ROW = re.compile(r"(21|22|2F|38|39|54|P0|XX)...|[6-9I-OQ-WYZ]....")
# Data exceptions ('invalid input syntax for type integer: "text"'), and what functions of the user raise.
_QUOTES_VALUE = re.compile(r"(21|22|2F|38|39|P0)...|[6-9I-OQ-WYZ]....")
_TABLE_REMEDIES: Sequence[tuple[re.Pattern[str], str]] = (
    (
        re.compile(r"55..."),
        "Bring the table into the state that the message names; if it names the replica identity, run "
        "`ALTER TABLE ... REPLICA IDENTITY DEFAULT`.",
    ),
    (
        re.compile(r"54..."),
        "Keep the vectors in a table of their own with the same primary key, or move some columns to another table.",
    ),
    (re.compile(r"23..."), "Look for a constraint of the table that no row satisfies."),
)
_OTHER_TABLE_REMEDY = "Look for a trigger or a rule of the table that rejects every update."


def is_lost_connection(sqlstate: str | None, *, is_fatal: bool = False) -> bool:
    """Return whether the connection, not the statement, failed. Client-side errors of the connection have no code.

    Args:
        sqlstate: The code.
        is_fatal: Whether the severity is FATAL, with which the connection ends.
    """
    return sqlstate is None or bool(_LOST_CONNECTION.fullmatch(sqlstate)) or (is_fatal and sqlstate == _PROTOCOL)


def is_rejected_connection(message: str) -> bool:
    """Return whether a connection was rejected for a reason that stays: password, role, database, name, certificate."""
    return bool(_REJECTED_CONNECTION.search(message))


def is_full(message: str) -> bool:
    """Return whether a connection was rejected because the server has no free one for the moment."""
    return bool(_FULL.search(message))


def is_retryable(sqlstate: str | None) -> bool:
    """Return whether the same guarded or read-only statement may succeed when it is sent again."""
    return sqlstate in _RETRYABLE


def is_duplicate_object(sqlstate: str | None) -> bool:
    """Return whether a DDL statement failed because another session has already run it."""
    return sqlstate in _DUPLICATE_OBJECT


def is_concurrent_change(sqlstate: str | None) -> bool:
    """Return whether a DDL statement failed because another session changed the same object at the same time."""
    return sqlstate in _CONCURRENT_CHANGE


def is_missing_privilege(sqlstate: str | None) -> bool:
    """Return whether a privilege is missing, or a row-level security policy rejected the row."""
    return sqlstate == _INSUFFICIENT_PRIVILEGE


def is_lock_timeout(sqlstate: str | None) -> bool:
    """Return whether a statement ended because it could not get a lock in time."""
    return sqlstate == _LOCK_NOT_AVAILABLE


def is_timed_out(sqlstate: str | None) -> bool:
    """Return whether a statement was canceled, usually because of `statement_timeout`."""
    return sqlstate == _QUERY_CANCELED


def is_changed_schema(sqlstate: str | None) -> bool:
    """Return whether a statement may have failed because a table was replaced or its columns were changed."""
    return bool(_CHANGED_SCHEMA.fullmatch(sqlstate or ""))


def is_not_readable_in_past(sqlstate: str | None) -> bool:
    """Return whether a follower read may have failed only because it reads the past."""
    return bool(_NOT_READABLE_IN_PAST.fullmatch(sqlstate or ""))


def is_not_supported(sqlstate: str | None) -> bool:
    """Return whether the server does not have a feature, or does not have it for this table."""
    return sqlstate == _FEATURE_NOT_SUPPORTED


def is_unreadable_row(sqlstate: str | None) -> bool:
    """Return whether one row may be the reason why a page of rows could not be read."""
    return bool(_UNREADABLE_ROW.fullmatch(sqlstate or ""))


def may_quote_value(sqlstate: str | None) -> bool:
    """Return whether the server's primary message of this code can quote a value of a row."""
    return bool(_QUOTES_VALUE.fullmatch(sqlstate or ""))


def is_data_exception(sqlstate: str | None) -> bool:
    """Return whether a value does not fit its column's type."""
    return (sqlstate or "").startswith(_DATA_EXCEPTION_CLASS)


def is_undefined_operator(sqlstate: str | None) -> bool:
    """Return whether the types of a comparison have no such operator."""
    return sqlstate == _UNDEFINED_OPERATOR


def row_failure_status(sqlstate: str | None) -> FailureStatus | None:
    """Return the status of a row whose write failed with this code; None if the row did not cause the error."""
    return next((status for pattern, status in _ROW_FAILURES if pattern.fullmatch(sqlstate or "")), None)


def is_lock_or_timeout(sqlstate: str | None) -> bool:
    """Return whether a statement failed because of a lock, an object in use or a timeout."""
    return bool(_LOCK_OR_TIMEOUT.fullmatch(sqlstate or ""))


def is_usually_of_table(sqlstate: str | None) -> bool:
    """Return whether a write with this code usually fails because of the table, also if only one row was written."""
    return bool(_OF_TABLE.fullmatch(sqlstate or "")) and not is_lock_or_timeout(sqlstate)


def table_remedy(sqlstate: str | None) -> str:
    """Return what to do if a table rejects every write with this code, as one imperative sentence."""
    return next(
        (remedy for pattern, remedy in _TABLE_REMEDIES if pattern.fullmatch(sqlstate or "")), _OTHER_TABLE_REMEDY
    )
