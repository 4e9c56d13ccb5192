"""A project in a working directory of its own, and the command line run in it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from crdbvec_pipelines.cli import main
from tests.support.models import CallLog

Invoke = Callable[..., Result]
Json = Callable[..., Any]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: CallLog) -> Path:
    """The working directory, empty."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def invoke() -> Invoke:
    """Runs `crdbvec` with these arguments; an exception that is a bug fails the test."""

    def invoke(*arguments: object) -> Result:
        result = CliRunner().invoke(main, list(map(str, arguments)))
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


@pytest.fixture
def read_json(invoke: Invoke) -> Json:
    """Runs `crdbvec` with these arguments and reads what it prints, which must be one JSON value and nothing else."""

    def read(*arguments: object) -> Any:
        result = invoke(*arguments, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return read
