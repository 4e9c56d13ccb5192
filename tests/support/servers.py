"""The servers of the tests: the embedded PostgreSQL always, and CockroachDB if there is one."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
from psycopg import sql

from crdbvec_pipelines.embedded import EmbeddedServer

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
            drop = " CASCADE" if connection.pgconn.parameter_status(b"crdb_version") else " WITH (FORCE)"
            connection.execute(sql.SQL("CREATE DATABASE {} {}").format(sql.Identifier(name), sql.SQL(options)))
            try:
                yield self.url_of(name)
            finally:
                connection.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(name)) + sql.SQL(drop))


@contextmanager
def embedded_postgres() -> Iterator[Server]:
    """Run an embedded server in a temporary folder, without the fsyncs that only a crash of the machine requires."""
    with open_folder() as folder:
        server = EmbeddedServer(folder / "postgres")
        with psycopg.connect(server.url(), autocommit=True) as connection:
            for setting in ("fsync", "full_page_writes", "synchronous_commit"):
                connection.execute(sql.SQL("ALTER SYSTEM SET {} = off").format(sql.Identifier(setting)))
            connection.execute("SELECT pg_reload_conf()")
        try:
            yield Server(server.url())
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
