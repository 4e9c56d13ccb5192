"""Kinds of tables: each one is embedded, edited and embedded again, or rejected before anything is changed."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.errors import TableError
from tests.support.models import CallLog
from tests.support.servers import Server
from tests.support.tables import column, schema_objects
from tests.support.work import embed, prepare

pytestmark = pytest.mark.usefixtures("calls")

SPEC = column()


@pytest.fixture
def url(postgres: Server) -> Iterator[str]:
    """The URL of a new database on PostgreSQL, which has all of these kinds of tables."""
    with postgres.new_database() as new:
        yield new


def pending_indexes(connection: psycopg.Connection) -> dict[str, bool]:
    """Return the pending indexes by name, with whether they are valid."""
    found = connection.execute(
        "SELECT c.relname, i.indisvalid FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid "
        "WHERE c.relname LIKE '%pending'"
    )
    return dict(found.fetchall())


def embed_edit_embed(
    database: Database, connection: psycopg.Connection, calls: CallLog, spec: VectorColumn = SPEC, base: str = "passage"
) -> None:
    """Embed rows that are inserted, edited, blanked and deleted, and assert that each change is found once."""
    calls.clear()
    insert = sql.SQL("INSERT INTO passage (id, {}) VALUES (%s, %s)").format(sql.Identifier(base))
    update = sql.SQL("UPDATE passage SET {} = %s WHERE id = %s").format(sql.Identifier(base))
    for number in range(1, 5):
        connection.execute(insert, [number, f"text {number}"])
    assert embed(database, spec).rows_embedded == 4
    connection.execute(update, ["edited", 2])
    connection.execute(update, [" ", 3])
    connection.execute("DELETE FROM passage WHERE id = 4")
    report = embed(database, spec)
    assert (report.rows_embedded, report.rows_cleared) == (1, 1)
    report = embed(database, spec)
    assert (report.rows_embedded, report.rows_cleared, report.rows_read) == (0, 0, 0)
    assert len(calls.inputs()) == 5
    assert prepare(database, spec).count_unembedded(9) == 0


def assert_rejected(
    url: str, connection: psycopg.Connection, message: str, spec: VectorColumn = SPEC, user: str | None = None
) -> None:
    """Assert that a table is rejected with a message, and that nothing has been changed."""
    before = schema_objects(connection)
    with (
        Database(psycopg.conninfo.make_conninfo(url, **({"user": user} if user else {}))) as database,
        pytest.raises(TableError, match=message) as raised,
    ):
        prepare(database, spec)
    assert "\n" not in str(raised.value)
    assert schema_objects(connection) == before


@pytest.mark.parametrize("kind", ["STORED", "VIRTUAL"])
@pytest.mark.parametrize("staleness", ["fingerprint", "nulls_only"])
def test_generated_input_is_embedded(
    database: Database, connection: psycopg.Connection, calls: CallLog, kind: str, staleness: str
) -> None:
    connection.execute(
        "CREATE TABLE passage (id INT8 PRIMARY KEY, base TEXT, "
        f"passage TEXT GENERATED ALWAYS AS (base || repeat(' ', 2)) {kind})"
    )
    if staleness == "fingerprint":
        embed_edit_embed(database, connection, calls, SPEC, "base")
    else:
        connection.execute("INSERT INTO passage VALUES (1, 'a'), (2, ' '), (3, NULL)")
        assert embed(database, column(staleness=staleness)).rows_embedded == 1
        assert embed(database, column(staleness=staleness)).rows_read == 0
    assert list(pending_indexes(connection).values()) == [True]


def test_virtual_column_next_to_a_plain_one_is_embedded(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    connection.execute(
        "CREATE TABLE passage (id INT8 PRIMARY KEY, body TEXT, title TEXT GENERATED ALWAYS AS ('t') VIRTUAL)"
    )
    connection.execute("INSERT INTO passage VALUES (1, 'a'), (2, NULL)")
    spec = column(template="{title} {body}")
    assert embed(database, spec).rows_embedded == 2
    connection.execute("UPDATE passage SET body = 'b' WHERE id = 2")
    assert embed(database, spec).rows_embedded == 1
    assert calls.inputs()[2:] == ["t b"]


@pytest.mark.parametrize("kind", ["STORED", "VIRTUAL"])
def test_generated_input_with_a_trigger_is_rejected(url: str, connection: psycopg.Connection, kind: str) -> None:
    connection.execute(
        f"CREATE TABLE passage (id INT8 PRIMARY KEY, base TEXT, passage TEXT GENERATED ALWAYS AS (base || 'x') {kind})"
    )
    message = "passage of public.passage is generated, and a trigger cannot read its new value. Use staleness: finge"
    assert_rejected(url, connection, message, column(staleness="trigger"))


@pytest.mark.parametrize("key", ["id", "id, region"])
def test_partitioned_table_is_embedded(
    database: Database, connection: psycopg.Connection, calls: CallLog, key: str
) -> None:
    connection.execute(
        f"CREATE TABLE passage (id INT8, region INT4 DEFAULT 1, passage TEXT, updated TIMESTAMPTZ DEFAULT now(), "
        f"PRIMARY KEY ({key})) PARTITION BY RANGE (id)"
    )
    connection.execute("CREATE TABLE first PARTITION OF passage FOR VALUES FROM (0) TO (3)")
    connection.execute(
        "CREATE TABLE rest (passage TEXT, region INT4, dropped INT4, updated TIMESTAMPTZ, id INT8 NOT NULL)"
    )
    connection.execute("ALTER TABLE rest DROP COLUMN dropped, ALTER region SET NOT NULL")
    connection.execute("ALTER TABLE passage ATTACH PARTITION rest FOR VALUES FROM (3) TO (9)")
    spec = column(updated_at="updated")
    embed_edit_embed(database, connection, calls, spec)
    names = ["first_passage_vector_pending", "passage_passage_vector_pending", "rest_passage_vector_pending"]
    assert pending_indexes(connection) == dict.fromkeys(names, True)
    # A partition that is created later has the indexes too.
    connection.execute("CREATE TABLE last PARTITION OF passage FOR VALUES FROM (9) TO (20)")
    connection.execute("INSERT INTO passage (id, passage) VALUES (10, 'new')")
    spec = column(updated_at="updated", staleness="trigger")
    assert embed(database, spec).rows_embedded == 1
    partial = "SELECT indisvalid FROM pg_index WHERE indrelid = 'last'::regclass AND indpred IS NOT NULL"
    assert connection.execute(partial).fetchall() == [(True,)]
    connection.execute("UPDATE passage SET passage = 'changed' WHERE id = 10")
    assert prepare(database, spec).count_unembedded(9) == 1


def test_table_with_partitions_of_partitions_is_embedded(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    connection.execute("CREATE TABLE passage (id INT8 PRIMARY KEY, passage TEXT) PARTITION BY RANGE (id)")
    connection.execute("CREATE TABLE low PARTITION OF passage FOR VALUES FROM (0) TO (3) PARTITION BY RANGE (id)")
    connection.execute("CREATE TABLE lowest PARTITION OF low FOR VALUES FROM (0) TO (3)")
    connection.execute("CREATE TABLE high PARTITION OF passage FOR VALUES FROM (3) TO (9)")
    embed_edit_embed(database, connection, calls)
    assert set(pending_indexes(connection).values()) == {True}


def test_partitioned_table_with_a_vector_index_is_rejected(url: str, connection: psycopg.Connection) -> None:
    connection.execute("CREATE TABLE passage (id INT8 PRIMARY KEY, passage TEXT) PARTITION BY RANGE (id)")
    message = "is a partitioned table, on which a vector index cannot be built without blocking writers. Remove index"
    assert_rejected(url, connection, message, column(index={}))


def test_partition_is_rejected_unless_it_has_the_columns(
    url: str, connection: psycopg.Connection, calls: CallLog
) -> None:
    connection.execute("CREATE TABLE whole (id INT8 PRIMARY KEY, passage TEXT) PARTITION BY RANGE (id)")
    connection.execute("CREATE TABLE passage PARTITION OF whole DEFAULT")
    assert_rejected(url, connection, "is a partition, to which no column can be added. Name the partitioned table")
    with Database(url) as database:
        prepare(database, column(table="public.whole"))
        embed_edit_embed(database, connection, calls)


def test_foreign_table_is_rejected(url: str, connection: psycopg.Connection) -> None:
    connection.execute("CREATE TABLE passage (id INT8, passage TEXT) PARTITION BY RANGE (id)")
    connection.execute("CREATE FOREIGN DATA WRAPPER wrapper")
    connection.execute("CREATE SERVER elsewhere FOREIGN DATA WRAPPER wrapper")
    connection.execute("CREATE FOREIGN TABLE far PARTITION OF passage FOR VALUES FROM (0) TO (9) SERVER elsewhere")
    # A partitioned table with a foreign partition cannot have a primary key.
    assert_rejected(url, connection, "has no primary key")
    connection.execute("CREATE FOREIGN TABLE other (id INT8, passage TEXT) SERVER elsewhere")
    assert_rejected(url, connection, "public.other is a foreign table, which", column(table="public.other"))


def test_child_of_an_inherited_table_is_embedded(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    connection.execute("CREATE TABLE parent (id INT8 PRIMARY KEY, passage TEXT)")
    connection.execute("CREATE TABLE passage (PRIMARY KEY (id)) INHERITS (parent)")
    embed_edit_embed(database, connection, calls)


def test_table_with_children_is_rejected(url: str, connection: psycopg.Connection) -> None:
    connection.execute("CREATE TABLE passage (id INT8 PRIMARY KEY, passage TEXT)")
    connection.execute("CREATE TABLE child () INHERITS (passage)")
    assert_rejected(url, connection, "has tables that inherit from it, among whose rows its primary key is not unique")


def test_view_is_rejected(url: str, connection: psycopg.Connection) -> None:
    connection.execute("CREATE VIEW passage AS SELECT 1::INT8 AS id, 'a' AS passage")
    assert_rejected(url, connection, "public.passage is a view, which cannot have a vector column. Name the table that")


def test_typed_table_is_rejected_unless_it_has_the_columns(
    url: str, connection: psycopg.Connection, calls: CallLog
) -> None:
    connection.execute("CREATE TYPE row_type AS (id INT8, passage TEXT)")
    connection.execute("CREATE TABLE passage OF row_type (PRIMARY KEY (id))")
    assert_rejected(url, connection, "is a typed table, to which no column can be added. Add the missing columns to")
    connection.execute("CREATE EXTENSION vector")
    connection.execute(
        "ALTER TYPE row_type ADD ATTRIBUTE passage_vector VECTOR(8) CASCADE, "
        "ADD ATTRIBUTE passage_vector_fingerprint TEXT CASCADE"
    )
    with Database(url) as database:
        embed_edit_embed(database, connection, calls)


def test_temporary_table_is_rejected(url: str, connection: psycopg.Connection) -> None:
    connection.execute("CREATE TEMPORARY TABLE passage (id INT8 PRIMARY KEY, passage TEXT)")
    ((name,),) = connection.execute("SELECT nspname FROM pg_namespace WHERE oid = pg_my_temp_schema()").fetchall()
    message = "is a temporary table, which only the session that created it can use. Create a permanent table"
    assert_rejected(url, connection, message, column(table=f"{name}.passage"))


@pytest.mark.parametrize(("columns", "added"), [(1_597, None), (1_598, 2), (1_599, 2)])
def test_columns_left_are_counted_with_dropped_ones(
    url: str, connection: psycopg.Connection, calls: CallLog, columns: int, added: int | None
) -> None:
    connection.execute("CREATE TABLE passage (id INT8 PRIMARY KEY, passage TEXT)")
    for number in range(columns - 2):
        connection.execute(f"ALTER TABLE passage ADD COLUMN c{number} BOOL")
    connection.execute("ALTER TABLE passage " + ", ".join(f"DROP COLUMN c{number}" for number in range(columns - 2)))
    if added is None:
        with Database(url) as database:
            embed_edit_embed(database, connection, calls)
        return
    message = f"has {columns + 1:,} of the 1,600 columns" if columns > 1_598 else "of the 1,600 columns"
    connection.execute("ALTER TABLE passage ADD COLUMN one BOOL")
    assert_rejected(url, connection, f"{message}.* so {added} cannot be added. Create the table again without")


def test_rows_without_room_for_a_vector_are_rejected(url: str, connection: psycopg.Connection) -> None:
    wide = ", ".join(f"c{number} INT8 NOT NULL" for number in range(1_005))
    connection.execute(f"CREATE TABLE passage (id INT8 PRIMARY KEY, passage TEXT, {wide})")
    assert_rejected(
        url, connection, "has rows of at least 8,048 bytes, which with a vector do not fit in a page of 8,192"
    )


@pytest.mark.parametrize(
    ("definition", "problem"),
    [
        ("passage_vector VECTOR(8) NOT NULL", "passage_vector of public.passage is NOT NULL, so its vectors cannot be"),
        ("passage_vector VECTOR(8) GENERATED ALWAYS AS (NULL) STORED", "passage_vector of public.passage is generated"),
        ("passage_vector required", "passage_vector of public.passage is NOT NULL, so its vectors cannot be written"),
        ("passage_vector_fingerprint INT8", "fingerprint of public.passage exists and is not a nullable TEXT column"),
        ("passage_vector_fingerprint VARCHAR(31)", "fingerprint of public.passage exists and is not a nullable TEXT"),
        ("passage_vector_fingerprint TEXT NOT NULL", "fingerprint of public.passage exists and is not a nullable TEXT"),
    ],
)
def test_existing_column_that_cannot_be_written_is_rejected(
    url: str, connection: psycopg.Connection, definition: str, problem: str
) -> None:
    connection.execute("CREATE EXTENSION vector")
    connection.execute("CREATE DOMAIN required AS VECTOR(8) NOT NULL")
    connection.execute(f"CREATE TABLE passage (id INT8 PRIMARY KEY, passage TEXT, {definition})")
    assert_rejected(url, connection, problem)


def test_input_whose_text_is_the_name_of_an_object_is_rejected(url: str, connection: psycopg.Connection) -> None:
    connection.execute("CREATE TABLE passage (id INT8 PRIMARY KEY, passage REGCLASS)")
    assert_rejected(url, connection, "is of type regclass, whose text depends on the search path, so it cannot be embe")


@pytest.fixture
def role(connection: psycopg.Connection) -> Iterator[str]:
    """A role that may read and write a table, but neither change it nor create others."""
    name = f"writer_{connection.info.dbname}"
    connection.execute("CREATE TABLE passage (id INT8 PRIMARY KEY, passage TEXT)")
    connection.execute("CREATE EXTENSION vector")
    connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(name)))
    connection.execute(sql.SQL("GRANT ALL ON passage TO {}").format(sql.Identifier(name)))
    yield name
    connection.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
    connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def test_role_that_is_not_the_owner_is_rejected(url: str, connection: psycopg.Connection, role: str) -> None:
    message = f"can only be changed by its owner, which the role {role} is not. Run as the owner, or set manage_schema"
    assert_rejected(url, connection, message, user=role)


def test_owner_who_must_not_create_tables_is_rejected(url: str, connection: psycopg.Connection, role: str) -> None:
    connection.execute(sql.SQL("GRANT CREATE ON SCHEMA public TO {}").format(sql.Identifier(role)))
    connection.execute(sql.SQL("ALTER TABLE passage OWNER TO {}").format(sql.Identifier(role)))
    connection.execute(sql.SQL("REVOKE CREATE ON SCHEMA public FROM {}").format(sql.Identifier(role)))
    message = f"in a schema in which the role {role} must not create tables and indexes. Grant it CREATE on the schema"
    assert_rejected(url, connection, message, user=role)


def test_role_that_is_not_the_owner_can_embed_a_prepared_table(
    url: str, connection: psycopg.Connection, calls: CallLog, role: str
) -> None:
    with Database(url) as database:
        prepare(database, SPEC)
    connection.execute(sql.SQL("GRANT ALL ON ALL TABLES IN SCHEMA public TO {}").format(sql.Identifier(role)))
    with Database(psycopg.conninfo.make_conninfo(url, user=role)) as database:
        embed_edit_embed(database, connection, calls)


def test_statements_for_the_owner_are_listed_without_a_privilege(
    url: str, connection: psycopg.Connection, role: str
) -> None:
    with (
        Database(psycopg.conninfo.make_conninfo(url, user=role)) as database,
        pytest.raises(TableError, match=r"Run these statements, or set manage_schema: true\.\n  ALTER TABLE"),
    ):
        prepare(database, column(manage_schema=False))
