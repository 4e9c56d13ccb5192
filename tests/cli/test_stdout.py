"""stdout holds only the output of the command, whatever a model wrapper prints."""

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import psycopg
import pytest

from tests.cli.conftest import Invoke
from tests.support.processes import CRDBVEC, run_crdbvec
from tests.support.projects import write_config
from tests.support.servers import Server
from tests.support.tables import create_table

COMMANDS: Sequence[Sequence[str]] = (
    ("embed",),
    ("embed", "-F", "--max-idle", "0"),
    ("search", "text"),
    ("plan",),
    ("status",),
    ("errors", "list"),
    ("errors", "retry"),
    ("index", "status"),
    ("index", "build"),
    ("index", "tune", "-q", "1"),
    ("doctor",),
    ("uninstall",),
    ("model", "list"),
    ("model", "desc", "stub_printing"),
)


def test_wrapper_that_prints_does_not_change_the_output(
    project: Path, postgres: Server, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All commands in one test, which needs one table."""
    with postgres.new_database() as url, psycopg.connect(url, autocommit=True) as connection:
        monkeypatch.setenv("CRDBVEC_URL", url)
        write_config(project, {"model": "stub_printing"})
        create_table(connection, texts=["one", "two"])
        assert invoke("embed").exit_code == 0
        for arguments in COMMANDS:
            if "embed" in arguments:
                connection.execute("UPDATE passage SET passage_vector = NULL WHERE passage = 'two'")
            done = run_crdbvec([*arguments, "--json"], project, CRDBVEC_TEST_PRINTS="1")
            assert done.returncode == 0, done.stderr
            json.loads(done.stdout)
            for words in ("printed in import", "printed to the original in import", "written in import", "put in imp"):
                assert words in done.stderr


def test_text_is_printed_as_without_a_wrapper_that_prints(project: Path) -> None:
    write_config(project)
    expected = run_crdbvec(["model", "list"], project)
    done = run_crdbvec(["model", "list"], project, CRDBVEC_TEST_PRINTS="1")
    assert done.stdout == expected.stdout
    assert "stub_printing\tHash of the input, with output\n" in expected.stdout
    assert "printed in" in done.stderr


@pytest.mark.parametrize("closed", ["1>&-", "2>&-", "1>&- 2>&-"])
def test_closed_stream_is_not_needed(project: Path, closed: str) -> None:
    write_config(project)
    done = subprocess.run(
        ["sh", "-c", f'"$@" {closed}', "sh", *CRDBVEC, "model", "list", "--json"],
        cwd=project,
        env={**os.environ, "CRDBVEC_TEST_PRINTS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    if "1>" not in closed:
        assert "stub_printing" in {model["name"] for model in json.loads(done.stdout)}


def test_help_of_a_command_is_on_stdout(project: Path) -> None:
    done = run_crdbvec(["embed", "--help"], project)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: ")
