"""Fixtures: the restored databases of release 0.1.0, and the current command line and definitions on them."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from click.testing import CliRunner

from crdbvec_pipelines.cli import main
from crdbvec_pipelines.cli.embed import ROWS_FAILED_EXIT_CODE
from crdbvec_pipelines.config import VectorColumn, load_config
from tests.support.servers import Server
from tests.upgrade.state import CALLS_VARIABLE, FOLDER, restore


@dataclass(frozen=True)
class Restored:
    """The restored tables, and the command line on them.

    Attributes:
        url: The database.
        calls: The file into which the stub models write what they encode.
    """

    url: str
    calls: Path

    def crdbvec(self, *arguments: object) -> Any:
        """Run `crdbvec` with `--json` and return the parsed output."""
        result = CliRunner().invoke(main, [*map(str, arguments), "--json"], catch_exceptions=False)
        output = json.loads(result.stdout)
        # Some rows were recorded as failed by 0.1.0.
        has_failed = arguments[0] == "embed" and any(each["rows_failed_recorded"] for each in output["vectors"])
        assert result.exit_code == (ROWS_FAILED_EXIT_CODE if has_failed else 0), result.output
        return output

    def of(self, name: str, *command: object) -> Any:
        """Run a `crdbvec` command on one vector column of the configuration."""
        column = self.column(name)
        return self.crdbvec(*command, "-t", str(column.table), "-o", column.output)

    def column(self, name: str) -> VectorColumn:
        """Return one vector column of the configuration."""
        (found,) = (column for column in load_config().vectors if str(column) == name)
        return found


@pytest.fixture(scope="module")
def _tables(postgres: Server) -> Iterator[str]:
    """Restore the tables once for all tests that only read."""
    with postgres.new_database() as url:
        restore(url, "tables.sql")
        yield url


@pytest.fixture
def unchanged(_tables: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Restored:
    """Return the restored tables of release 0.1.0, shared by all tests that only read."""
    return _open(_tables, tmp_path, monkeypatch)


@pytest.fixture
def restored(postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Restored]:
    """Restore the tables of release 0.1.0 into a new database."""
    with postgres.new_database() as url:
        restore(url, "tables.sql")
        yield _open(url, tmp_path, monkeypatch)


def _open(url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Restored:
    calls = folder / "calls.jsonl"
    monkeypatch.chdir(folder)
    monkeypatch.setenv("CRDBVEC_URL", url)
    monkeypatch.setenv("CRDBVEC_CONFIG", str(FOLDER / "crdbvec.yaml"))
    monkeypatch.setenv(CALLS_VARIABLE, str(calls))
    monkeypatch.delenv("CRDBVEC_TEST_REVISION", raising=False)
    return Restored(url, calls)


@pytest.fixture
def instance(postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """Open the restored Dagster instance of release 0.1.0 with the dagster.yaml of that release."""
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(FOLDER / "dagster.yaml", home)
    with postgres.new_database() as url:
        restore(url, "dagster.sql.gz")
        monkeypatch.setenv("DAGSTER_HOME", str(home))
        monkeypatch.setenv("DAGSTER_PG_URL", url)
        with dg.DagsterInstance.get() as opened:
            yield opened


@pytest.fixture
def definitions(restored: Restored) -> dg.Definitions:
    """Load the definitions of the configuration of release 0.1.0."""
    from crdbvec_pipelines.definitions import defs

    return defs()
