"""`crdbvec shell`: one search after the other; lines that change the search; errors that do not end it."""

from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner, Result

from crdbvec_pipelines.cli import main
from tests.cli.conftest import Invoke
from tests.support.models import CallLog
from tests.support.projects import write_config
from tests.support.tables import INT_SHAPE, create_table

TEXTS: list[str | None] = ["one", "two", "three"]


@pytest.fixture
def embedded(
    project: Path, url: str, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> psycopg.Connection:
    monkeypatch.setenv("CRDBVEC_URL", url)
    write_config(project, {"model": "stub_hash"})
    create_table(connection, texts=TEXTS)
    assert invoke("embed").exit_code == 0
    return connection


def shell(text: str, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["shell", *arguments], input=text)


def inputs(result: Result) -> list[str]:
    """Return the inputs of the hits."""
    return [line for line in result.stdout.splitlines() if line in TEXTS]


def test_each_line_is_searched_for(embedded: psycopg.Connection) -> None:
    result = shell("two\n\nthree\n", "-l", "1")
    assert (result.exit_code, result.stderr) == (0, "")
    assert inputs(result) == ["two", "three"]


def test_lines_with_a_backslash_change_the_search(embedded: psycopg.Connection) -> None:
    key = INT_SHAPE.key(1)[0]
    result = shell(f"\\limit 2\ntwo\n\\where passage=one\ntwo\n\\where\n\\like {key!s}\n\\q\ntwo\n")
    assert result.exit_code == 0
    assert inputs(result)[:2] == ["two", *inputs(result)[1:2]]
    assert inputs(result)[2] == "one"
    assert set(inputs(result)[3:]) == {"one", "three"}
    assert len(inputs(result)) == 5
    assert result.stderr.splitlines() == [
        "[INFO] Conditions: passage=one.",
        "[INFO] Exact scan: there is no vector index.",
        "[INFO] Conditions: none.",
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("\\limit 0", "'\\\\limit 0' is not a command of the shell. Type a text"),
        ("\\help", "'\\\\help' is not a command of the shell. Type a text"),
        ("\\where passage", "'passage' is not a condition. Write COLUMN=VALUE"),
        ("\\like 'one", "has a quotation mark without its counterpart"),
        ("\\like 4711", "public.passage has no row with the key 4711."),
    ],
)
def test_an_error_does_not_end_the_shell(embedded: psycopg.Connection, line: str, message: str) -> None:
    result = shell(f"{line}\ntwo\n", "-l", "1")
    assert result.exit_code == 0
    assert message in result.stderr
    assert inputs(result) == ["two"]


def test_a_wrong_column_ends_it_at_once(embedded: psycopg.Connection) -> None:
    result = shell("two\n", "--where", "absent=1")
    assert result.exit_code == 2
    assert "public.passage has no column absent." in result.stderr


def test_search_without_a_text_asks_only_on_a_terminal(embedded: psycopg.Connection, calls: CallLog) -> None:
    result = CliRunner().invoke(main, ["search"], input="two\n")
    assert result.exit_code == 2
    assert "Give texts to search for, the key of a row with --like, or an image file with --image." in result.stderr
