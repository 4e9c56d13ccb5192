"""A Pushgateway of Prometheus, as far as runs use it: groups that PUT replaces, and all of them at /metrics."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client.parser import text_string_to_metric_families

from tests.support.http_servers import serving

Group = tuple[tuple[str, str], ...]


class Pushgateway(ThreadingHTTPServer):
    """The server, and the text of each group.

    Attributes:
        groups: The text that was pushed last, by group.
        status: The status of the replies.
        authorizations: The credentials of the requests.
    """

    def __init__(self) -> None:
        self.groups: dict[Group, str] = {}
        self.status = 200
        self.authorizations: list[str | None] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self.server_port}"

    def text(self) -> str:
        """Return what Prometheus scrapes: the samples of all groups, with the labels of their group."""
        lines = []
        for group, text in self.groups.items():
            for family in text_string_to_metric_families(text):
                lines.append(f"# TYPE {family.name} {family.type}")
                for sample in family.samples:
                    # An empty label is none, and the labels of the group replace those of the sample.
                    labels = {**sample.labels, **dict(group)}
                    shown = ",".join(f'{name}="{value}"' for name, value in labels.items() if value)
                    lines.append(f"{sample.name}{{{shown}}} {sample.value}")
        return "\n".join([*lines, ""])


class _Handler(BaseHTTPRequestHandler):
    server: Pushgateway

    def do_GET(self) -> None:
        assert self.path == "/metrics"
        self._reply(self.server.text())

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.authorizations.append(self.headers["Authorization"])
        if self.server.status == 200:
            self.server.groups[_group(self.path)] = body
        self._reply("")

    def _reply(self, body: str) -> None:
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Write nothing."""


def _group(path: str) -> Group:
    root, metrics, *parts = path.split("/")
    assert (root, metrics, parts[0]) == ("", "metrics", "job")
    labels = []
    for name, value in zip(parts[::2], parts[1::2], strict=True):
        plain, _, encoding = name.partition("@")
        labels.append((plain, base64.urlsafe_b64decode(value + "==").decode() if encoding else value))
    return tuple(labels)


@contextmanager
def pushgateway() -> Iterator[Pushgateway]:
    """Run a Pushgateway."""
    server = Pushgateway()
    with serving(server):
        yield server
