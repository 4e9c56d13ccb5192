"""The metadata of vector columns: saved once, in order, and ignored after a column was dropped."""

from dataclasses import replace
from datetime import datetime

import psycopg

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.schema.column_metadata import ColumnMetadata, read_column_metadata, save_column_metadata
from crdbvec_pipelines.database.table import read_table
from crdbvec_pipelines.naming import TableName
from tests.support.tables import column, create_table
from tests.support.work import prepare, prepared


def metadata(database: Database) -> list[ColumnMetadata]:
    return read_column_metadata(database, read_table(database, TableName("public", "passage")))


def test_column_is_saved_with_inputs_and_model(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection)
    prepare(database, column(), model_id="one@1")
    assert metadata(database) == [
        ColumnMetadata("passage_vector", ("passage",), "passage_vector_fingerprint", "fingerprint", ("one@1",))
    ]


def test_unchanged_metadata_is_not_written_again(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection)
    prepare(database, column())
    before = changed_at(connection)
    prepare(database, column())
    assert changed_at(connection) == before
    prepare(database, column(), model_id="another")
    assert changed_at(connection) > before


def test_ten_models_are_saved_the_latest_first(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection)
    for number in range(12):
        prepare(database, column(), model_id=f"model {number}")
    assert metadata(database)[0].models == tuple(f"model {number}" for number in range(11, 1, -1))
    prepare(database, column(), model_id="model 5")
    assert metadata(database)[0].models[:2] == ("model 5", "model 11")
    assert len(metadata(database)[0].models) == 10


def test_columns_of_two_configurations_are_saved_together(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection)
    prepare(database, column(output="b"))
    prepare(database, column(output="a", input=("passage", "id"), staleness="nulls_only"))
    assert [(each.output, each.inputs, each.fingerprint, each.staleness) for each in metadata(database)] == [
        ("a", ("passage", "id"), None, "nulls_only"),
        ("b", ("passage",), "b_fingerprint", "fingerprint"),
    ]


def test_dropped_column_is_not_returned(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection)
    prepare(database, column(output="a"))
    prepare(database, column(output="b"))
    # CockroachDB does not drop a column that the predicate of an index names.
    connection.execute("DROP INDEX passage_a_pending")
    connection.execute("ALTER TABLE passage DROP COLUMN a")
    assert [each.output for each in metadata(database)] == ["b"]


def test_tables_of_the_same_name_in_two_schemas_are_separate(
    database: Database, connection: psycopg.Connection
) -> None:
    create_table(connection)
    connection.execute("CREATE SCHEMA archive")
    connection.execute("CREATE TABLE archive.passage (id INT8 PRIMARY KEY, passage TEXT)")
    prepare(database, column())
    before = read_table(database, TableName("archive", "passage"))
    archived = prepared(database, column(table="archive.passage", output="archived_vector"))
    assert [each.output for each in metadata(database)] == ["passage_vector"]
    assert [each.output for each in save_column_metadata(archived)] == ["archived_vector"]
    # The table as it was before the column was added: recorded columns that it does not have are not returned.
    assert save_column_metadata(replace(archived, table=before)) == []


def changed_at(connection: psycopg.Connection) -> datetime:
    ((moment,),) = connection.execute("SELECT changed_at FROM crdbvec_vector_columns").fetchall()
    assert isinstance(moment, datetime)
    return moment
