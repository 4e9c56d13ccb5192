"""The servers of the tests: the embedded PostgreSQL always, and CockroachDB if there is one."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
from psycopg import sql

from crdbvec_pipelines.embedded import EmbeddedServer
from tests.support.waiting import wait_until

ShutdownMode = Literal["fast", "immediate"]

BINARY_VARIABLE = "COCKROACH_BINARY"
CLUSTER_VARIABLE = "CRDBVEC_TEST_URL"
NEEDS_COCKROACHDB = (
    "needs a CockroachDB server: put cockroach on PATH, set COCKROACH_BINARY to it, "
    "or name a cluster in CRDBVEC_TEST_URL"
)

# A node in memory starts and stops within seconds; the limits allow for a busy machine.
_START_SECONDS = 60
_STOP_SECONDS = 30
_DATABASE_PREFIX = f"crdbvec_{uuid4().hex[:6]}"
_numbers = count(1)


@dataclass(frozen=True)
class Server:
    """A running server on which tests create their databases."""

    url: str

    def url_of(self, database: str) -> str:
        scheme, netloc, _, query, fragment = urlsplit(self.url)
        return urlunsplit((scheme, netloc, f"/{database}", query, fragment))

    @contextmanager
    def new_database(self, options: str = "") -> Iterator[str]:
        """Create a database, yield its URL, and drop it afterwards even if clients are connected to it.

        The options of CREATE DATABASE are those of PostgreSQL.
        """
        name = f"{_DATABASE_PREFIX}_{next(_numbers)}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {} {}").format(sql.Identifier(name), sql.SQL(options)))
        try:
            yield self.url_of(name)
        finally:
            self.drop_database(name)

    def drop_database(self, name: str) -> None:
        """Drop a database even if clients are connected to it."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            drop = " CASCADE" if connection.pgconn.parameter_status(b"crdb_version") else " WITH (FORCE)"
            connection.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(name)) + sql.SQL(drop))

    def copy_database(self, source: str, name: str) -> None:
        """Create a database as a copy of another one, after its sessions are ended; PostgreSQL only."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = %s", (source,)
            )
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(source))
            )


@dataclass(frozen=True)
class RestartableServer(Server):
    """An embedded server that a test shuts down and starts again."""

    embedded: EmbeddedServer

    def shut_down(self, mode: ShutdownMode) -> None:
        """Shut the server down; its sessions end with an error (fast) or without notice (immediate)."""
        # The number that pg_ctl sends, too.
        number = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}[mode]
        pid = self.embedded._server.get_pid()
        assert pid is not None
        os.kill(pid, number)
        # A server removes this file when it ends. Its process may then still be a zombie of the container's first one.
        wait_until(lambda: not (self.embedded._server.pgdata / "postmaster.pid").exists())

    def start(self) -> None:
        """Start the server again, at the same address, and recover what an immediate shutdown has left."""
        self.embedded._server.ensure_postgres_running()
        assert self.embedded.url() == self.url


@contextmanager
def embedded_postgres() -> Iterator[Server]:
    """Run an embedded server in a temporary folder, without the fsyncs that only a crash of the machine requires."""
    with _embedded_postgres("fsync", "full_page_writes", "synchronous_commit") as server:
        yield server


@contextmanager
def restartable_postgres() -> Iterator[RestartableServer]:
    """Run an embedded server whose commits survive an immediate shutdown, but not a crash of the machine."""
    with _embedded_postgres("fsync", "full_page_writes") as server:
        yield server


@contextmanager
def _embedded_postgres(*disabled: str) -> Iterator[RestartableServer]:
    with open_folder() as folder:
        server = EmbeddedServer(folder / "postgres")
        with psycopg.connect(server.url(), autocommit=True) as connection:
            for setting in disabled:
                connection.execute(sql.SQL("ALTER SYSTEM SET {} = off").format(sql.Identifier(setting)))
            connection.execute("SELECT pg_reload_conf()")
        try:
            yield RestartableServer(server.url(), server)
        finally:
            server.stop()


def cockroachdb_is_available() -> bool:
    """Return whether there is a CockroachDB cluster or binary to test with."""
    return bool(os.environ.get(CLUSTER_VARIABLE) or _cockroach_binary())


@contextmanager
def cockroachdb() -> Iterator[Server]:
    """Yield the cluster that CRDBVEC_TEST_URL names, otherwise a single node in memory, which is stopped afterwards."""
    if cluster := os.environ.get(CLUSTER_VARIABLE):
        yield Server(cluster)
        return
    with open_folder() as folder:
        url_file = folder / "url"
        command = [
            str(_cockroach_binary()),
            "start-single-node",
            "--insecure",
            "--store=type=mem,size=0.3",
            "--listen-addr=localhost:0",
            "--http-addr=localhost:0",
            f"--listening-url-file={url_file}",
        ]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            url = _wait_for_url(process, url_file, folder / "log")
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("SET CLUSTER SETTING feature.vector_index.enabled = true")
            yield Server(url)
        finally:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def open_folder() -> Iterator[Path]:
    """Yield a temporary folder that all users can read: for root, the embedded server runs as another user.

    It is not inside pytest's temporary folder, whose permissions each start of pytest on the machine restricts again.
    """
    with tempfile.TemporaryDirectory(prefix="crdbvec-test-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def _cockroach_binary() -> str | None:
    return os.environ.get(BINARY_VARIABLE) or shutil.which("cockroach")


def _wait_for_url(process: subprocess.Popen[bytes], url_file: Path, log: Path) -> str:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if url_file.exists() and (url := url_file.read_text().strip()):
            try:
                psycopg.connect(url, connect_timeout=5).close()
            except psycopg.OperationalError:
                pass
            else:
                return url
        time.sleep(0.1)
    process.kill()
    raise RuntimeError(f"CockroachDB did not start:\n{log.read_text(errors='replace')[-2000:]}")
