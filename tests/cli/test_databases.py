"""Several databases in one crdbvec.yaml: commands work on the columns of all, and options choose some of them."""

import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from crdbvec_pipelines.database.errors import DatabaseUnavailable
from crdbvec_pipelines.errors import ConfigurationError
from crdbvec_pipelines.library import open_column
from tests.cli.conftest import Invoke, Json
from tests.support.processes import run_crdbvec
from tests.support.projects import write_config
from tests.support.servers import Server
from tests.support.tables import create_table

ARCHIVE = "archive/public.passage.passage_vector"


@pytest.fixture
def archive(server: Server) -> Iterator[psycopg.Connection]:
    """A second database, in which a table has the same name."""
    with server.new_database() as url, psycopg.connect(url, autocommit=True) as opened:
        create_table(opened, texts=["old one", "old two", "old three"])
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ARCHIVE_URL", url)
            yield opened


@pytest.fixture(autouse=True)
def configured(
    project: Path,
    url: str,
    connection: psycopg.Connection,
    archive: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    monkeypatch.setenv("CRDBVEC_URL", url)
    create_table(connection, texts=["one", "two"])
    return write_config(project, {}, {"database": "archive"}, databases={"archive": {"url": {"env": "ARCHIVE_URL"}}})


def embedded(connection: psycopg.Connection) -> int:
    (row,) = connection.execute("SELECT count(passage_vector) FROM passage").fetchall()
    return int(row[0])


def test_all_columns_are_embedded_and_shown(
    connection: psycopg.Connection, archive: psycopg.Connection, invoke: Invoke, read_json: Json
) -> None:
    assert [column["pending"] for column in read_json("plan")] == [2, 3]
    done = invoke("embed")
    assert done.exit_code == 0
    assert ARCHIVE in done.output
    assert (embedded(connection), embedded(archive)) == (2, 3)
    assert [(column["database"], column["embedded"]) for column in read_json("status")] == [(None, 2), ("archive", 3)]
    assert read_json("doctor")["works"]
    assert [column["column"] for column in read_json("uninstall")["columns"]] == [
        "public.passage.passage_vector",
        ARCHIVE,
    ]
    assert invoke("uninstall", "--yes", "--drop-column").exit_code == 0
    for opened in (connection, archive):
        with pytest.raises(psycopg.errors.UndefinedColumn):
            embedded(opened)


def test_option_chooses_the_database(
    connection: psycopg.Connection, archive: psycopg.Connection, invoke: Invoke, read_json: Json
) -> None:
    assert invoke("embed", "--database", "archive").exit_code == 0
    assert embedded(archive) == 3
    assert len(read_json("search", "old two", "--database", "archive")) == 3
    assert invoke("embed", "--database", "default").exit_code == 0
    assert embedded(connection) == 2
    assert len(read_json("search", "two", "--database", "default")) == 2


def test_column_of_the_command_line_may_be_in_a_named_database(
    project: Path, archive: psycopg.Connection, invoke: Invoke
) -> None:
    column = ("-t", "passage", "-i", "passage", "-o", "other_vector", "-m", "stub_counting")
    done = invoke("embed", "--database", "archive", *column)
    assert done.exit_code == 0, done.output
    assert archive.execute("SELECT count(other_vector) FROM passage").fetchall() == [(3,)]


def test_follow_embeds_the_rows_of_both(
    project: Path, connection: psycopg.Connection, archive: psycopg.Connection
) -> None:
    done = run_crdbvec(["embed", "-F", "--max-idle", "1", "--json"], project)
    assert json.loads(done.stdout)["rows_embedded"] == 5
    assert (embedded(connection), embedded(archive)) == (2, 3)


def test_search_names_the_columns_to_choose_from(invoke: Invoke) -> None:
    done = invoke("search", "old")
    assert done.exit_code == 2
    assert ARCHIVE in done.output
    assert "--database" in done.output


def test_url_is_that_of_one_database(url: str, archive: psycopg.Connection, invoke: Invoke) -> None:
    done = invoke("embed", "-u", url)
    assert done.exit_code == 2
    assert ARCHIVE in done.output
    assert embedded_is_missing(archive)


def embedded_is_missing(connection: psycopg.Connection) -> bool:
    return not connection.execute(
        "SELECT 1 FROM information_schema.columns WHERE column_name = 'passage_vector' AND table_name = 'passage'"
    ).fetchall()


def test_missing_variable_is_reported_before_any_work(
    connection: psycopg.Connection, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ARCHIVE_URL")
    done = invoke("embed")
    assert done.exit_code == 2
    assert "ARCHIVE_URL" in done.output
    assert embedded_is_missing(connection)


def test_database_that_cannot_be_reached_does_not_hide_the_other(
    invoke: Invoke, read_json: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARCHIVE_URL", "postgresql://reader@127.0.0.1:1/none")
    shown = invoke("status", "--json")
    assert shown.exit_code == DatabaseUnavailable.exit_code
    columns = json.loads(shown.stdout)
    assert [column["rows"] for column in columns] == [2, None]
    diagnosed = invoke("doctor")
    assert diagnosed.exit_code == 2
    assert "connection  archive: " in diagnosed.output


@pytest.mark.parametrize(
    ("name", "message"),
    [("archiv", "databases has no database archiv; the names there are archive."), ("", "databases has no database")],
)
def test_unknown_database_is_named(invoke: Invoke, name: str, message: str) -> None:
    done = invoke("status", "--database", name)
    assert done.exit_code == 2
    assert message in done.output


def test_name_needs_a_file(project: Path, invoke: Invoke) -> None:
    (project / "crdbvec.yaml").unlink()
    done = invoke("status", "-t", "p", "-i", "a", "-o", "v", "-m", "stub_counting", "--database", "archive")
    assert done.exit_code == 2
    assert "crdbvec.yaml" in done.output


def test_library_opens_the_column_of_either(archive: psycopg.Connection) -> None:
    with pytest.raises(ConfigurationError, match="in several databases"):
        open_column("passage", "passage_vector")
    with open_column("passage", "passage_vector", database="archive") as column:
        assert column.embed().rows_embedded == 3
    assert embedded(archive) == 3
