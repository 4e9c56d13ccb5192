"""A connection pooler as far as the start of a session goes: it rejects or ignores the parameter `options`."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Literal
from urllib.parse import urlsplit

import psycopg

_SSL_REQUEST, _GSS_REQUEST = 80877103, 80877104


@contextmanager
def pooler(url: str, on_options: Literal["reject", "ignore"]) -> Iterator[str]:
    """Listen on a port, forward sessions to the server of a URL on a Unix socket, and yield the URL of the port."""
    path, user = unix_socket(url)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_serve, args=(listener, path, on_options), daemon=True).start()
        yield f"postgresql://{user}@127.0.0.1:{listener.getsockname()[1]}{urlsplit(url).path}"
        # Wakes up the thread that accepts.
        listener.shutdown(socket.SHUT_RDWR)


def unix_socket(url: str) -> tuple[str, str]:
    """Return the path of the Unix socket of a URL, and its user."""
    with psycopg.connect(url) as connection:
        return f"{connection.info.host}/.s.PGSQL.{connection.info.port}", connection.info.user


def _serve(listener: socket.socket, path: str, on_options: str) -> None:
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            threading.Thread(target=_session, args=(client, path, on_options), daemon=True).start()


def _session(client: socket.socket, path: str, on_options: str) -> None:
    with closing(client), closing(socket.socket(socket.AF_UNIX)) as server, suppress(OSError, struct.error):
        version, body = read_startup(client)
        words = body.rstrip(b"\0").split(b"\0")
        parameters = dict(zip(words[::2], words[1::2], strict=True))
        if parameters.pop(b"options", None) is not None and on_options == "reject":
            fields = b"SFATAL\0C08P01\0Munsupported startup parameter: options\0\0"
            client.sendall(b"E" + struct.pack("!i", len(fields) + 4) + fields)
            return
        server.connect(path)
        body = b"".join(name + b"\0" + value + b"\0" for name, value in parameters.items()) + b"\0"
        server.sendall(struct.pack("!ii", len(body) + 8, version) + body)
        back = threading.Thread(target=_copy, args=(server, client), daemon=True)
        back.start()
        _copy(client, server)
        back.join()


def read_startup(client: socket.socket) -> tuple[int, bytes]:
    """Read the start of a session, and reject encryption; return the version of the protocol and the parameters."""
    while True:
        length, version = struct.unpack("!ii", client.recv(8, socket.MSG_WAITALL))
        body = client.recv(length - 8, socket.MSG_WAITALL) if length > 8 else b""
        if version not in (_SSL_REQUEST, _GSS_REQUEST):
            return version, body
        client.sendall(b"N")


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
