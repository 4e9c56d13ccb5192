"""A local server that answers the requests of `huggingface_hub` like the Hugging Face hub, from folders."""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.support.http_servers import serving

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NEWER_COMMIT = "89abcdef0123456789abcdef0123456789abcdef"


@dataclass
class FakeHub:
    """The content of the server.

    Attributes:
        url: The address of the server.
        models: By id, the folder of the model.
        commit: The commit of the branch `main` of every model.
        gated: The ids of the models for which access must be requested.
        requests: The paths of the requests.
    """

    url: str = ""
    models: dict[str, Path] = field(default_factory=dict)
    commit: str = COMMIT
    gated: set[str] = field(default_factory=set)
    requests: list[str] = field(default_factory=list)


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    """Run a server until the block ends."""
    hub = FakeHub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer()

        def do_HEAD(self) -> None:
            self._answer()

        def log_message(self, *_: object) -> None:
            pass

        def _answer(self) -> None:
            path = self.path.partition("?")[0]
            hub.requests.append(path)
            information = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path)
            file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
            tree = re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)", path)
            found = information or file or tree
            if found is None or found[1] not in hub.models:
                return self._fail(404, "RepoNotFound")
            if found[1] in hub.gated:
                return self._fail(403, "GatedRepo")
            if found[2] not in (None, "main", COMMIT, NEWER_COMMIT):
                return self._fail(404, "RevisionNotFound")
            if file:
                return self._file(hub.models[found[1]] / found[3])
            return self._tree(found[1]) if tree else self._information(found[1], found[2])

        def _information(self, name: str, revision: str | None) -> None:
            folder = hub.models[name]
            files = [{"rfilename": str(path.relative_to(folder))} for path in folder.rglob("*") if path.is_file()]
            commit = hub.commit if revision in (None, "main") else revision
            content = {"id": name, "modelId": name, "sha": commit, "siblings": files, "private": False, "tags": []}
            self._send(json.dumps(content).encode(), {"Content-Type": "application/json"})

        def _tree(self, name: str) -> None:
            folder = hub.models[name]
            files = [
                {
                    "type": "file",
                    "path": str(path.relative_to(folder)),
                    "size": path.stat().st_size,
                    "oid": hashlib.sha1(path.read_bytes(), usedforsecurity=False).hexdigest(),
                }
                for path in folder.rglob("*")
                if path.is_file()
            ]
            self._send(json.dumps(files).encode(), {"Content-Type": "application/json"})

        def _file(self, path: Path) -> None:
            if not path.is_file():
                return self._fail(404, "EntryNotFound")
            content = path.read_bytes()
            etag = hashlib.sha256(content).hexdigest()
            return self._send(content, {"ETag": f'"{etag}"', "X-Repo-Commit": hub.commit})

        def _fail(self, status: int, code: str) -> None:
            self._send(b"{}", {"X-Error-Code": code, "X-Error-Message": code}, status)

        def _send(self, content: bytes, headers: dict[str, str], status: int = 200) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    with serving(server):
        yield hub
