"""The differences between servers, one module per server. `detect` recognizes the server from the connection."""

import psycopg
from psycopg.crdb.connection import CrdbConnectionInfo

from crdbvec_pipelines.database.dialects.base import Dialect
from crdbvec_pipelines.database.dialects.cockroachdb import CockroachDialect
from crdbvec_pipelines.database.dialects.postgres import PostgresDialect

__all__ = ["CockroachDialect", "Dialect", "PostgresDialect", "detect"]


def detect(connection: psycopg.Connection) -> Dialect:
    """Return the dialect of the server of a connection.

    CockroachDB sends the parameter status `crdb_version` when the connection starts, so no statement is needed.
    """
    if connection.pgconn.parameter_status(b"crdb_version"):
        return CockroachDialect(CrdbConnectionInfo(connection.pgconn).server_version)
    return PostgresDialect(connection.info.parameter_status("server_encoding") or "UTF8")
