"""How a connection reaches the server: through a network or not, with TLS or not."""

from ipaddress import ip_address
from typing import NamedTuple

import psycopg

# That of libpq.
_DEFAULT_SSL_MODE = "prefer"


class Transport(NamedTuple):
    """How a connection reaches the server.

    Attributes:
        is_local: Whether it does not leave this machine.
        is_encrypted: Whether it uses TLS.
        sslmode: The setting that decides what is verified.
    """

    is_local: bool
    is_encrypted: bool
    sslmode: str


def transport_of(connection: psycopg.Connection) -> Transport:
    """Return how a connection reaches the server."""
    info = connection.info
    # The name of a folder, in which the socket is, or an address; the host may be a name of this machine.
    is_local = info.host.startswith(("/", "@")) or ip_address(info.hostaddr).is_loopback
    mode = info.get_parameters().get("sslmode", _DEFAULT_SSL_MODE)
    return Transport(is_local, bool(connection.pgconn.ssl_in_use), mode)
