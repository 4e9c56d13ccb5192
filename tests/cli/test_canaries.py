"""No password and no text of a row is in the output of a command that fails."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

from tests.cli.conftest import Invoke
from tests.support.canaries import PASSWORD, shown_in, with_password
from tests.support.projects import write_config
from tests.support.servers import Server
from tests.support.tables import create_table

TEXT = 'text "/@ü 77'
COMMANDS = (
    ["plan"], ["embed"], ["embed", "-F", "--max-idle", "0"], ["search", "x"], ["status"], ["errors", "list"],
    ["index", "build"], ["index", "status"], ["index", "tune"], ["doctor"], ["doctor", "--json"], ["uninstall"],
)  # fmt: skip
ENCODED = quote(PASSWORD, safe="")


@pytest.fixture
def url(project: Path, postgres: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL, with a password, of a database with a table whose rows contain the canary."""
    with postgres.new_database() as url:
        with psycopg.connect(url, autocommit=True) as connection:
            create_table(connection, texts=[f"{TEXT} {number}" for number in range(4)])
        monkeypatch.setenv("CRDBVEC_URL", with_password(url))
        write_config(project, {"model": "stub_hash"})
        yield url


def check_output(invoke: Invoke, *arguments: str) -> int:
    """Run a command, and return its exit code."""
    result = invoke(*arguments)
    assert shown_in(result.stderr, PASSWORD, TEXT) == [], arguments
    assert shown_in(result.stdout, PASSWORD) == [], arguments
    return result.exit_code


@pytest.mark.parametrize(
    "wrong",
    [
        f"postgresql://me:{ENCODED}@127.0.0.1:1/db",
        f"postgresql://me:{ENCODED}@none.invalid/db",
        f"postgresql://me:{ENCODED}@127.0.0.1:x/db",
        f"postgresql://me:{ENCODED}@127.0.0.1:1/db?sslmode=never",
        f"postgresql://me:{ENCODED}@127.0.0.1:1/db?nothing=1",
        f"postgresql://me@127.0.0.1:1/db?password={ENCODED}&connect_timeout=x",
        f"postgresql://me:{PASSWORD}@127.0.0.1:1/db",
        f"mysql://me:{ENCODED}@127.0.0.1:1/db",
        "host=127.0.0.1 port=1 user=me password='{}'".format(PASSWORD.replace("'", r"\'")),
        f"host=127.0.0.1 port=1 user=me password={PASSWORD}",
        f"postgresql://me:{ENCODED}@127.0.0.1:1/db?sslrootcert=/none&sslmode=verify-full",
    ],
)
@pytest.mark.parametrize("place", ["variable", "option", "file"])
def test_password_of_a_url_that_cannot_be_used(
    project: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch, wrong: str, place: str
) -> None:
    write_config(project, {"model": "stub_hash"}, **({"database": {"url": wrong}} if place == "file" else {}))
    if place == "variable":
        monkeypatch.setenv("CRDBVEC_URL", wrong)
    options = ["-u", wrong] if place == "option" else []
    for command in (["status"], ["embed"], ["doctor"]):
        assert check_output(invoke, *command, *options) in (1, 2)


@pytest.mark.parametrize("key", ["env", "environment"])
def test_password_in_place_of_the_name_of_a_variable(project: Path, invoke: Invoke, key: str) -> None:
    write_config(project, database={"url": {key: f"postgresql://me:{ENCODED}@h/db"}})
    assert check_output(invoke, "status") == 2


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE passage ADD CHECK (passage_vector IS NULL) NOT VALID",
        "CREATE UNIQUE INDEX ON passage (rtrim(passage, '0123456789')) WHERE passage_vector IS NOT NULL",
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM NEW.passage::INT8; RETURN NEW; END'; "
        "CREATE TRIGGER t BEFORE UPDATE ON passage FOR EACH ROW EXECUTE FUNCTION f()",
        "ALTER TABLE passage ALTER COLUMN passage TYPE BYTEA USING convert_to(passage, 'UTF8')",
        "REVOKE ALL ON passage FROM PUBLIC; DROP TABLE crdbvec_vector_columns",
        "DROP TABLE crdbvec_row_errors",
        "ALTER TABLE passage DROP COLUMN passage",
    ],
)
def test_row_and_password_after_a_change_of_the_table(url: str, project: Path, invoke: Invoke, statement: str) -> None:
    assert check_output(invoke, "embed", "-n", "1", "-b", "1") == 0
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())
    for command in COMMANDS:
        check_output(invoke, *command)


@pytest.mark.parametrize("raised", ["ValueError", "OSError", "MemoryError", "Panic"])
def test_row_that_a_wrapper_quotes(
    url: str, project: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch, raised: str
) -> None:
    monkeypatch.setenv("CRDBVEC_TEST_RAISES", raised)
    write_config(project, {"model": "stub_raising"})
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE passage SET passage = 'RAISE ' || passage")
    for command in COMMANDS:
        check_output(invoke, *command)


def test_row_in_an_unexpected_error(url: str, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyError(TEXT) from ValueError(with_password(url))

    monkeypatch.setattr("crdbvec_pipelines.database.rows.vector_rows.VectorRows.write", fail)
    result = invoke("embed")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: An unexpected KeyError ended the command.")
    assert "test_canaries.py" in result.stderr
    assert shown_in(result.output, PASSWORD, TEXT) == []
