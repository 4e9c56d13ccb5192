"""Connections that do not wait without limit for a reply of the server.

A proxy, a pooler or a server that hangs accepts what it is sent and answers nothing. Its kernel acknowledges the
packets, so the time-outs of TCP do not end the wait.
"""

import time
from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict
from psycopg.waiting import Ready, Wait

T = TypeVar("T")

DEFAULT_REPLY_TIMEOUT_SECONDS = 60.0
"""Longer than most statements take, so that the server is rarely asked about one."""

_CONFIRMATION_SECONDS = 1.0
"""A reply can be on its way, or its statement not have begun, at the moment at which the server is asked about it."""

# A host that is switched off acknowledges nothing; the system ends the connection after one to two minutes.
_KEEPALIVES: Mapping[str, int] = {
    "keepalives_idle": 60,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 90_000,
}


class HasStalled(Protocol):
    """Decides whether the reply that a connection waits for will not come."""

    def __call__(self, connection: psycopg.Connection, waited_seconds: float) -> bool:
        """Return whether the connection is to be closed.

        Args:
            connection: The connection.
            waited_seconds: How long it has waited without receiving anything.
        """


def watched(
    base: type[psycopg.Connection], timeout_seconds: float, has_stalled: HasStalled
) -> type[psycopg.Connection]:
    """Return a connection class that closes a connection whose reply does not come.

    Its statement then fails with an error that counts as a lost connection.

    Args:
        base: The class of the connections.
        timeout_seconds: The time without a byte from the server after which, and then again each time, `has_stalled`
            is called. The connection is closed if the answer is the same a moment later.
        has_stalled: Decides about one connection.
    """

    class WatchedConnection(base):  # type: ignore[misc, valid-type]
        def wait(self, gen: PQGen[T], *args: Any, **options: Any) -> T:
            waited: T = super().wait(_limited(self, gen, timeout_seconds, has_stalled), *args, **options)
            return waited

    return WatchedConnection


def keepalives(conninfo: str) -> dict[str, int]:
    """Return the parameters of TCP with which a host that has disappeared is noticed, without those that are set."""
    given = conninfo_to_dict(conninfo)
    return {name: value for name, value in _KEEPALIVES.items() if name not in given}


def _limited(
    connection: psycopg.Connection, replies: PQGen[T], timeout_seconds: float, has_stalled: HasStalled
) -> PQGen[T]:
    """Run a generator of psycopg, which it resumes every tenth of a second while there is nothing to read."""
    started = time.monotonic()
    next_check = started + timeout_seconds
    is_suspected = False
    try:
        wanted: Wait = next(replies)
        while True:
            ready: Ready | int = yield wanted
            now = time.monotonic()
            if ready:
                started, next_check, is_suspected = now, now + timeout_seconds, False
            elif now >= next_check:
                was_suspected, is_suspected = is_suspected, has_stalled(connection, now - started)
                if was_suspected and is_suspected:
                    connection.pgconn.finish()
                    raise psycopg.OperationalError(f"the server sent no reply for {now - started:.0f} s")
                wait_seconds = min(timeout_seconds, _CONFIRMATION_SECONDS) if is_suspected else timeout_seconds
                next_check = time.monotonic() + wait_seconds
            wanted = replies.send(ready)
    except StopIteration as end:
        result: T = end.value
        return result
