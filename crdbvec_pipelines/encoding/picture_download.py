"""Downloading a picture from an allowed host: no other host, no inner network, a limit of bytes and of time.

The name of a host is resolved once, its addresses are checked, and the connection is made to a checked address, so that
a name that resolves to another address the next time leads nowhere else.
"""

import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from functools import cache
from typing import NoReturn
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from crdbvec_pipelines.encoding.errors import InputRejected
from crdbvec_pipelines.encoding.picture_locations import too_large
from crdbvec_pipelines.encoding.reasons import Reason

_PORTS = {"http": 80, "https": 443}
_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_REDIRECTS = 3
_CHUNK_BYTES = 65_536
# What a URL may contain besides letters and digits; a percent sign belongs to what is already escaped.
_SAFE = "%/:=&?~#+!$,;'@()*[]-._"


def download_picture(url: str, hosts: Sequence[str], max_bytes: int, timeout: float) -> bytes:
    """Return the content at an address.

    Args:
        url: The address.
        hosts: The allowed hosts.
        max_bytes: The maximum number of bytes.
        timeout: The maximum number of seconds, with redirects.

    Raises:
        InputRejected: The address or a redirect is not allowed, nothing is there, or the host does not send it in time.
    """
    deadline = time.monotonic() + timeout
    allowed = frozenset(host.lower() for host in hosts)
    parts = _checked(url, allowed)
    origin = parts.hostname
    for _ in range(1 + _MAX_REDIRECTS):
        with _response(parts, allowed, deadline) as response:
            location = response.getheader("Location") if response.status in _REDIRECTS else None
            if location is None:
                return _content(response, max_bytes, deadline)
        parts = _checked(urljoin(parts.geturl(), location), allowed, "redirect")
        if parts.hostname != origin:
            raise InputRejected(reason=Reason.NOT_ALLOWED, detail="redirect to another host")
    raise InputRejected(reason=Reason.UNREACHABLE, detail="too many redirects")


def _checked(url: str, allowed: frozenset[str], detail: str = "") -> SplitResult:
    """Return the parts of an address on an allowed host."""
    try:
        parts = urlsplit(quote(url, safe=_SAFE))
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise InputRejected(reason=Reason.NOT_ALLOWED, detail=detail) from None
    usual = _PORTS.get(parts.scheme)
    names = {f"{host}:{port or usual}", f"[{host}]:{port or usual}"}
    if port in (None, usual):
        names |= {host, f"[{host}]"}
    if usual is None or parts.username is not None or parts.password is not None or not names & allowed:
        raise InputRejected(reason=Reason.NOT_ALLOWED, detail=detail)
    return parts


@contextlib.contextmanager
def _response(parts: SplitResult, allowed: frozenset[str], deadline: float) -> Iterator[http.client.HTTPResponse]:
    host = parts.hostname or ""
    port = parts.port or _PORTS[parts.scheme]
    addresses = _addresses(host, port, allowed)
    connection = _Connection(host, port, addresses, deadline, is_encrypted=parts.scheme == "https")
    # A host that sends a byte from time to time would keep each single read below any limit.
    timer = threading.Timer(max(0.0, deadline - time.monotonic()), connection.abort)
    timer.daemon = True
    timer.start()
    try:
        path = parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
        connection.request("GET", path, headers={"Accept": "image/*", "User-Agent": "crdbvec-pipelines"})
        # The response has the socket if the connection has given it up.
        with contextlib.closing(connection.getresponse()) as response:
            yield response
    except (OSError, http.client.HTTPException) as error:
        _unreachable(error, deadline)
    finally:
        timer.cancel()
        connection.close()


def _addresses(host: str, port: int, allowed: frozenset[str]) -> list[tuple[int, str]]:
    """Return family and address of a host, if all of them are public or listed."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise InputRejected(reason=Reason.UNREACHABLE, detail="the name of the host has no address") from None
    addresses = [(int(family), str(address[0])) for family, _, _, _, address in found]
    if host == "localhost" or all(_is_public(address) or address in allowed for _, address in addresses):
        return addresses
    # A literal address that is listed with its port.
    if {f"{host}:{port}", f"[{host}]:{port}"} & allowed and all(address == host for _, address in addresses):
        return addresses
    raise InputRejected(reason=Reason.NOT_ALLOWED, detail="an address that is not public")


def _is_public(address: str) -> bool:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(parsed, "ipv4_mapped", None)
    return (mapped or parsed).is_global and not parsed.is_multicast


def _content(response: http.client.HTTPResponse, max_bytes: int, deadline: float) -> bytes:
    if response.status in (404, 410):
        raise InputRejected(reason=Reason.NOT_FOUND, detail=f"status {response.status}")
    if response.status in (401, 403):
        raise InputRejected(reason=Reason.NOT_ALLOWED, detail=f"status {response.status}")
    if response.status != 200:
        raise InputRejected(reason=Reason.UNREACHABLE, detail=f"status {response.status}")
    if response.length is not None and response.length > max_bytes:
        raise too_large(max_bytes)
    content = bytearray()
    while chunk := response.read1(_CHUNK_BYTES):
        content += chunk
        if len(content) > max_bytes:
            raise too_large(max_bytes)
    if response.length or time.monotonic() > deadline:
        # The connection was closed before the last byte.
        raise http.client.IncompleteRead(b"")
    return bytes(content)


def _unreachable(error: Exception, deadline: float) -> NoReturn:
    """Raise the error of a host that does not send a picture; the message of the cause may quote the address."""
    is_late = time.monotonic() >= deadline or isinstance(error, TimeoutError)
    raise InputRejected(reason=Reason.UNREACHABLE, detail="timeout" if is_late else type(error).__name__) from None


class _Connection(http.client.HTTPConnection):
    """A connection to a checked address of a host.

    Args:
        host: The name of the host, for the request and the certificate.
        port: The port.
        addresses: Family and address, in the order in which they are tried.
        deadline: The end of the time for all of it, by the monotonic clock.
        is_encrypted: Whether the connection is one of https.
    """

    def __init__(
        self, host: str, port: int, addresses: Sequence[tuple[int, str]], deadline: float, *, is_encrypted: bool
    ) -> None:
        super().__init__(host, port)
        if is_encrypted:
            self.default_port = http.client.HTTPS_PORT
        self._addresses = addresses
        self._deadline = deadline
        self._is_encrypted = is_encrypted
        # The response keeps the socket after the connection has given it up.
        self._connected: socket.socket | None = None

    def connect(self) -> None:
        """Connect to the first address that accepts it."""
        failure: OSError = TimeoutError()
        for _, address in self._addresses:
            remaining = self._deadline - time.monotonic()
            if remaining <= 0:
                break
            try:
                connected = socket.create_connection((address, self.port), remaining)
            except OSError as error:
                failure = error
                continue
            if self._is_encrypted:
                connected = _tls().wrap_socket(connected, server_hostname=self.host, do_handshake_on_connect=False)
            self.sock = self._connected = connected
            if isinstance(connected, ssl.SSLSocket):
                connected.do_handshake()
            return
        raise failure

    def abort(self) -> None:
        """End what another thread sends or receives."""
        if self._connected is not None:
            with contextlib.suppress(OSError):
                # Not the method of an encrypted socket, which changes the object that the other thread uses.
                socket.socket.shutdown(self._connected, socket.SHUT_RDWR)


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()
