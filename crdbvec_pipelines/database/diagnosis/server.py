"""Findings about the connection and the server: encryption, version, pooler, settings, clocks."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.diagnosis.finding import Finding
from crdbvec_pipelines.database.diagnosis.statements import (
    read_clock,
    read_extension_privilege,
    read_role_settings,
)
from crdbvec_pipelines.database.schema.statements import create_extension
from crdbvec_pipelines.database.transport import Transport

# Times of failed rows and of edits are those of the server, so only a large difference misleads readers of logs.
_MAX_SKEW = timedelta(seconds=30)
# A page of rows or a group of writes takes less than this on a busy server.
_MIN_STATEMENT_TIMEOUT_MS = 30_000


def server_findings(database: Database) -> Iterator[Finding]:
    """Yield the findings about an open database."""
    yield Finding("ok", "connection", None, f"Connected to the database {database.name}.")
    yield tls_finding(database.transport())
    yield _version(database)
    yield from _extension(database)
    yield _pooler(database)
    yield from _settings(database)
    yield _clock(database)


def tls_finding(transport: Transport) -> Finding:
    """Return whether the connection is encrypted, and whether the server is verified."""
    remedy = "Set sslmode=verify-full in the URL, and sslrootcert to the file of the authority's certificate."
    if transport.is_encrypted and transport.sslmode == "verify-full":
        return Finding("ok", "tls", None, "The connection is encrypted, and the name of the server is verified.")
    if transport.is_local:
        return Finding("ok", "tls", None, "The connection does not leave this machine.")
    if not transport.is_encrypted:
        return Finding(
            "warning", "tls", None, "The connection is not encrypted, so the network can read the rows.", remedy
        )
    verified = "certificate of the server, but not its name" if transport.sslmode == "verify-ca" else ""
    message = (
        f"The connection is encrypted, and verifies the {verified}."
        if verified
        else f"The connection is encrypted, but does not verify the server (sslmode={transport.sslmode})."
    )
    return Finding("warning", "tls", None, message, remedy)


def _pooler(database: Database) -> Finding:
    message = "A connection pooler keeps one session of the server for each connection."
    return Finding("ok", "pooler", None, message if database.has_pooler else "No connection pooler is in between.")


def _version(database: Database) -> Finding:
    problem = database.dialect.unsupported_version
    if problem is None:
        return Finding("ok", "server", None, f"The server is {database.server}.")
    return Finding("warning", "server", None, f"The server is {database.server}. {problem}", "Upgrade the server.")


def _extension(database: Database) -> Iterator[Finding]:
    """Yield whether vectors can be stored; nothing if the server has them without an extension."""
    dialect = database.dialect
    if dialect.extension_privilege is None:
        return
    if database.read_vector_schema():
        yield Finding("ok", "extension", None, "The database has the extension vector.")
        return
    found = database.fetch(read_extension_privilege(dialect))
    if not found:
        yield Finding(
            "error",
            "extension",
            None,
            "The server does not have the extension vector, so it cannot store vectors.",
            "Install pgvector on the host of the server, or use a server that has it.",
        )
        return
    ((role, may_create),) = found
    if may_create:
        yield Finding("ok", "extension", None, f"The role {role} can create the extension vector.")
    else:
        # A warning only, because providers let roles create some extensions without this privilege.
        yield Finding(
            "warning",
            "extension",
            None,
            f"The database does not have the extension vector, which only a superuser can create, not the role {role}.",
            f"Let a superuser run in this database: {create_extension(dialect).text};",
        )


def _settings(database: Database) -> Iterator[Finding]:
    role, is_read_only, is_replica, timeout, idle_timeout = database.fetch_one(read_role_settings(database.dialect))
    if is_replica:
        yield Finding(
            "error",
            "settings",
            None,
            "The server is a replica that accepts no writes, so nothing can be embedded.",
            "Set the URL of the primary server.",
        )
    elif is_read_only:
        yield Finding(
            "error",
            "settings",
            None,
            f"The transactions of the role {role} are read-only, so nothing can be embedded.",
            f"Run: ALTER ROLE {role} SET default_transaction_read_only = off.",
        )
    if 0 < timeout < _MIN_STATEMENT_TIMEOUT_MS:
        yield Finding(
            "warning",
            "settings",
            None,
            f"The server cancels the statements of the role {role} after {timeout / 1000:g} s (statement_timeout), "
            "which counts of a large table exceed.",
            f"Run: ALTER ROLE {role} SET statement_timeout = '5min'.",
        )
    if idle_timeout:
        yield Finding(
            "warning",
            "settings",
            None,
            f"The server ends sessions that are idle for {idle_timeout / 1000:g} s (idle_session_timeout), "
            "which a slow model exceeds.",
            f"Run: ALTER ROLE {role} SET idle_session_timeout = 0.",
        )
    if not (is_replica or is_read_only):
        yield Finding("ok", "settings", None, f"The role {role} can write.")


def _clock(database: Database) -> Finding:
    before = datetime.now(UTC)
    (time,) = database.fetch_one(read_clock())
    after = datetime.now(UTC)
    # Half of the time between the two is an error of the comparison.
    skew = max(before - time, time - after, timedelta(0))
    if skew <= _MAX_SKEW:
        return Finding("ok", "clock", None, "The clocks of this machine and of the server agree.")
    return Finding(
        "warning",
        "clock",
        None,
        f"The clock of this machine and that of the server differ by {skew.total_seconds():,.0f} s. Times in logs and "
        "in Dagster are those of this machine, retry times and edits those of the server.",
        "Synchronize both clocks.",
    )
