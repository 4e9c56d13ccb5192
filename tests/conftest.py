"""Shared fixtures: servers, a new database for each test, an environment without the user's settings; skip summary."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, settings

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.dialects.cockroachdb_vectors import CockroachVectors
from tests.support.long_form import ROUNDS
from tests.support.models import CALLS_VARIABLE, CallLog
from tests.support.processes import close_pipes, restore_default_signals
from tests.support.servers import (
    NEEDS_COCKROACHDB,
    Server,
    cockroachdb,
    cockroachdb_is_available,
    embedded_postgres,
    open_folder,
)

# Without time limits, which would fail on a busy machine.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

# The files and folders whose tests take minutes, because they start and kill servers. They are started first, so that
# at the end no process is left with one of them.
_SLOWEST_FIRST = (
    "cli/test_ui.py",
    "test_benchmarks.py",
    "chaos",
    "orchestration/test_recovery.py",
    "orchestration/test_backfills.py",
    "orchestration/test_daemon.py",
    "orchestration/test_dg_project.py",
    "orchestration",
    "cli",
)
_USER_VARIABLES = ("CRDBVEC_URL", "CRDBVEC_CONFIG", "DAGSTER_HOME", "DAGSTER_PG_URL")


def pytest_configure(config: pytest.Config) -> None:
    """Let child processes receive SIGINT even if the test suite is a background job."""
    config.addinivalue_line("markers", "long_form: a test that only `make chaos` runs.")
    restore_default_signals()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long tests to `make chaos`, and start the slowest files first."""
    left = [] if ROUNDS else [item for item in items if item.get_closest_marker("long_form")]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]
    folder = Path(__file__).parent

    def rank(item: pytest.Item) -> int:
        names = [item.path.relative_to(folder), *item.path.relative_to(folder).parents]
        return min((number for number, slow in enumerate(_SLOWEST_FIRST) if Path(slow) in names), default=99)

    items.sort(key=rank)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print one line per reason for skipped tests, so that one frequent reason does not hide the others."""
    reasons: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        # (path, line, reason)
        reasons[str(report.longrepr[2]).removeprefix("Skipped: ")] += 1
    if reasons:
        terminalreporter.section("skipped, by reason")
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count:5} {reason}")


@pytest.fixture(scope="session", autouse=True)
def _model_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Use a temporary model cache instead of the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CRDBVEC_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "model-cache"))
        yield


@pytest.fixture(autouse=True)
def _closed_pipes() -> Iterator[None]:
    yield
    close_pipes()


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in _USER_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DAGSTER_DISABLE_TELEMETRY", "1")


@pytest.fixture(autouse=True)
def _present(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read the present on CockroachDB, because tests look at rows that they have written a moment before."""
    callspec = getattr(request.node, "callspec", None)
    if callspec is not None and callspec.params.get("server") == "cockroachdb":
        monkeypatch.setattr(CockroachVectors, "follower_read_clause", None)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """The embedded PostgreSQL, for tests of features that only PostgreSQL has."""
    with embedded_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def cockroach() -> Iterator[Server]:
    """CockroachDB, for tests of features that only CockroachDB has."""
    if not cockroachdb_is_available():
        pytest.skip(NEEDS_COCKROACHDB)
    with cockroachdb() as server:
        yield server


@pytest.fixture(scope="session", params=["postgres", "cockroachdb"])
def server(request: pytest.FixtureRequest) -> Server:
    """Each of the two servers."""
    running = request.getfixturevalue("cockroach" if request.param == "cockroachdb" else "postgres")
    assert isinstance(running, Server)
    return running


@pytest.fixture
def url(server: Server) -> Iterator[str]:
    """The URL of a new database on each server."""
    with server.new_database() as new:
        yield new


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """The product's connection to the new database."""
    with Database(url) as opened:
        yield opened


@pytest.fixture
def connection(url: str) -> Iterator[psycopg.Connection]:
    """Another client's connection to the new database, as of an application or an administrator."""
    with psycopg.connect(url, autocommit=True) as opened:
        yield opened


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CallLog:
    """The log of the calls of the counting stubs, in this process and in its child processes."""
    log = CallLog(tmp_path / "calls.jsonl")
    monkeypatch.setenv(CALLS_VARIABLE, str(log.path))
    return log


@pytest.fixture
def folder() -> Iterator[Path]:
    """A temporary folder in which an embedded server can run."""
    with open_folder() as path:
        yield path
