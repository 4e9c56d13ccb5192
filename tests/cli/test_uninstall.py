"""`crdbvec uninstall`: exactly what this project added to a table is removed, after it was listed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.cli.conftest import Invoke
from tests.support.projects import write_config
from tests.support.tables import create_table

State = dict[str, list[tuple[object, ...]]]
ALL: dict[str, Any] = {"staleness": "trigger", "updated_at": "changed", "index": {}}


@pytest.fixture
def configured(project: Path, url: str, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project, and a table with objects of its owner that look like those of this project."""
    monkeypatch.setenv("CRDBVEC_URL", url)
    write_config(project)
    create_table(connection, texts=["one", "two", None])
    connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    connection.execute("ALTER TABLE passage ADD COLUMN changed TIMESTAMPTZ DEFAULT now(), ADD COLUMN title TEXT")
    connection.execute("CREATE INDEX passage_own_pending ON passage (id) WHERE title IS NULL")
    connection.execute("CREATE TABLE crdbvec_of_the_owner (id INT8 PRIMARY KEY)")
    connection.execute("CREATE FUNCTION own() RETURNS TRIGGER LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'")
    connection.execute("CREATE TRIGGER own BEFORE UPDATE ON passage FOR EACH ROW EXECUTE FUNCTION own()")
    return project


@pytest.fixture
def state(connection: psycopg.Connection) -> Callable[[], State]:
    """Return a function that reads every object of the schema and every value of the application."""
    queries = {
        "relations": "SELECT c.relname, c.relkind FROM pg_class AS c "
        "WHERE c.relnamespace = 'public'::regnamespace ORDER BY 1",
        "columns": "SELECT c.relname, a.attname FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid "
        "WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND NOT a.attisdropped AND a.attnum > 0 "
        "ORDER BY 1, 2",
        "triggers": "SELECT t.tgname FROM pg_trigger AS t WHERE NOT t.tgisinternal ORDER BY 1",
        "functions": "SELECT p.proname FROM pg_proc AS p "
        "LEFT JOIN pg_depend AS d ON d.objid = p.oid AND d.deptype = 'e' "
        "WHERE p.pronamespace = 'public'::regnamespace AND d.objid IS NULL ORDER BY 1",
        "rows": "SELECT id, passage, title FROM passage ORDER BY id",
    }
    return lambda: {name: connection.execute(query.encode()).fetchall() for name, query in queries.items()}


def test_everything_is_removed_and_the_objects_of_the_owner_are_kept(
    configured: Path, invoke: Invoke, state: Callable[[], State]
) -> None:
    before = state()
    write_config(configured, ALL)
    assert invoke("embed").exit_code == 0
    assert invoke("index", "build").exit_code == 0
    prepared = state()
    listed = invoke("uninstall", "--drop-column")
    assert listed.exit_code == 0
    assert "Run the command again with --yes" in listed.stdout
    assert state() == prepared
    done = json.loads(invoke("uninstall", "--drop-column", "--yes", "--json").stdout)
    assert [each["what"] for each in done["columns"][0]["removals"]] == [
        "the trigger",
        "the function of the trigger",
        "the index passage_changed_crdbvec",
        "the vector index passage_passage_vector_index",
        "the pending index passage_passage_vector_pending",
        "the fingerprint column passage_vector_fingerprint",
        "the vector column passage_vector with its vectors",
        "the metadata tables, which no other vector column uses",
    ]
    assert state() == before
    assert "nothing to remove" in invoke("uninstall", "--yes").stdout


def test_the_vector_column_is_kept_by_default(
    configured: Path, connection: psycopg.Connection, invoke: Invoke, state: Callable[[], State]
) -> None:
    connection.execute("ALTER TABLE passage ADD COLUMN passage_vector vector(8)")
    before = state()
    assert invoke("embed").exit_code == 0
    result = invoke("uninstall", "--yes")
    assert "The vector column passage_vector and its vectors are kept." in result.stdout
    assert state() == before
    assert connection.execute("SELECT count(passage_vector) FROM passage").fetchone() == (2,)


def test_another_vector_column_keeps_what_it_needs(
    configured: Path, connection: psycopg.Connection, invoke: Invoke, state: Callable[[], State]
) -> None:
    write_config(configured, {**ALL, "model": "stub_hash"})
    assert invoke("embed").exit_code == 0
    before = state()
    write_config(configured, {**ALL, "model": "stub_hash"}, {**ALL, "model": "stub_hash", "output": "other"})
    assert invoke("embed").exit_code == 0
    result = invoke("uninstall", "-o", "other", "--drop-column", "--yes")
    assert "The index passage_changed_crdbvec is kept, because passage_vector may use it." in result.stdout
    after = state()
    # The function of the trigger has the name that it had before the second column was added.
    assert after == before
    connection.execute("UPDATE passage SET passage = 'edited' WHERE passage = 'one'")
    assert connection.execute("SELECT count(passage_vector) FROM passage").fetchone() == (1,)
    assert connection.execute("SELECT output FROM crdbvec_vector_columns").fetchall() == [("passage_vector",)]


def test_all_columns_of_the_configuration_are_removed_at_once(
    configured: Path, invoke: Invoke, state: Callable[[], State]
) -> None:
    before = state()
    write_config(configured, ALL, {**ALL, "output": "other"})
    assert invoke("embed").exit_code == 0
    assert invoke("uninstall", "--drop-column", "--yes").exit_code == 0
    assert state() == before


def test_failed_rows_and_claims_of_the_column_are_removed_and_those_of_others_kept(
    configured: Path, connection: psycopg.Connection, invoke: Invoke
) -> None:
    write_config(configured, {}, {"output": "other"})
    assert invoke("embed").exit_code == 0
    for output in ("passage_vector", "other"):
        connection.execute(
            "INSERT INTO crdbvec_row_errors VALUES "
            "('passage', %s, '[1]', 'f', 'rejected', 1, now(), 'why', now(), now())",
            (output,),
        )
    assert invoke("uninstall", "-o", "other", "--yes").exit_code == 0
    assert connection.execute("SELECT output FROM crdbvec_row_errors").fetchall() == [("passage_vector",)]


def test_a_view_that_uses_the_column_prevents_its_removal(
    configured: Path, connection: psycopg.Connection, invoke: Invoke
) -> None:
    assert invoke("embed").exit_code == 0
    connection.execute("CREATE VIEW shown AS SELECT passage_vector FROM passage")
    result = invoke("uninstall", "--drop-column", "--yes")
    assert result.exit_code == 1
    assert "other objects depend on it" in result.stderr
    connection.execute("DROP VIEW shown")
    assert invoke("uninstall", "--drop-column", "--yes").exit_code == 0
    assert connection.execute("SELECT to_regclass('crdbvec_vector_columns')").fetchone() == (None,)


def test_a_table_that_was_not_prepared_or_is_newer_is_not_changed(
    configured: Path, connection: psycopg.Connection, invoke: Invoke, state: Callable[[], State]
) -> None:
    before = state()
    assert "nothing to remove" in invoke("uninstall", "--yes").stdout
    assert state() == before
    assert invoke("embed").exit_code == 0
    connection.execute("INSERT INTO crdbvec_metadata_version VALUES (999, now())")
    prepared = state()
    result = invoke("uninstall", "--drop-column", "--yes")
    assert result.exit_code == 2
    assert "Upgrade crdbvec-pipelines." in result.stderr
    assert state() == prepared
