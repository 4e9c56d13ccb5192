"""What all tests share: servers, a fresh database for each test, an environment without the user's own settings."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, settings

from crdbvec_pipelines.database.connection import Database
from tests.support.models import CALLS_VARIABLE, CallLog
from tests.support.servers import (
    NEEDS_COCKROACHDB,
    Server,
    cockroach_is_at_hand,
    cockroachdb,
    embedded_postgres,
    open_folder,
)

# A busy machine is no fault of what is tested.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

_OF_THE_USER = ("CRDBVEC_URL", "CRDBVEC_CONFIG", "DAGSTER_HOME", "DAGSTER_PG_URL")


@pytest.fixture(scope="session", autouse=True)
def _model_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps the user's own cache out of the tests, and the tests out of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CRDBVEC_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "model-cache"))
        yield


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in _OF_THE_USER:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DAGSTER_DISABLE_TELEMETRY", "1")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """The embedded PostgreSQL; for tests of what only PostgreSQL has."""
    with embedded_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def cockroach() -> Iterator[Server]:
    """A CockroachDB; for tests of what only CockroachDB has."""
    if not cockroach_is_at_hand():
        pytest.skip(NEEDS_COCKROACHDB)
    with cockroachdb() as server:
        yield server


@pytest.fixture(scope="session", params=["postgres", "cockroachdb"])
def server(request: pytest.FixtureRequest) -> Server:
    """Each server in turn."""
    found = request.getfixturevalue("cockroach" if request.param == "cockroachdb" else "postgres")
    assert isinstance(found, Server)
    return found


@pytest.fixture
def url(server: Server) -> Iterator[str]:
    """The URL of a fresh database on each server."""
    with server.new_database() as fresh:
        yield fresh


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """The product's own connection to the fresh database."""
    with Database(url) as opened:
        yield opened


@pytest.fixture
def connection(url: str) -> Iterator[psycopg.Connection]:
    """Somebody else's connection to the fresh database: an application's, or an administrator's."""
    with psycopg.connect(url, autocommit=True) as opened:
        yield opened


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CallLog:
    """What the counting stubs were asked, in this process and in those it starts."""
    log = CallLog(tmp_path / "calls.jsonl")
    monkeypatch.setenv(CALLS_VARIABLE, str(log.path))
    return log


@pytest.fixture
def folder() -> Iterator[Path]:
    """A temporary folder in which an embedded server can run."""
    with open_folder() as path:
        yield path
