"""Each difference between servers, one module a server. Which one is spoken to is read off the connection."""

import psycopg
from psycopg.crdb.connection import CrdbConnectionInfo

from crdbvec_pipelines.database.dialects.base import Dialect
from crdbvec_pipelines.database.dialects.cockroachdb import CockroachDialect
from crdbvec_pipelines.database.dialects.postgres import PostgresDialect

__all__ = ["CockroachDialect", "Dialect", "PostgresDialect", "detect"]


def detect(connection: psycopg.Connection) -> Dialect:
    """The dialect of the server at the other end.

    CockroachDB announces itself in the parameter status `crdb_version`, before any statement is sent.
    """
    if connection.pgconn.parameter_status(b"crdb_version"):
        return CockroachDialect(CrdbConnectionInfo(connection.pgconn).server_version)
    return PostgresDialect()
