"""PgBouncer in front of a server of the tests, and certificates for it."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.support.waiting import wait_until

# Debian installs it into a folder that is not on the path of every user.
_BINARY = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
_STOP_SECONDS = 30

needs_pgbouncer = pytest.mark.skipif(_BINARY is None, reason="needs PgBouncer: install the package pgbouncer")
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the command openssl")


@contextmanager
def pgbouncer(url: str, folder: Path, **settings: object) -> Iterator[str]:
    """Run PgBouncer for the server of a URL, and yield the URL of the same database at its port.

    Args:
        url: A URL of a server on a Unix socket.
        folder: A folder that other users can read.
        settings: Settings of the section [pgbouncer], such as `pool_mode`.
    """
    with psycopg.connect(url) as connection:
        host, port, user = connection.info.host, connection.info.port, connection.info.user
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        listen_port = probe.getsockname()[1]
    all_settings = {
        "listen_addr": "127.0.0.1",
        "listen_port": listen_port,
        "unix_socket_dir": "",
        "auth_type": "trust",
        "auth_file": folder / "users.txt",
        "server_tls_sslmode": "disable",
        **settings,
    }
    (folder / "users.txt").write_text(f'"{user}" ""\n')
    lines = ["[databases]", f"* = host={host} port={port}", "[pgbouncer]"]
    (folder / "pgbouncer.ini").write_text("\n".join(lines + [f"{k} = {v}" for k, v in all_settings.items()]))
    with (folder / "pgbouncer.log").open("wb") as log:
        process = subprocess.Popen(
            [str(_BINARY), folder / "pgbouncer.ini"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # It does not run as root. Only the user of the server can open the socket in the server's folder.
            user=Path(host).stat().st_uid if os.geteuid() == 0 else None,
        )
    try:
        wait_until(lambda: "process up" in (folder / "pgbouncer.log").read_text() or process.poll() is not None)
        assert process.poll() is None, (folder / "pgbouncer.log").read_text()
        yield f"postgresql://{user}@localhost:{listen_port}{urlsplit(url).path}"
    finally:
        process.terminate()
        process.wait(_STOP_SECONDS)


@dataclass(frozen=True)
class Authority:
    """A certificate authority, and the certificate of a server whose name is localhost.

    Attributes:
        file: The certificate of the authority.
        certificate: The certificate of the server.
        key: Its private key.
    """

    file: Path
    certificate: Path
    key: Path


def new_authority(folder: Path, name: str) -> Authority:
    """Create an authority and a certificate in a folder."""
    authority, key, server = (folder / f"{name}-{part}.pem" for part in ("authority", "key", "server"))
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"]
    _openssl("req", "-x509", *new_key, "-subj", f"/CN={name}", "-keyout", folder / f"{name}.pem", "-out", authority)
    _openssl(
        "req", "-x509", *new_key, "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
        "-addext", "basicConstraints=critical,CA:FALSE", "-CA", authority, "-CAkey", folder / f"{name}.pem",
        "-keyout", key, "-out", server,
    )  # fmt: skip
    key.chmod(0o644)
    return Authority(authority, server, key)


def _openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
