"""A small HTTP server in a thread, for the tests of models behind an API."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

from tests.support.http_servers import serving

Response = tuple[int, dict[str, str], object]
"""Status, headers and body, which is JSON unless it is bytes."""


@contextmanager
def json_server(respond: Callable[[str, Mapping[str, str], dict[str, Any]], Response]) -> Iterator[str]:
    """Yield the address of a server that answers POST requests by a function of path, headers and body.

    The body of a form, such as a request for a token, is empty.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            is_form = self.headers["Content-Type"] == "application/x-www-form-urlencoded"
            body = {} if is_form else json.loads(content)
            status, headers, response = respond(self.path, cast(Any, self.headers), body)
            content = response if isinstance(response, bytes) else json.dumps(response).encode()
            # A client that does not wait for the response has closed the connection.
            with suppress(BrokenPipeError, ConnectionResetError):
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    with serving(http):
        yield f"http://127.0.0.1:{http.server_port}"
