"""Reading tables: every shape of key, special characters in names, and errors for tables that cannot be used."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import sql

from crdbvec_pipelines.config import vector_column
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.errors import TableError
from crdbvec_pipelines.database.table import check_column, read_table
from crdbvec_pipelines.keyspace import KeyRange
from crdbvec_pipelines.naming import TableName
from tests.support.servers import Server
from tests.support.tables import SHAPES, KeyShape, create_table


@contextmanager
def open_database(server: Server) -> Iterator[tuple[Database, psycopg.Connection]]:
    """Yield a new database of one kind of server, for what only that kind has, and a connection to it."""
    with server.new_database() as url, Database(url) as database, psycopg.connect(url, autocommit=True) as connection:
        yield database, connection


def read(database: Database, name: str) -> tuple[list[str], list[str]]:
    """Return the key's columns and their types."""
    key = read_table(database, TableName.parse(name)).key
    return [column.name for column in key], [column.type_name for column in key]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_key_is_read_in_key_order(database: Database, connection: psycopg.Connection, shape: KeyShape) -> None:
    create_table(connection, shape)
    assert read(database, "passage") == (list(shape.columns), [kind.lower() for kind in shape.columns.values()])


@pytest.mark.parametrize(
    ("kind", "type_name", "cast"),
    [
        ("VARCHAR(20)", "varchar", "character varying"),
        ("CHAR(8)", "bpchar", "bpchar"),
        ("NUMERIC(12,3)", "numeric", "numeric"),
        ("TIMESTAMPTZ", "timestamptz", "timestamp with time zone"),
        ("TIMESTAMP", "timestamp", "timestamp without time zone"),
        ("DATE", "date", "date"),
        ("BOOL", "bool", "boolean"),
        ("BYTEA", "bytea", "bytea"),
        ("INT2", "int2", "smallint"),
        ("FLOAT8", "float8", "double precision"),
    ],
)
def test_key_column_is_cast_to_its_type(
    database: Database, connection: psycopg.Connection, kind: str, type_name: str, cast: str
) -> None:
    connection.execute(sql.SQL("CREATE TABLE passage (id {} PRIMARY KEY, passage TEXT)").format(sql.SQL(kind)))
    (column,) = read_table(database, TableName("public", "passage")).key
    assert (column.type_name, column.cast) == (type_name, cast)


def test_enum_key_is_cast_to_the_enum(database: Database, connection: psycopg.Connection) -> None:
    connection.execute("CREATE TYPE mood AS ENUM ('sad', 'ok')")
    connection.execute("CREATE TABLE passage (id mood PRIMARY KEY, passage TEXT)")
    (column,) = read_table(database, TableName("public", "passage")).key
    assert column.type_name == "mood"
    assert column.cast.split(".")[-1] == "mood"


def test_key_order_differs_from_column_order(database: Database, connection: psycopg.Connection) -> None:
    connection.execute("CREATE TABLE passage (a INT8, b TEXT, c INT8, d TEXT, PRIMARY KEY (d, a, c))")
    assert read(database, "passage")[0] == ["d", "a", "c"]


def test_added_and_dropped_columns(database: Database, connection: psycopg.Connection) -> None:
    connection.execute("CREATE TABLE passage (dropped INT8, a INT8, b INT8, PRIMARY KEY (b, a))")
    connection.execute("ALTER TABLE passage DROP COLUMN dropped")
    connection.execute("ALTER TABLE passage ADD COLUMN added TEXT")
    assert read(database, "passage")[0] == ["b", "a"]
    assert "dropped" not in read_table(database, TableName("public", "passage")).columns


@pytest.mark.parametrize(
    ("schema", "table", "column"),
    [
        ("public", "Passage", "Id"),
        ("sales.eu", "order.lines", "the.key"),
        ("Sales", 'say "so"', 'a"b'),
        ("50%", "100%s", "%(limit)s"),
        ("my schema", "my table", "my key"),
        ("ünï", "東京", "clé"),
    ],
)
def test_names_are_case_sensitive_and_quoted(
    database: Database, connection: psycopg.Connection, schema: str, table: str, column: str
) -> None:
    connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
    connection.execute(
        sql.SQL("CREATE TABLE {} ({} INT8 PRIMARY KEY)").format(sql.Identifier(schema, table), sql.Identifier(column))
    )
    assert [part.name for part in read_table(database, TableName(schema, table)).key] == [column]


def test_names_that_differ_in_case_are_different_tables(database: Database, connection: psycopg.Connection) -> None:
    connection.execute("CREATE TABLE passage (small INT8 PRIMARY KEY)")
    connection.execute('CREATE TABLE "Passage" (large INT8 PRIMARY KEY)')
    assert read(database, "passage")[0] == ["small"]
    assert read(database, "Passage")[0] == ["large"]


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [("pasage", "public.passage"), ("Passage", "public.passage"), ("archive.pasage", "archive.passage")],
)
def test_error_for_a_missing_table_suggests_a_similar_name(
    database: Database, connection: psycopg.Connection, name: str, suggestion: str
) -> None:
    connection.execute("CREATE TABLE passage (id INT8 PRIMARY KEY)")
    connection.execute("CREATE SCHEMA archive")
    connection.execute("CREATE TABLE archive.passage (id INT8 PRIMARY KEY)")
    with pytest.raises(TableError, match=rf"There is no table .* in the database .*; did you mean {suggestion}\?"):
        read(database, name)


def test_error_for_a_missing_table_without_a_similar_name(database: Database) -> None:
    with pytest.raises(TableError, match=rf"^There is no table public\.passage in the database {database.name}\.$"):
        read(database, "passage")


def test_view_is_rejected(database: Database, connection: psycopg.Connection) -> None:
    connection.execute("CREATE VIEW passages AS SELECT 1 AS id")
    with pytest.raises(TableError, match=r"^public\.passages is a view, which cannot have a vector column\. Name the"):
        read(database, "passages")


def test_missing_input_column_is_named(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection)
    spec = vector_column(table="passage", input=["passage", "pasage"], output="v", model="m")
    with pytest.raises(TableError, match=r"public\.passage has no column pasage to embed; did you mean passage\?"):
        check_column(read_table(database, spec.table), spec, 8)
    spec = vector_column(table="passage", input="zzz", output="v", model="m")
    with pytest.raises(TableError, match=r"has no column zzz to embed; its columns are id, passage\."):
        check_column(read_table(database, spec.table), spec, 8)


def test_output_that_is_not_a_vector_is_rejected(database: Database, connection: psycopg.Connection) -> None:
    connection.execute("CREATE TABLE passage (id INT8 PRIMARY KEY, passage TEXT, v TEXT)")
    spec = vector_column(table="passage", input="passage", output="v", model="m")
    with pytest.raises(
        TableError, match=r"the column v of public\.passage exists and is of type text, not VECTOR\. Cho"
    ):
        check_column(read_table(database, spec.table), spec, 8)


@pytest.mark.parametrize(("kind", "found"), [("VECTOR(3)", "3"), ("VECTOR", "any")])
def test_output_of_another_dimension_is_rejected(
    database: Database, connection: psycopg.Connection, kind: str, found: str
) -> None:
    connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    connection.execute(sql.SQL("CREATE TABLE passage (id INT8 PRIMARY KEY, passage TEXT, v {})").format(sql.SQL(kind)))
    spec = vector_column(table="passage", input="passage", output="v", model="m")
    with pytest.raises(
        TableError, match=rf"takes vectors of dimension {found}, but those of the model m have 8\. Choose another"
    ):
        check_column(read_table(database, spec.table), spec, 8)


def test_key_range_of_another_key_is_rejected(database: Database, connection: psycopg.Connection) -> None:
    connection.execute("CREATE TABLE passage (a INT8, b INT8, PRIMARY KEY (a, b))")
    table = read_table(database, TableName("public", "passage"))
    table.check_range(KeyRange((1, 2), None))
    with pytest.raises(
        TableError, match=r"1 value\(s\) per bound does not match public\.passage, whose primary key is \(a, b"
    ):
        table.check_range(KeyRange(None, (1,)))


def test_table_without_primary_key_is_rejected_on_postgres(postgres: Server) -> None:
    with open_database(postgres) as (database, connection):
        connection.execute("CREATE TABLE passage (passage TEXT UNIQUE)")
        with pytest.raises(
            TableError, match=r"public\.passage has no primary key, which is needed to identify its rows\. No column"
        ):
            read(database, "passage")


# What the column is named, whether it can be the key, and the definitions and rows of the table.
FRAMES = {
    "the index of pandas": ("index", '"index" INT8, price FLOAT8, title TEXT', "(0, 1, 'a'), (1, 1, 'a')"),
    "a usual name before others": ("uuid", 'number INT8, "uuid" TEXT', "(1, 'a'), (2, 'b')"),
    "a name with capital letters": ("Item Id", '"Item Id" INT8, n INT8', "(1, 1), (2, 2)"),
    "not a column with NULL": ("code", "id INT8, code TEXT", "(NULL, 'a'), (2, 'b')"),
    "not a column with equal values": ("code", "id INT8, code TEXT", "(1, 'a'), (1, 'b')"),
    "not a long text": (None, "body TEXT", "(repeat('a', 201)), ('b')"),
    "a single row says nothing": (None, "body TEXT", "('b')"),
}


@pytest.mark.parametrize(("column", "definition", "rows"), FRAMES.values(), ids=list(FRAMES))
def test_statement_for_a_table_without_a_key_is_complete(
    postgres: Server, column: str | None, definition: str, rows: str
) -> None:
    with open_database(postgres) as (database, connection):
        connection.execute(f'CREATE TABLE "My Table" ({definition})'.encode())
        connection.execute(f'INSERT INTO "My Table" VALUES {rows}'.encode())
        with pytest.raises(TableError) as caught:
            read(database, "My Table")
        sentence, alter = str(caught.value).rsplit(": ", 1)
        assert ("No column has a different value" in sentence) == (column is None)
        connection.execute(alter.encode())
        assert read(database, "My Table")[0] == [column or "id"]


def test_role_that_may_not_read_the_table_still_learns_that_it_has_no_key(postgres: Server) -> None:
    with open_database(postgres) as (_, connection):
        connection.execute("CREATE TABLE passage (id INT8)")
        connection.execute("CREATE ROLE reads_nothing LOGIN")
        info = connection.info
        url = f"host={info.host} port={info.port} dbname={info.dbname} user=reads_nothing"
        try:
            with Database(url) as database, pytest.raises(TableError, match=r"ADD PRIMARY KEY \(\.\.\.\); and then"):
                read(database, "passage")
        finally:
            connection.execute("DROP ROLE reads_nothing")


@pytest.mark.parametrize(
    ("index", "key"),
    [
        ("UNIQUE (a)", ["a"]),
        ("UNIQUE (a, b), UNIQUE (b)", ["b"]),
        ("UNIQUE (b, a)", ["b", "a"]),
        ("UNIQUE (b) INCLUDE (a), PRIMARY KEY (a, b)", ["a", "b"]),
        ("UNIQUE (b) INCLUDE (a)", ["b"]),
        ("UNIQUE (nullable)", None),
        ("UNIQUE (a, nullable)", None),
        ("UNIQUE (a) DEFERRABLE", None),
        ("EXCLUDE (a WITH =)", None),
    ],
)
def test_unique_index_of_columns_that_are_not_null_is_the_key(
    postgres: Server, index: str, key: list[str] | None
) -> None:
    with open_database(postgres) as (database, connection):
        connection.execute(
            f"CREATE TABLE passage (a INT8 NOT NULL, b TEXT NOT NULL, nullable INT8, passage TEXT, {index})".encode()
        )
        # Neither a part of the rows nor an expression identifies rows.
        connection.execute("CREATE UNIQUE INDEX ON passage (a) WHERE a > 0")
        connection.execute("CREATE UNIQUE INDEX ON passage ((a + 1))")
        if key is None:
            with pytest.raises(TableError, match="has no primary key"):
                read(database, "passage")
        else:
            assert read(database, "passage")[0] == key


def test_error_names_the_kind_of_other_relations_of_postgres(postgres: Server) -> None:
    with open_database(postgres) as (database, connection):
        connection.execute("CREATE MATERIALIZED VIEW latest AS SELECT 1 AS id")
        connection.execute("CREATE SEQUENCE numbers")
        for name, kind in {"latest": "a materialized view", "numbers": "a sequence"}.items():
            with pytest.raises(TableError, match=f"{name} is {kind}, which cannot have a vector column"):
                read(database, name)


def test_partitioned_table_of_postgres_is_a_table(postgres: Server) -> None:
    with open_database(postgres) as (database, connection):
        connection.execute("CREATE TABLE passage (id INT8 PRIMARY KEY) PARTITION BY RANGE (id)")
        assert read(database, "passage") == (["id"], ["int8"])


def test_included_columns_of_a_postgres_index_are_not_part_of_the_key(postgres: Server) -> None:
    with open_database(postgres) as (database, connection):
        connection.execute("CREATE TABLE passage (a INT8, b INT8, c TEXT, PRIMARY KEY (b, a) INCLUDE (c))")
        assert read(database, "passage")[0] == ["b", "a"]


def test_hidden_rowid_of_cockroachdb_is_a_key(cockroach: Server) -> None:
    with open_database(cockroach) as (database, connection):
        connection.execute("CREATE TABLE passage (passage TEXT)")
        assert read(database, "passage") == (["rowid"], ["int8"])


def test_shard_column_of_cockroachdb_is_not_part_of_the_key(cockroach: Server) -> None:
    with open_database(cockroach) as (database, connection):
        connection.execute("CREATE TABLE passage (at TIMESTAMPTZ, id UUID, PRIMARY KEY (at, id) USING HASH)")
        assert read(database, "passage")[0] == ["at", "id"]


def test_unique_rowid_of_cockroachdb_is_an_integer(cockroach: Server) -> None:
    with open_database(cockroach) as (database, connection):
        connection.execute("CREATE TABLE passage (id INT8 DEFAULT unique_rowid() PRIMARY KEY, passage TEXT)")
        assert read(database, "passage") == (["id"], ["int8"])
