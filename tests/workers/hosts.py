"""Hosts for workers: network namespaces where this user may create them, otherwise processes of this host.

A namespace reaches the test's host by a pair of virtual interfaces. Broker, storage and tables have an address each, so
that a route of the namespace can cut it off from one of them. A namespace also has its own host name.
"""

import os
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Protocol

from tests.support.proxy import BOTH, Proxy

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Network:
    """The addresses of the test's servers, and the hosts of the workers."""

    broker: str
    storage: str
    tables: str
    hosts: Sequence["Host"]


class Host(Protocol):
    """A host on which a worker runs."""

    @property
    def name(self) -> str:
        """Its name."""

    def command(self, arguments: Sequence[str]) -> list[str]:
        """Return the command line that runs a command on the host."""

    def cut_off(self, tables: Proxy) -> "ExitStack":
        """Cut the host off from the server of the tables, until the returned context is closed."""


@dataclass(frozen=True)
class ProcessHost:
    """The test's own host."""

    name: str

    def command(self, arguments: Sequence[str]) -> list[str]:
        return list(arguments)

    def cut_off(self, tables: Proxy) -> ExitStack:
        stack = ExitStack()
        stack.enter_context(tables.stalled(*BOTH))
        return stack


@dataclass(frozen=True)
class NamespaceHost:
    """A network namespace with a host name of its own."""

    name: str
    tables: str

    def command(self, arguments: Sequence[str]) -> list[str]:
        renamed = f'hostname {self.name} && exec "$@"'
        return [*_in(self.name), "unshare", "--uts", "sh", "-c", renamed, "sh", *arguments]

    def cut_off(self, tables: Proxy) -> ExitStack:
        # What is sent is discarded, as if a cable were pulled. Open connections stay open.
        _ip("-n", self.name, "route", "add", "blackhole", f"{self.tables}/32")
        stack = ExitStack()
        stack.callback(_ip, "-n", self.name, "route", "del", "blackhole", f"{self.tables}/32")
        return stack


@contextmanager
def network(count: int) -> Iterator[Network]:
    """Create hosts, in network namespaces if possible."""
    with ExitStack() as stack:
        if not _may_create_namespaces():
            hosts: list[Host] = [ProcessHost(f"worker{number}") for number in range(1, count + 1)]
            yield Network(LOOPBACK, LOOPBACK, LOOPBACK, hosts)
            return
        token = uuid.uuid4().hex[:6]
        # One of the networks for benchmarks of devices (RFC 2544), which nothing else uses.
        prefix = f"198.18.{os.getpid() % 256}"
        bridge = f"cv{token}"
        _ip("link", "add", bridge, "type", "bridge")
        stack.callback(_ip, "link", "del", bridge)
        servers = [f"{prefix}.{number}" for number in (1, 2, 3)]
        for address in servers:
            _ip("addr", "add", f"{address}/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
        created: list[Host] = []
        for number in range(1, count + 1):
            name, outside = f"cv{token}w{number}", f"cv{token}v{number}"
            _ip("netns", "add", name)
            stack.callback(_ip, "netns", "del", name)
            _ip("link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", name)
            _ip("link", "set", outside, "master", bridge, "up")
            _ip("-n", name, "addr", "add", f"{prefix}.{10 + number}/24", "dev", "eth0")
            _ip("-n", name, "link", "set", "eth0", "up")
            _ip("-n", name, "link", "set", "lo", "up")
            created.append(NamespaceHost(name, servers[2]))
        yield Network(servers[0], servers[1], servers[2], created)


def _may_create_namespaces() -> bool:
    name = f"cvtry{uuid.uuid4().hex[:6]}"
    try:
        _ip("netns", "add", name)
        subprocess.run([*_in(name), "unshare", "--uts", "true"], check=True, capture_output=True)
        _ip("netns", "del", name)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def _in(name: str) -> list[str]:
    return ["ip", "netns", "exec", name]


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
