"""Rows that name pictures: what is allowed is read, everything else is a failure without the text of the row."""

import os
import socket
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from crdbvec_pipelines.encoding.errors import InputRejected, ModelError
from crdbvec_pipelines.encoding.picture_locations import PictureLocations
from crdbvec_pipelines.encoding.reasons import Reason
from tests.support.http_servers import serving

PICTURE = b"the content of a picture"


class Pages(BaseHTTPRequestHandler):
    """Answers by path, and records the requests."""

    requested: list[str]

    def do_GET(self) -> None:
        self.requested.append(self.path)
        host, port = "127.0.0.1", self.connection.getsockname()[1]
        if self.path.startswith("/to/"):
            targets = {
                "here": "/a.jpg",
                "loop": "/to/loop",
                "localhost": f"http://localhost:{port}/a.jpg",
                "other-port": f"http://{host}:{port + 1}/a.jpg",
                "file": "file:///etc/passwd",
            }
            self.send_response(302)
            self.send_header("Location", targets[self.path.removeprefix("/to/")])
            self.end_headers()
        elif self.path == "/large":
            self.send_response(200)
            self.end_headers()
            while True:
                self.wfile.write(b"0" * 1_000)
        elif self.path == "/slow":
            self.send_response(200)
            self.end_headers()
            for _ in range(600):
                self.wfile.write(b"0")
                time.sleep(0.05)
        elif self.path == "/short":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(PICTURE)
        elif self.path.startswith("/status/"):
            self.send_error(int(self.path.removeprefix("/status/")))
        else:
            self.send_response(200)
            self.send_header("Content-Length", str(len(PICTURE)))
            self.end_headers()
            self.wfile.write(PICTURE)

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except OSError:
            # The client has closed the connection.
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    Pages.requested = []
    running = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    running.daemon_threads = True
    with serving(running):
        yield running


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Return an allowed folder next to one that is not allowed."""
    (tmp_path / "photos" / "2026").mkdir(parents=True)
    (tmp_path / "photos" / "2026" / "a.jpg").write_bytes(PICTURE)
    (tmp_path / "photos" / "inner.jpg").symlink_to(tmp_path / "photos" / "2026" / "a.jpg")
    (tmp_path / "photos-private").mkdir()
    (tmp_path / "photos-private" / "secret.jpg").write_bytes(b"secret")
    (tmp_path / "photos" / "outside.jpg").symlink_to(tmp_path / "photos-private" / "secret.jpg")
    (tmp_path / "photos" / "private").symlink_to(tmp_path / "photos-private")
    (tmp_path / "photos" / "dangling.jpg").symlink_to(tmp_path / "photos" / "missing.jpg")
    os.mkfifo(tmp_path / "photos" / "pipe")
    return tmp_path / "photos"


def rejection(locations: PictureLocations, location: str) -> InputRejected:
    with pytest.raises(InputRejected) as caught:
        locations.read(location)
    shown = f"{caught.value} {caught.value.stored_text}"
    assert not location or location not in shown
    assert "secret" not in shown
    return caught.value


def test_files_in_allowed_folders_are_read(photos: Path, tmp_path: Path) -> None:
    locations = PictureLocations([tmp_path / "photos-private", photos])
    locations.check()
    for location in (f"{photos}/2026/a.jpg", "2026/a.jpg", "./2026//a.jpg", "inner.jpg"):
        assert locations.read(location) == PICTURE


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("{folder}-private/secret.jpg", Reason.NOT_ALLOWED),
        ("{folder}/../photos-private/secret.jpg", Reason.NOT_ALLOWED),
        ("../photos-private/secret.jpg", Reason.NOT_ALLOWED),
        ("2026/../2026/a.jpg", Reason.NOT_ALLOWED),
        ("/etc/passwd", Reason.NOT_ALLOWED),
        ("outside.jpg", Reason.NOT_ALLOWED),
        ("private/secret.jpg", Reason.NOT_ALLOWED),
        ("pipe", Reason.NOT_ALLOWED),
        ("2026", Reason.NOT_ALLOWED),
        ("", Reason.NOT_ALLOWED),
        ("a\0b", Reason.NOT_ALLOWED),
        ("file:///etc/passwd", Reason.NOT_ALLOWED),
        ("file://{folder}/2026/a.jpg", Reason.NOT_ALLOWED),
        ("~/a.jpg", Reason.NOT_FOUND),
        ("missing.jpg", Reason.NOT_FOUND),
        ("dangling.jpg", Reason.NOT_FOUND),
        ("2026/a.jpg/b", Reason.NOT_FOUND),
        ("x" * 5_000, Reason.NOT_FOUND),
    ],
)
def test_everything_else_on_the_disk_is_a_failure(photos: Path, location: str, reason: Reason) -> None:
    assert rejection(PictureLocations([photos]), location.format(folder=photos)).reason is reason


def test_a_link_that_appears_after_the_check_is_not_followed(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who writes into the folder may exchange a folder for a link between the check and the opening."""
    monkeypatch.setattr(os.path, "realpath", lambda path: str(path))
    for location in ("outside.jpg", "private/secret.jpg", "inner.jpg"):
        assert rejection(PictureLocations([photos]), location).reason is Reason.NOT_ALLOWED


def test_number_of_bytes_of_a_file_is_limited(photos: Path) -> None:
    assert PictureLocations([photos], max_bytes=len(PICTURE)).read("2026/a.jpg") == PICTURE
    error = rejection(PictureLocations([photos], max_bytes=len(PICTURE) - 1), "2026/a.jpg")
    assert error.stored_text == "too_large: The picture has too many bytes (more than 23 bytes)."


def test_a_missing_folder_is_an_error_of_the_configuration(photos: Path) -> None:
    for folder in (photos / "missing", Path("photos")):
        with pytest.raises(ModelError, match="is not an absolute path of a folder that exists"):
            PictureLocations([folder]).check()
    (photos / "2026" / "a.jpg").unlink()
    (photos / "2026").rmdir()
    # A folder that disappears later is an outage, and no row is recorded as failed.
    gone = PictureLocations([photos / "2026"])
    with pytest.raises(InputRejected):
        gone.read("a.jpg")


def test_pictures_of_allowed_hosts_are_downloaded(server: ThreadingHTTPServer) -> None:
    port = server.server_port
    locations = PictureLocations(hosts=[f"127.0.0.1:{port}"])
    assert locations.read(f"http://127.0.0.1:{port}/a.jpg") == PICTURE
    assert locations.read(f"HTTP://127.0.0.1:{port}/a folder/b%20c.jpg?size=1&x=\u00fc#part") == PICTURE
    assert locations.read(f"http://127.0.0.1:{port}/to/here") == PICTURE
    assert Pages.requested == ["/a.jpg", "/a%20folder/b%20c.jpg?size=1&x=%C3%BC", "/to/here", "/a.jpg"]


@pytest.mark.parametrize(
    "location",
    [
        "http://example.org/a.jpg",
        "http://127.0.0.1/a.jpg",
        "https://127.0.0.1:{port}.example.org/a.jpg",
        "http://localhost:{port}/a.jpg",
        "http://127.0.0.1:{port}@example.org/a.jpg",
        "http://user:secret@127.0.0.1:{port}/a.jpg",
        "http://2130706433:{port}/a.jpg",
        "http://127.1:{port}/a.jpg",
        "http://[::ffff:127.0.0.1]:{port}/a.jpg",
        "http://[::1/a.jpg",
        "http://127.0.0.1:99999/a.jpg",
        "ftp://127.0.0.1:{port}/a.jpg",
        "gopher://127.0.0.1:{port}/a.jpg",
        "://127.0.0.1:{port}/a.jpg",
        "http:///a.jpg",
        "http://example.org\\@127.0.0.1:{port}/a.jpg",
    ],
)
def test_other_addresses_are_not_requested(server: ThreadingHTTPServer, location: str) -> None:
    locations = PictureLocations(hosts=[f"127.0.0.1:{server.server_port}"])
    assert rejection(locations, location.format(port=server.server_port)).reason is Reason.NOT_ALLOWED
    assert Pages.requested == []


def test_redirects_to_other_hosts_are_not_followed(server: ThreadingHTTPServer) -> None:
    port = server.server_port
    locations = PictureLocations(hosts=[f"127.0.0.1:{port}", f"localhost:{port}"])
    assert locations.read(f"http://localhost:{port}/a.jpg") == PICTURE
    for name in ("localhost", "other-port", "file"):
        error = rejection(locations, f"http://127.0.0.1:{port}/to/{name}")
        assert (error.reason, error.detail.partition(" ")[0]) == (Reason.NOT_ALLOWED, "redirect")
    assert rejection(locations, f"http://127.0.0.1:{port}/to/loop").reason is Reason.UNREACHABLE


@pytest.mark.parametrize(
    ("address", "is_allowed"),
    [
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("169.254.169.254", False),
        ("192.168.0.1", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:10.0.0.1", False),
        ("93.184.215.14", True),
    ],
)
def test_names_of_inner_addresses_are_not_requested(
    monkeypatch: pytest.MonkeyPatch, address: str, is_allowed: bool
) -> None:
    """A name on the list may be given an inner address by its owner."""
    connected: list[Any] = []

    def connect(target: Any, *_: Any) -> None:
        connected.append(target)
        raise ConnectionRefusedError

    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    found = [(family, socket.SOCK_STREAM, 6, "", (address, 80))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    monkeypatch.setattr(socket, "create_connection", connect)
    error = rejection(PictureLocations(hosts=["pictures.example.org"]), "http://pictures.example.org/a.jpg")
    assert error.reason is (Reason.UNREACHABLE if is_allowed else Reason.NOT_ALLOWED)
    assert connected == ([(address, 80)] if is_allowed else [])
    # The address itself is on the list.
    listed = PictureLocations(hosts=["pictures.example.org", address])
    assert rejection(listed, "http://pictures.example.org/a.jpg").reason is Reason.UNREACHABLE
    assert connected[-1] == (address, 80)


def test_size_and_time_of_a_download_are_limited(server: ThreadingHTTPServer) -> None:
    port = server.server_port
    limited = PictureLocations(hosts=[f"127.0.0.1:{port}"], max_bytes=10_000, timeout=0.5)
    assert rejection(limited, f"http://127.0.0.1:{port}/large").reason is Reason.TOO_LARGE
    error = rejection(limited, f"http://127.0.0.1:{port}/slow")
    assert (error.reason, error.detail) == (Reason.UNREACHABLE, "timeout")
    small = PictureLocations(hosts=[f"127.0.0.1:{port}"], max_bytes=5)
    assert rejection(small, f"http://127.0.0.1:{port}/a.jpg").reason is Reason.TOO_LARGE


@pytest.mark.parametrize(
    ("path", "reason", "detail"),
    [
        ("status/404", Reason.NOT_FOUND, "status 404"),
        ("status/403", Reason.NOT_ALLOWED, "status 403"),
        ("status/503", Reason.UNREACHABLE, "status 503"),
        ("short", Reason.UNREACHABLE, "IncompleteRead"),
    ],
)
def test_answers_without_a_picture_are_failures(
    server: ThreadingHTTPServer, path: str, reason: Reason, detail: str
) -> None:
    port = server.server_port
    error = rejection(PictureLocations(hosts=[f"127.0.0.1:{port}"]), f"http://127.0.0.1:{port}/{path}")
    assert (error.reason, error.detail) == (reason, detail)


def test_a_host_that_does_not_answer_is_a_failure(server: ThreadingHTTPServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        # It accepts connections and sends nothing, also not for the handshake of TLS.
        for scheme in ("http", "https"):
            error = rejection(
                PictureLocations(hosts=[f"127.0.0.1:{port}"], timeout=0.3), f"{scheme}://127.0.0.1:{port}/a.jpg"
            )
            assert (error.reason, error.detail) == (Reason.UNREACHABLE, "timeout")
    # Not a server of TLS.
    port = server.server_port
    error = rejection(PictureLocations(hosts=[f"127.0.0.1:{port}"]), f"https://127.0.0.1:{port}/a.jpg")
    assert (error.reason, error.detail) == (Reason.UNREACHABLE, "SSLError")
