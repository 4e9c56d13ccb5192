"""Rejected commands: one sentence on stderr, the documented exit code, and no change."""

from pathlib import Path

import psycopg
import pytest

from tests.cli.conftest import Invoke
from tests.support.models import CallLog
from tests.support.processes import run_crdbvec
from tests.support.projects import write_config
from tests.support.servers import Server
from tests.support.tables import create_table

COMMANDS = ("embed", "search", "status")


@pytest.fixture
def configured(project: Path, url: str, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a project, and create a table with pending rows."""
    monkeypatch.setenv("CRDBVEC_URL", url)
    create_table(connection, texts=["one", "two"])
    write_config(project)
    return project


def error_of(invoke: Invoke, *arguments: str, code: int = 2) -> str:
    """Run a command that must fail and return its error, which must be one line on stderr."""
    result = invoke(*arguments)
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: ")
    return line.removeprefix("Error: ")


def is_untouched(connection: psycopg.Connection) -> bool:
    found = connection.execute(
        "SELECT c.relname, a.attname FROM pg_catalog.pg_attribute AS a "
        "JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace AS n "
        "ON n.oid = c.relnamespace WHERE n.nspname = 'public' AND c.relkind = 'r' AND a.attnum > 0 ORDER BY 1, a.attnum"
    )
    return found.fetchall() == [("passage", "id"), ("passage", "passage")]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"outptu": "x"}, "vectors[0].outptu: there is no such key; did you mean output?"),
        ({"model": "stub_cuonting"}, "The model 'stub_cuonting' does not exist. Available models: "),
        ({"input": "pasage"}, "vectors[0]: public.passage has no column pasage to embed; did you mean passage?"),
        ({"table": "pasage"}, "There is no table public.pasage in the database "),
        ({"output": "id"}, "the column id of public.passage exists and is of type bigint, not VECTOR. Choose another"),
        ({"table": "passages"}, "public.passages is a view, which cannot have a vector column. Name the table that"),
        ({"output": "three"}, "takes vectors of dimension 3, but those of the model stub_counting have 8. Choose"),
    ],
    ids=["unknown key", "unknown model", "missing column", "missing table", "no vector", "view", "dimension"],
)
def test_invalid_entry_is_rejected_before_any_work(
    configured: Path,
    connection: psycopg.Connection,
    calls: CallLog,
    invoke: Invoke,
    command: str,
    entry: dict[str, str],
    message: str,
) -> None:
    connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    connection.execute("CREATE VIEW passages AS SELECT id, passage FROM passage")
    if entry.get("output") == "three":
        connection.execute("ALTER TABLE passage ADD COLUMN three VECTOR(3)")
    write_config(configured, entry)
    assert message in error_of(invoke, command, *(["text"] if command == "search" else []))
    assert calls.batches() == []
    assert entry.get("output") == "three" or is_untouched(connection)


def test_invalid_entry_stops_the_entries_before_it_too(
    configured: Path, connection: psycopg.Connection, calls: CallLog, invoke: Invoke
) -> None:
    write_config(configured, {"output": "first"}, {"output": "second", "input": "pasage"})
    assert "vectors[1]: public.passage has no column pasage" in error_of(invoke, "embed")
    assert calls.batches() == []
    assert is_untouched(connection)


def test_table_without_primary_key_is_rejected(
    project: Path, postgres: Server, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    with postgres.new_database() as url, psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE passage (passage TEXT)")
        monkeypatch.setenv("CRDBVEC_URL", url)
        write_config(project)
        assert "public.passage has no primary key, which is needed to identify its rows. No column" in error_of(
            invoke, "embed"
        )


def test_vector_column_must_be_selected(project: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRDBVEC_URL", "postgresql://user@localhost:1/database")
    for arguments in (["embed"], ["embed", "-t", "passage"], ["search", "x", "-t", "passage", "-m", "stub"]):
        assert error_of(invoke, *arguments).startswith("No vector column is selected. Give -t <table> -i <input> -o ")


def test_url_must_be_given(project: Path, invoke: Invoke) -> None:
    write_config(project)
    assert error_of(invoke, "embed").startswith("The environment variable CRDBVEC_URL is not set; set it to the")


@pytest.mark.parametrize("command", COMMANDS)
def test_given_configuration_file_must_exist(project: Path, invoke: Invoke, command: str) -> None:
    arguments = ["text"] if command == "search" else []
    assert error_of(invoke, command, *arguments, "-c", "none.yaml").startswith(
        "There is no configuration file none.yaml"
    )


def test_configuration_file_of_the_environment_must_exist(
    project: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config(project)
    monkeypatch.setenv("CRDBVEC_CONFIG", "none.yaml")
    assert error_of(invoke, "embed").startswith("There is no configuration file none.yaml; create it, or name one with")


def test_search_works_on_one_column(configured: Path, invoke: Invoke) -> None:
    write_config(configured, {"output": "first"}, {"output": "second"})
    assert error_of(invoke, "search", "text") == (
        "This command works on one vector column, but several match: public.passage.first, public.passage.second. "
        "Choose one with -t and -o, or with --database."
    )


def test_search_needs_an_existing_column(configured: Path, invoke: Invoke) -> None:
    assert error_of(invoke, "search", "text") == (
        "public.passage has no vector column passage_vector yet. Run `crdbvec embed` first."
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["embed", "-b", "0"],
        ["embed", "-n", "0"],
        ["embed", "-w", "65"],
        ["embed", "--nothing"],
        ["search"],
        ["search", "x", "-l", "0"],
        ["nothing"],
    ],
)
def test_invalid_usage_prints_the_usage(project: Path, invoke: Invoke, arguments: list[str]) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("Usage: ")


def test_unavailable_database_exits_with_1(project: Path, invoke: Invoke) -> None:
    write_config(project)
    url = "postgresql://me:topsecret@127.0.0.1:1/db"
    line = error_of(invoke, "embed", "-u", url, code=1)
    assert line.startswith("The database could not be reached, or every attempt ended in a retryable error, while conn")
    assert "topsecret" not in line


def test_invalid_url_exits_with_2(project: Path, invoke: Invoke) -> None:
    write_config(project)
    assert "The database URL is not valid." in error_of(invoke, "embed", "-u", "topsecret")


def test_process_prints_one_sentence_and_exits_with_the_code(project: Path) -> None:
    write_config(project)
    done = run_crdbvec(["embed"], project)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: The environment variable CRDBVEC_URL is not set")
    assert len(done.stderr.splitlines()) == 1
    done = run_crdbvec(["embed"], project, CRDBVEC_URL="postgresql://me:topsecret@127.0.0.1:1/db")
    assert (done.returncode, done.stdout) == (1, "")
    assert "topsecret" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "command",
    [
        ("plan",),
        ("embed",),
        ("status",),
        ("errors", "list"),
        ("errors", "retry"),
        ("index", "build"),
        ("uninstall", "--yes"),
    ],
    ids=" ".join,
)
def test_a_table_that_a_newer_release_prepared_is_rejected(
    configured: Path, connection: psycopg.Connection, invoke: Invoke, command: tuple[str, ...]
) -> None:
    assert invoke("embed").exit_code == 0
    connection.execute("INSERT INTO crdbvec_metadata_version VALUES (999, now())")
    message = error_of(invoke, *command)
    assert "have version 999, which is newer than this release supports" in message
    assert message.endswith("Upgrade crdbvec-pipelines.")
    # These read the table only.
    for reading in (("search", "one"), ("index", "status")):
        assert invoke(*reading).exit_code == 0
