"""Connections outside of the pool, for statements that every server answers at once."""

from collections.abc import Mapping

import psycopg

from crdbvec_pipelines.database.replies import keepalives, watched

APPLICATION_NAME = "crdbvec"
"""The name of a connection, unless its caller gives another one."""

CONNECT_TIMEOUT_SECONDS = 10
"""Covers a TLS handshake over a slow network; an unreachable host is still reported soon."""


class Connector:
    """Opens connections to one database.

    Args:
        url: The connection string, as libpq accepts it.
        application_name: The name that the server's own views show.

    Attributes:
        url: The connection string.
        timeout_seconds: The time after which an attempt to connect ends.
        arguments: The arguments of every connection, also of those in the pool.
    """

    def __init__(self, url: str, application_name: str) -> None:
        self.url = url
        self.timeout_seconds = CONNECT_TIMEOUT_SECONDS
        self.arguments: Mapping[str, str | int] = {
            "application_name": application_name,
            "connect_timeout": self.timeout_seconds,
            "autocommit": True,
            **keepalives(url),
        }

    def connect(self, **address: str | int | None) -> psycopg.Connection:
        """Open a connection.

        Args:
            address: The parameters of the URL to replace, such as the host.

        Raises:
            psycopg.Error: The server cannot be reached or rejects the connection, or the URL has an invalid option.
        """
        momentary = watched(psycopg.Connection, self.timeout_seconds, lambda connection, waited_seconds: True)
        return momentary.connect(self.url, **{**self.arguments, **address})  # type: ignore[arg-type]
