"""Tables that exchange their names: indexes, trigger and records are those of the right table."""

import logging

import psycopg
import pytest
from psycopg import sql

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.index.vector_index import VectorIndex
from crdbvec_pipelines.database.rows.row_errors import RowFailure
from crdbvec_pipelines.database.rows.vector_rows import VectorRows
from crdbvec_pipelines.database.schema.own_indexes import OwnIndex
from tests.support.tables import INT_SHAPE, column, create_table, set_text, vectors
from tests.support.work import embed, prepare, prepared

NEW = "public.passage_new"


def swap(connection: psycopg.Connection) -> None:
    connection.execute("ALTER TABLE passage RENAME TO passage_old")
    connection.execute("ALTER TABLE passage_new RENAME TO passage")


def create_both(connection: psycopg.Connection) -> None:
    create_table(connection, texts=["one", "two"])
    create_table(connection, texts=["three", "four"], table=sql.Identifier("public", "passage_new"))


def indexes(connection: psycopg.Connection, table: str) -> dict[str, str]:
    found = connection.execute("SELECT indexname, indexdef FROM pg_indexes WHERE tablename = %s", (table,))
    return {str(name): str(text) for name, text in found.fetchall()}


def pending_indexes(connection: psycopg.Connection, table: str) -> list[str]:
    return [text for name, text in indexes(connection, table).items() if name.endswith("_pending")]


def records(connection: psycopg.Connection) -> list[tuple[str, str]]:
    found = connection.execute(
        "SELECT v.table_name, c.relname FROM crdbvec_vector_columns AS v "
        "JOIN pg_class AS c ON c.oid = v.table_oid::oid ORDER BY v.table_name"
    )
    return [(str(recorded), str(actual)) for recorded, actual in found.fetchall()]


def fail(rows: VectorRows, key: int, message: str) -> None:
    rows.errors.record([RowFailure((key,), "f", "rejected", message)])


def messages(rows: VectorRows) -> list[str]:
    return [error.message for error in rows.errors.list(10)]


def test_index_and_trigger_are_made_for_the_table_that_has_the_name_now(
    database: Database, connection: psycopg.Connection
) -> None:
    spec = column(staleness="trigger", model="stub_hash")
    create_both(connection)
    embed(database, spec)
    swap(connection)
    assert embed(database, spec).rows_embedded == 2
    assert len(pending_indexes(connection, "passage")) == 1
    assert len(pending_indexes(connection, "passage_old")) == 1
    set_text(connection, INT_SHAPE, 1, "edited")
    assert vectors(connection)[INT_SHAPE.key(1)] is None
    assert embed(database, spec).rows_embedded == 1


@pytest.mark.parametrize("staleness", ["trigger", "fingerprint"])
def test_what_a_table_had_under_another_name_is_used(
    database: Database, connection: psycopg.Connection, staleness: str
) -> None:
    create_both(connection)
    values = {"staleness": staleness, "model": "stub_hash", "updated_at": None}
    spec, new = column(**values), column(**values, table=NEW)
    for each in (spec, new):
        embed(database, each)
        VectorIndex(prepared(database, each)).build()
    before = {**indexes(connection, "passage_new")}
    swap(connection)
    assert embed(database, spec).rows_embedded == 0
    assert indexes(connection, "passage") == {
        name: text.replace("passage_new USING", "passage USING") for name, text in before.items()
    }
    index = VectorIndex(prepared(database, spec))
    assert (index.name, index.build()) == ("passage_new_passage_vector_index", False)
    assert index.sizes().index_bytes


def test_vector_index_is_built_for_the_table_that_has_the_name_now(
    database: Database, connection: psycopg.Connection
) -> None:
    create_both(connection)
    embed(database, column())
    VectorIndex(prepared(database, column())).build()
    swap(connection)
    embed(database, column())
    index = VectorIndex(prepared(database, column()))
    assert index.build()
    assert index.name in indexes(connection, "passage")
    assert "passage_passage_vector_index" in indexes(connection, "passage_old")


def test_records_follow_both_tables(database: Database, connection: psycopg.Connection) -> None:
    create_both(connection)
    fail(prepare(database, column()), 1, "of the old table")
    fail(prepare(database, column(table=NEW)), 1, "of the new table")
    swap(connection)
    rows = prepare(database, column())
    assert messages(rows) == ["of the new table"]
    assert records(connection) == [("passage", "passage"), ("passage_old", "passage_old")]
    assert messages(prepare(database, column(table="public.passage_old"))) == ["of the old table"]


def test_tables_that_exchange_their_names_keep_their_records(
    database: Database, connection: psycopg.Connection
) -> None:
    create_both(connection)
    fail(prepare(database, column()), 1, "one")
    fail(prepare(database, column(table=NEW)), 1, "other")
    for old, new in (("passage", "x"), ("passage_new", "passage"), ("x", "passage_new")):
        connection.execute(f"ALTER TABLE {old} RENAME TO {new}")
    assert messages(prepare(database, column())) == ["other"]
    assert messages(prepare(database, column(table=NEW))) == ["one"]


def test_a_swap_every_night_replaces_the_records_of_the_dropped_table(
    database: Database, connection: psycopg.Connection
) -> None:
    create_both(connection)
    for number in range(3):
        fail(prepare(database, column()), 1, f"night {number}")
        connection.execute("DROP TABLE IF EXISTS passage_old")
        swap(connection)
        create_table(connection, texts=["x"], table=sql.Identifier("public", "passage_new"))
    assert messages(prepare(database, column())) == []
    assert messages(prepare(database, column(table="public.passage_old"))) == ["night 2"]


def test_a_table_that_was_dropped_and_created_again_is_said_to_be_another_one(
    database: Database, connection: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    create_table(connection, texts=["one"])
    fail(prepare(database, column()), 1, "before")
    connection.execute("DROP TABLE passage")
    create_table(connection, texts=["one"])
    with caplog.at_level(logging.WARNING):
        rows = prepare(database, column())
    assert caplog.messages == ["public.passage is another table than the one prepared before, which was dropped."]
    assert messages(rows) == ["before"]
    caplog.clear()
    prepare(database, column())
    assert caplog.messages == []


def test_records_of_release_0_1_0_are_those_of_their_name(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["one"])
    prepare(database, column())
    connection.execute("UPDATE crdbvec_vector_columns SET table_oid = NULL")
    prepare(database, column())
    assert records(connection) == [("passage", "passage")]


@pytest.mark.parametrize(
    ("values", "inputs"),
    [
        ({"input": ["title", "body"]}, "title TEXT, body TEXT"),
        ({"input": 'the (first) "one"'}, '"the (first) ""one""" TEXT'),
        ({"input": "Select", "output": "Is Null"}, '"Select" TEXT'),
    ],
)
def test_an_own_index_is_recognized_as_the_server_writes_it(
    database: Database, connection: psycopg.Connection, values: dict[str, object], inputs: str
) -> None:
    connection.execute(f"CREATE TABLE passage (a INT8, b TEXT, {inputs}, PRIMARY KEY (b, a))".encode())
    spec = column(**values)
    prepare(database, spec)
    connection.execute("ALTER TABLE passage RENAME TO other")
    before = indexes(connection, "other")
    prepare(database, column(**values, table="public.other"))
    assert indexes(connection, "other").keys() == before.keys()


def test_an_index_of_another_definition_is_not_taken_for_the_own_one() -> None:
    own = OwnIndex("t_v", "pending", ["id"], sql.SQL('"v" IS NULL AND "a" IS NOT NULL'))
    assert own.has_definition(["id"], "((v IS NULL) AND (a IS NOT NULL))")
    assert not own.has_definition(["id"], "((v IS NULL) AND (b IS NOT NULL))")
    assert not own.has_definition(["id", "v"], "((v IS NULL) AND (a IS NOT NULL))")
    assert not own.has_definition(["id"], None)


def test_a_changed_input_gets_an_index_of_its_own(database: Database, connection: psycopg.Connection) -> None:
    connection.execute("CREATE TABLE passage (id INT8 PRIMARY KEY, passage TEXT, title TEXT)")
    prepare(database, column())
    both = column(input=["passage", "title"])
    prepare(database, both)
    prepare(database, both)
    assert sorted("title" in text for text in pending_indexes(connection, "passage")) == [False, True]


def test_invalid_index_of_a_failed_build_is_replaced(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["one"])
    prepare(database, column())
    connection.execute("ALTER TABLE passage RENAME TO other")
    connection.execute(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'passage_passage_vector_pending'::regclass"
    )
    prepare(database, column(table="public.other"))
    assert list(map(bool, pending_indexes(connection, "other"))) == [True]
    assert connection.execute("SELECT count(*) FROM pg_index WHERE NOT indisvalid").fetchall() == [(0,)]
