"""A table that rejects every vector is not recorded as failed rows: the run stops, and nothing is recorded."""

from pathlib import Path

import psycopg
import pytest

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.errors import TableRejectsVectors
from crdbvec_pipelines.database.rows.vector_rows import VectorRows
from tests.support.processes import run_crdbvec
from tests.support.projects import write_config
from tests.support.servers import Server
from tests.support.tables import INT_SHAPE, column, create_table, insert_rows, set_text
from tests.support.work import embed, prepare

SPEC = column(model="stub_hash")
TEXTS: list[str | None] = [f"text {number}" for number in range(20)]


def reject_updates(connection: psycopg.Connection, condition: str = "true", state: str = "P0001") -> None:
    connection.execute(
        "CREATE FUNCTION reject() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN "
        f"IF {condition} THEN RAISE EXCEPTION 'not %', (NEW).passage USING ERRCODE = '{state}'; END IF; "
        "RETURN NEW; END $$"
    )
    connection.execute("CREATE TRIGGER reject BEFORE UPDATE ON passage FOR EACH ROW EXECUTE FUNCTION reject()")


def expect_table_failure(database: Database, state: str) -> TableRejectsVectors:
    rows = prepare(database, SPEC)
    before = rows.errors.count()
    with pytest.raises(TableRejectsVectors, match=rf"^The table public\.passage accepts no vector.*{state}") as caught:
        embed(database, SPEC)
    assert rows.errors.count() == before
    assert caught.value.exit_code == 2
    assert not caught.value.is_retryable
    return caught.value


@pytest.mark.parametrize("count", [1, 2, 20])
def test_table_without_a_replica_identity_that_is_published(postgres: Server, count: int) -> None:
    with (
        postgres.new_database() as url,
        Database(url) as database,
        psycopg.connect(url, autocommit=True) as connection,
    ):
        create_table(connection, texts=TEXTS[:count])
        rows = prepare(database, SPEC)
        connection.execute("CREATE PUBLICATION everything FOR TABLE passage")
        connection.execute("ALTER TABLE passage REPLICA IDENTITY NOTHING")
        error = expect_table_failure(database, "55000")
        assert "REPLICA IDENTITY DEFAULT" in str(error)
        connection.execute("ALTER TABLE passage REPLICA IDENTITY DEFAULT")
        assert embed(database, SPEC).rows_embedded == count
        # Also if rows were embedded before, and if only a vector is cleared.
        connection.execute("ALTER TABLE passage REPLICA IDENTITY NOTHING")
        insert_rows(connection, INT_SHAPE, {100: "new"})
        expect_table_failure(database, "55000")
        connection.execute("ALTER TABLE passage REPLICA IDENTITY DEFAULT")
        embed(database, SPEC)
        set_text(connection, INT_SHAPE, 100, " ")
        connection.execute("ALTER TABLE passage REPLICA IDENTITY NOTHING")
        expect_table_failure(database, "55000")
        assert rows.errors.count().total == 0


@pytest.mark.parametrize("count", [1, 20])
def test_rows_that_would_be_too_wide(postgres: Server, count: int) -> None:
    with (
        postgres.new_database() as url,
        Database(url) as database,
        psycopg.connect(url, autocommit=True) as connection,
    ):
        create_table(connection, texts=TEXTS[:count])
        # Numbers are not stored outside of the row: 1,014 of them leave 8 of the 8,160 bytes that a row may have.
        columns = ", ".join(f"ADD COLUMN n{number} FLOAT8" for number in range(1_014))
        connection.execute(f"ALTER TABLE passage {columns}".encode())
        values = ", ".join(f"n{number} = {number}" for number in range(1_014))
        connection.execute(f"UPDATE passage SET {values}".encode())
        error = expect_table_failure(database, "54000")
        assert "a table of their own" in str(error)


@pytest.mark.parametrize("count", [2, 20])
@pytest.mark.parametrize("state", ["P0001", "23514", "22023"])
def test_trigger_that_rejects_every_update(
    database: Database, connection: psycopg.Connection, count: int, state: str
) -> None:
    create_table(connection, texts=TEXTS[:count])
    reject_updates(connection, state=state)
    error = expect_table_failure(database, state)
    # The message of the trigger quotes the row.
    assert "text 0" not in str(error)


def test_trigger_that_rejects_every_update_after_rows_were_embedded(
    database: Database, connection: psycopg.Connection
) -> None:
    create_table(connection, texts=TEXTS)
    assert embed(database, SPEC).rows_embedded == 20
    reject_updates(connection)
    insert_rows(connection, INT_SHAPE, {100: "new", 101: "another"})
    expect_table_failure(database, "P0001")


def test_bad_rows_of_a_table_that_accepts_others_are_failed_rows(
    database: Database, connection: psycopg.Connection
) -> None:
    """All rows of the run fail, but the table accepts the vector of an earlier row, which is not changed."""
    create_table(connection, texts=TEXTS)
    embed(database, SPEC)
    before = connection.execute("SELECT passage_vector::text, passage FROM passage ORDER BY id").fetchall()
    reject_updates(connection, "(NEW).passage LIKE 'bad%'")
    insert_rows(connection, INT_SHAPE, {100: "bad one", 101: "bad two"})
    report = embed(database, SPEC)
    assert (report.rows_embedded, report.rows_failed) == (0, 2)
    assert prepare(database, SPEC).errors.count().total == 2
    after = connection.execute(
        "SELECT passage_vector::text, passage FROM passage WHERE passage NOT LIKE 'bad%' ORDER BY id"
    ).fetchall()
    assert after == before


def test_row_for_which_a_trigger_raises_a_code_of_tables_is_a_failed_row(
    database: Database, connection: psycopg.Connection
) -> None:
    create_table(connection, texts=["good", "bad"])
    reject_updates(connection, "(NEW).passage = 'bad'", "55000")
    report = embed(database, SPEC, batch_size=1)
    assert (report.rows_embedded, report.rows_failed) == (1, 1)


def test_one_row_that_fails_alone_is_a_failed_row(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["bad"])
    reject_updates(connection)
    assert embed(database, SPEC).rows_failed == 1


def test_rows_that_fail_for_different_reasons_are_failed_rows(
    database: Database, connection: psycopg.Connection
) -> None:
    create_table(connection, texts=["bad", "worse"])
    prepare(database, SPEC)
    reject_updates(connection, "(NEW).passage = 'bad'")
    connection.execute("ALTER TABLE passage ADD CHECK (passage <> 'worse' OR passage_vector IS NULL)")
    assert embed(database, SPEC).rows_failed == 2


def test_timeouts_are_failed_rows(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=TEXTS)
    reject_updates(connection, state="57014")
    assert embed(database, SPEC).rows_failed == 20


def test_table_is_tested_without_a_change(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=TEXTS)
    rows = prepare(database, SPEC)
    assert not rows.accepts_vectors()
    embed(database, SPEC)
    connection.execute("CREATE TABLE audit (id INT8)")
    connection.execute(
        "CREATE FUNCTION note() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN "
        "INSERT INTO audit VALUES (1); RETURN NEW; END $$"
    )
    connection.execute("CREATE TRIGGER note BEFORE UPDATE ON passage FOR EACH ROW EXECUTE FUNCTION note()")
    assert rows.accepts_vectors()
    assert connection.execute("SELECT count(*) FROM audit").fetchone() == (0,)


def test_locked_row_is_not_waited_for(database: Database, connection: psycopg.Connection, url: str) -> None:
    create_table(connection, texts=["a"])
    rows: VectorRows = prepare(database, SPEC)
    embed(database, SPEC)
    with psycopg.connect(url) as other:
        other.execute("UPDATE passage SET passage = 'b'")
        assert not rows.accepts_vectors()


def test_command_exits_with_code_2_and_names_the_remedy(
    url: str, connection: psycopg.Connection, tmp_path: Path
) -> None:
    create_table(connection, texts=TEXTS)
    reject_updates(connection)
    write_config(tmp_path, {"model": "stub_hash"})
    done = run_crdbvec(["embed"], tmp_path, CRDBVEC_URL=url)
    assert done.returncode == 2, done.stderr
    assert "Look for a trigger or a rule of the table" in done.stderr
    assert connection.execute("SELECT count(*) FROM crdbvec_row_errors").fetchone() == (0,)
