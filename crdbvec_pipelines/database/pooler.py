"""A connection pooler between this process and the server, such as PgBouncer."""

import selectors
import time
from collections.abc import Callable
from contextlib import closing

import psycopg

from crdbvec_pipelines.database.errors import SharedSessions
from crdbvec_pipelines.database.session import read_backend_pid

# A pooler that keeps a session for each connection, and has no further session, lets the next connection wait.
_WAIT_SECONDS = 2.0


def find_pooler(connection: psycopg.Connection, connect: Callable[[], psycopg.Connection]) -> bool:
    """Return whether a connection pooler is in between, which keeps a session of the server for each connection.

    A pooler announces another process of the server than the one that runs the statements.

    Args:
        connection: A connection to a server that announces its process.
        connect: Opens another connection to it.

    Raises:
        SharedSessions: The pooler runs the statements of a connection in changing sessions.
    """
    first = _session(connection)
    if first == connection.info.backend_pid:
        return False
    with closing(connect()) as another:
        # Sessions are shared if another connection gets the session that this one has used, or if this one gets
        # another; it is asked twice, because a pooler may assign its sessions in turn.
        other = _session_if_free(another)
        again = {_session(connection), _session(connection)}
    if other == first or again != {first}:
        raise SharedSessions
    return True


def _session(connection: psycopg.Connection) -> int:
    ((pid,),) = connection.execute(read_backend_pid().query).fetchall()
    return int(pid)


def _session_if_free(connection: psycopg.Connection) -> int | None:
    """Return the session that runs a statement; None if the connection gets none soon."""
    deadline = time.monotonic() + _WAIT_SECONDS
    pgconn = connection.pgconn
    pgconn.send_query(read_backend_pid().query)
    with selectors.DefaultSelector() as selector:
        selector.register(pgconn.socket, selectors.EVENT_READ)
        while pgconn.is_busy():
            if not selector.select(max(0.0, deadline - time.monotonic())):
                return None
            pgconn.consume_input()
    result = pgconn.get_result()
    value = None if result is None else result.get_value(0, 0)
    return None if value is None else int(value)
