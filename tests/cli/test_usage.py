"""What cannot be done as asked: one sentence on stderr, the documented exit code, and nothing done."""

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
    """A project, and a table with rows that could be embedded."""
    monkeypatch.setenv("CRDBVEC_URL", url)
    create_table(connection, texts=["one", "two"])
    write_config(project)
    return project


def refuse(invoke: Invoke, *arguments: str, code: int = 2) -> str:
    """The one line on stderr with which a command refuses."""
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
        ({"model": "stub_cuonting"}, "There is no model 'stub_cuonting'. Models: "),
        ({"input": "pasage"}, "vectors[0]: public.passage has no column pasage to embed; did you mean passage?"),
        ({"table": "pasage"}, "There is no table public.pasage in the database "),
        ({"output": "id"}, "the column id of public.passage exists and is of type bigint, not VECTOR; choose another"),
        ({"table": "passages"}, "public.passages is a view, which cannot hold a vector column; name the table that"),
        ({"output": "three"}, "takes vectors of dimension 3, but the model stub_counting makes 8; choose another"),
    ],
    ids=["unknown key", "unknown model", "missing column", "missing table", "no vector", "view", "dimension"],
)
def test_an_impossible_entry_is_refused_before_any_work(
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
    assert message in refuse(invoke, command, *(["text"] if command == "search" else []))
    assert calls.batches() == []
    assert entry.get("output") == "three" or is_untouched(connection)


def test_an_impossible_entry_stops_the_ones_before_it_too(
    configured: Path, connection: psycopg.Connection, calls: CallLog, invoke: Invoke
) -> None:
    write_config(configured, {"output": "first"}, {"output": "second", "input": "pasage"})
    assert "vectors[1]: public.passage has no column pasage" in refuse(invoke, "embed")
    assert calls.batches() == []
    assert is_untouched(connection)


def test_a_table_without_primary_key_is_refused(
    project: Path, postgres: Server, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    with postgres.new_database() as url, psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE passage (passage TEXT)")
        monkeypatch.setenv("CRDBVEC_URL", url)
        write_config(project)
        assert "public.passage has no primary key, so its rows cannot be told apart; add one" in refuse(invoke, "embed")


def test_what_to_embed_has_to_be_said(project: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRDBVEC_URL", "postgresql://nobody@localhost:1/nothing")
    for arguments in (["embed"], ["embed", "-t", "passage"], ["search", "x", "-t", "passage", "-m", "stub"]):
        assert refuse(invoke, *arguments).startswith("Say which vector column: -t <table> -i <input> -o <output> -m")


def test_the_url_has_to_be_said(project: Path, invoke: Invoke) -> None:
    write_config(project)
    assert refuse(invoke, "embed").startswith("The environment variable CRDBVEC_URL is not set; set it to the")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_configuration_file_that_is_named_has_to_be_there(project: Path, invoke: Invoke, command: str) -> None:
    arguments = ["text"] if command == "search" else []
    assert refuse(invoke, command, *arguments, "-c", "none.yaml").startswith("There is no configuration file none.yaml")


def test_a_configuration_file_that_the_environment_names_has_to_be_there(
    project: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config(project)
    monkeypatch.setenv("CRDBVEC_CONFIG", "none.yaml")
    assert refuse(invoke, "embed").startswith("There is no configuration file none.yaml; create it, or name one with")


def test_a_search_works_on_one_column(configured: Path, invoke: Invoke) -> None:
    write_config(configured, {"output": "first"}, {"output": "second"})
    assert refuse(invoke, "search", "text") == (
        "This works on one vector column, and there are public.passage.first, public.passage.second; "
        "choose one with -t and -o."
    )


def test_a_search_needs_a_column_that_has_been_filled(configured: Path, invoke: Invoke) -> None:
    assert refuse(invoke, "search", "text") == (
        "public.passage has no vector column passage_vector yet; run crdbvec embed first."
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
def test_wrong_usage_is_told_with_the_usage(project: Path, invoke: Invoke, arguments: list[str]) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("Usage: ")


def test_a_database_that_is_away_is_a_failure_of_the_work(project: Path, invoke: Invoke) -> None:
    write_config(project)
    url = "postgresql://me:geheim@127.0.0.1:1/db"
    line = refuse(invoke, "embed", "-u", url, code=1)
    assert line.startswith("The database could not be reached or kept asking for a retry while connecting: ")
    assert "geheim" not in line


def test_a_url_that_cannot_be_read_is_wrong_usage(project: Path, invoke: Invoke) -> None:
    write_config(project)
    assert "The database URL cannot be read" in refuse(invoke, "embed", "-u", "geheim")


def test_a_real_process_ends_with_one_sentence_and_the_code(project: Path) -> None:
    write_config(project)
    done = run_crdbvec(["embed"], project)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: The environment variable CRDBVEC_URL is not set")
    assert len(done.stderr.splitlines()) == 1
    done = run_crdbvec(["embed"], project, CRDBVEC_URL="postgresql://me:geheim@127.0.0.1:1/db")
    assert (done.returncode, done.stdout) == (1, "")
    assert "geheim" not in done.stderr
    assert len(done.stderr.splitlines()) == 1
