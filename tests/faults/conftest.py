"""Fixtures: a proxy in front of a database of the embedded PostgreSQL, and a project that connects through it."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.faults.canaries import PASSWORD
from tests.orchestration.conftest import _shared_instance, instance
from tests.support.models import CallLog
from tests.support.projects import write_config
from tests.support.proxy import Proxy
from tests.support.servers import Server

__all__ = ["_shared_instance", "instance"]

REPLY_TIMEOUT_SECONDS = 1


@pytest.fixture
def direct_url(postgres: Server) -> Iterator[str]:
    """The URL of a new database, without the proxy."""
    with postgres.new_database() as url:
        yield url


@pytest.fixture
def direct(direct_url: str) -> Iterator[psycopg.Connection]:
    """The connection of the test to that database."""
    with psycopg.connect(direct_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def proxy(direct_url: str) -> Iterator[Proxy]:
    """A proxy in front of that database."""
    proxy = Proxy(direct_url, PASSWORD)
    yield proxy
    proxy.close()


@pytest.fixture
def project(tmp_path: Path, proxy: Proxy, calls: CallLog, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a configuration, whose processes connect through the proxy."""
    write_config(
        tmp_path,
        {"model": "stub_slow", "batch_size": 5},
        database={"reply_timeout_seconds": REPLY_TIMEOUT_SECONDS},
    )
    monkeypatch.setenv("CRDBVEC_URL", proxy.url)
    return tmp_path
