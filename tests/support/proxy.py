"""A TCP proxy in front of a server on a Unix socket, which injects the faults of networks on command.

It forwards whole chunks in both directions, and knows enough of PostgreSQL's protocol to act in the middle of an answer
or between a commit and its answer.
"""

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote, urlsplit

from tests.support.pooler import read_startup, unix_socket

Direction = Literal["to_server", "to_client"]
BOTH: tuple[Direction, ...] = ("to_server", "to_client")
DIRECTIONS: tuple[tuple[Direction, ...], ...] = (("to_server",), ("to_client",), BOTH)
End = Literal["fin", "rst"]

_CHUNK_BYTES = 65_536
# How often a stalled direction looks whether the stall is over.
_POLL_SECONDS = 0.01
_READY_FOR_QUERY, _COMMAND_COMPLETE = b"Z", b"C"
_CHANGES = (b"INSERT", b"UPDATE", b"DELETE", b"CREATE", b"ALTER", b"DROP")
_HEAD_BYTES = 5
# Messages of the protocol itself, such as ReadyForQuery, are not longer.
_SHORT_MESSAGE_BYTES = 6


@dataclass(eq=False)
class _Session:
    """One client.

    Attributes:
        client: The socket of the client.
        server: The socket of the server.
        swallowed: The directions in which nothing is forwarded any more.
    """

    client: socket.socket
    server: socket.socket = field(default_factory=lambda: socket.socket(socket.AF_UNIX))
    swallowed: tuple[Direction, ...] = ()
    is_cut: bool = False

    def cut(self, end: End) -> None:
        """End the connections to both sides."""
        self.is_cut = True
        with suppress(OSError):
            if end == "rst":
                # Without a time to linger, closing the socket sends RST. Until then nothing is sent: this only wakes up
                # the thread that reads and then closes it.
                self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.client.shutdown(socket.SHUT_RD)
            else:
                self.client.shutdown(socket.SHUT_RDWR)
        with suppress(OSError):
            self.server.shutdown(socket.SHUT_RDWR)


class Proxy:
    """A listening proxy. All methods can be called from any thread.

    Attributes:
        url: The URL with which clients connect through the proxy.
        delay_seconds: How long each chunk is delayed.
        cuts_every_second_commit: Whether every second transaction that changes something is cut, from the first one on,
            after its commit and before its answer.
        commits_cut: How many sessions were cut between a commit and its answer.
        answers_truncated: How many answers were truncated.
    """

    def __init__(self, url: str, password: str, address: str = "127.0.0.1") -> None:
        self._path, user = unix_socket(url)
        self._listener = socket.create_server((address, 0))
        port = self._listener.getsockname()[1]
        self.url = f"postgresql://{user}:{quote(password, safe='')}@{address}:{port}{urlsplit(url).path}"
        self.delay_seconds = 0.0
        self.cuts_every_second_commit = False
        self.commits_cut = 0
        self.answers_truncated = 0
        self._lock = threading.Lock()
        self._sessions: set[_Session] = set()
        self._stalled: tuple[Direction, ...] = ()
        self._is_closed = False
        self._commits_to_cut = 0
        self._answers_to_truncate = 0
        self._commits = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Stop listening, and end all sessions."""
        self._is_closed = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    @property
    def sessions(self) -> int:
        """The number of open sessions."""
        with self._lock:
            return len(self._sessions)

    def cut(self, end: End = "fin") -> int:
        """End all sessions, and return how many there were."""
        with self._lock:
            sessions = list(self._sessions)
        for session in sessions:
            session.cut(end)
        return len(sessions)

    @contextmanager
    def stalled(self, *directions: Direction) -> Iterator[None]:
        """Hold what is sent in directions, in present and new sessions; forward it at the end."""
        self._stalled = directions
        try:
            yield
        finally:
            self._stalled = ()

    def swallow(self, *directions: Direction) -> int:
        """Discard in the present sessions all that is sent in directions; return how many sessions there were."""
        with self._lock:
            for session in self._sessions:
                session.swallowed = directions
            return len(self._sessions)

    def truncate_next_answer(self) -> None:
        """Cut the session of the next answer to a statement in the middle of a message of the server."""
        with self._lock:
            self._answers_to_truncate += 1

    def cut_after_next_commit(self) -> None:
        """Cut the session of the next transaction that changes something, after its commit and before its answer."""
        with self._lock:
            self._commits_to_cut += 1

    def cancel_orders(self) -> None:
        """Cancel the faults that are ordered for a later answer."""
        with self._lock:
            self._commits_to_cut = self._answers_to_truncate = 0

    def _accept(self) -> None:
        with suppress(OSError):
            while not self._is_closed:
                client, _ = self._listener.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._run, args=(_Session(client),), daemon=True).start()

    def _run(self, session: _Session) -> None:
        with self._lock:
            self._sessions.add(session)
        try:
            with suppress(OSError, struct.error):
                version, body = read_startup(session.client)
                session.server.connect(self._path)
                session.server.sendall(struct.pack("!ii", len(body) + 8, version) + body)
                back = threading.Thread(target=self._forward_answers, args=(session,), daemon=True)
                back.start()
                self._forward(session, "to_server", session.client, session.server)
                back.join()
        finally:
            with self._lock:
                self._sessions.discard(session)
            session.client.close()
            session.server.close()

    def _forward(self, session: _Session, direction: Direction, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(_CHUNK_BYTES):
                self._send(session, direction, target, data)
        self._end(session, direction, target)

    def _send(self, session: _Session, direction: Direction, target: socket.socket, data: bytes | bytearray) -> None:
        """Send data after the delay and the end of a stall, unless it is swallowed."""
        if self.delay_seconds:
            time.sleep(self.delay_seconds)
        while direction in self._stalled and not session.is_cut and not self._is_closed:
            time.sleep(_POLL_SECONDS)
        if direction not in session.swallowed:
            target.sendall(data)

    def _end(self, session: _Session, direction: Direction, target: socket.socket) -> None:
        """Pass the end of one side on to the other. In a session that swallows, the client does not see it."""
        if (direction == "to_server" or direction not in session.swallowed) and not session.is_cut:
            with suppress(OSError):
                target.shutdown(socket.SHUT_WR)

    def _forward_answers(self, session: _Session) -> None:
        """Forward the messages of the server, with the faults that are ordered for one of them."""
        messages = _Messages()
        is_started = is_held = is_decided = False
        with suppress(OSError):
            while data := session.server.recv(_CHUNK_BYTES):
                forwarded = bytearray()
                for message in messages.complete(data):
                    is_ready = message.startswith(_READY_FOR_QUERY)
                    if is_held and is_ready:
                        self.commits_cut += 1
                        session.cut("rst")
                        return
                    if is_started and not is_decided and _has_changed_something(message):
                        # Once for each transaction, of which all answers are held until it is committed.
                        is_held, is_decided = self._takes_commit(), True
                    is_decided = is_decided and not is_ready
                    if is_held:
                        continue
                    if is_started and len(message) > _SHORT_MESSAGE_BYTES and self._take("_answers_to_truncate"):
                        self._send(session, "to_client", session.client, forwarded + message[: len(message) // 2])
                        self.answers_truncated += 1
                        session.cut("fin")
                        return
                    # The first one ends the start of the session, which is no answer to a statement.
                    is_started = is_started or is_ready
                    forwarded += message
                if forwarded:
                    self._send(session, "to_client", session.client, forwarded)
        self._end(session, "to_client", session.client)

    def _takes_commit(self) -> bool:
        """Return whether to cut the session of a transaction that changes something."""
        with self._lock:
            self._commits += 1
            if self.cuts_every_second_commit and self._commits % 2:
                return True
        return self._take("_commits_to_cut")

    def _take(self, name: Literal["_commits_to_cut", "_answers_to_truncate"]) -> bool:
        """Return whether a fault was ordered, and count it as done."""
        with self._lock:
            left: int = getattr(self, name)
            setattr(self, name, max(0, left - 1))
            return left > 0


class _Messages:
    """The messages of a stream: a byte for the kind, four for the length, and the rest."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def complete(self, data: bytes) -> Iterator[bytes]:
        """Add data to the stream, and yield each message that is complete then."""
        self._buffer += data
        while len(self._buffer) >= _HEAD_BYTES:
            (length,) = struct.unpack_from("!i", self._buffer, 1)
            if len(self._buffer) <= length:
                return
            yield bytes(self._buffer[: length + 1])
            del self._buffer[: length + 1]


def _has_changed_something(message: bytes) -> bool:
    """Return whether a message of the server is the end of a statement with an effect, such as `UPDATE 1`."""
    words = message[_HEAD_BYTES:].rstrip(b"\0").split()
    return message.startswith(_COMMAND_COMPLETE) and words[0] in _CHANGES and words[-1] != b"0"
