"""Fixtures for the command line: a project in its own working directory, and functions that run `crdbvec` in it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result

from crdbvec_pipelines.cli import main
from tests.support.models import CallLog
from tests.support.servers import Server

Invoke = Callable[..., Result]
Json = Callable[..., Any]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: CallLog) -> Path:
    """Return the working directory, which is empty."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def own(postgres: Server) -> Iterator[psycopg.Connection]:
    """The connection of an application to a new database on PostgreSQL."""
    with postgres.new_database() as url, psycopg.connect(url, autocommit=True) as opened:
        yield opened


@pytest.fixture
def invoke() -> Invoke:
    """Return a function that runs `crdbvec`; an unexpected exception fails the test."""

    def invoke(*arguments: object) -> Result:
        result = CliRunner().invoke(main, list(map(str, arguments)))
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


@pytest.fixture
def read_json(invoke: Invoke) -> Json:
    """Return a function that runs `crdbvec` with --json and parses stdout, which must be exactly one JSON value.

    The command has finished; `embed` ends with 3 if rows have failed.
    """

    def read(*arguments: object) -> Any:
        result = invoke(*arguments, "--json")
        assert result.exit_code in (0, 3), result.output
        return json.loads(result.stdout)

    return read
