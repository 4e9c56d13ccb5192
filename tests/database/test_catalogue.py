"""What the database remembers of its vector columns: once, in order, and no longer than the columns are there."""

from datetime import datetime

import psycopg

from crdbvec_pipelines.database.catalogue import KeptColumn, kept_columns, remember
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.introspect import read_table
from crdbvec_pipelines.naming import TableName
from tests.support.tables import column, create_table
from tests.support.work import prepare


def kept(database: Database) -> list[KeptColumn]:
    return kept_columns(database, read_table(database, TableName("public", "passage")))


def test_a_column_is_remembered_with_its_inputs_and_model(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection)
    prepare(database, column(), model_id="one@1")
    assert kept(database) == [
        KeptColumn("passage_vector", ("passage",), "passage_vector_fingerprint", "fingerprint", ("one@1",))
    ]


def test_what_is_known_is_not_written_again(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection)
    prepare(database, column())
    before = changed_at(connection)
    prepare(database, column())
    assert changed_at(connection) == before
    prepare(database, column(), model_id="another")
    assert changed_at(connection) > before


def test_models_are_remembered_the_newest_first_and_ten_of_them(
    database: Database, connection: psycopg.Connection
) -> None:
    create_table(connection)
    for number in range(12):
        prepare(database, column(), model_id=f"model {number}")
    assert kept(database)[0].models == tuple(f"model {number}" for number in range(11, 1, -1))
    prepare(database, column(), model_id="model 5")
    assert kept(database)[0].models[:2] == ("model 5", "model 11")
    assert len(kept(database)[0].models) == 10


def test_columns_of_two_configurations_are_remembered_together(
    database: Database, connection: psycopg.Connection
) -> None:
    create_table(connection)
    prepare(database, column(output="b"))
    prepare(database, column(output="a", input=("passage", "id"), staleness="nulls_only"))
    assert [(each.output, each.inputs, each.fingerprint, each.staleness) for each in kept(database)] == [
        ("a", ("passage", "id"), None, "nulls_only"),
        ("b", ("passage",), "b_fingerprint", "fingerprint"),
    ]


def test_a_column_that_was_dropped_is_forgotten(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection)
    prepare(database, column(output="a"))
    prepare(database, column(output="b"))
    connection.execute("ALTER TABLE passage DROP COLUMN a")
    assert [each.output for each in kept(database)] == ["b"]


def test_a_table_of_the_same_name_in_another_schema_is_another(
    database: Database, connection: psycopg.Connection
) -> None:
    create_table(connection)
    connection.execute("CREATE SCHEMA archive")
    connection.execute("CREATE TABLE archive.passage (id INT8 PRIMARY KEY, passage TEXT)")
    prepare(database, column())
    table = read_table(database, TableName("archive", "passage"))
    prepare(database, column(table="archive.passage", output="elsewhere"))
    assert [each.output for each in kept(database)] == ["passage_vector"]
    assert [
        each.output for each in remember(database, table, column(table="archive.passage", output="elsewhere"), "m")
    ] == []


def changed_at(connection: psycopg.Connection) -> datetime:
    ((moment,),) = connection.execute("SELECT changed_at FROM crdbvec_vector_columns").fetchall()
    assert isinstance(moment, datetime)
    return moment
