"""Changes of the user's schema: idempotent, safe for concurrent processes, and none with manage_schema: false."""

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg import sql
from tenacity import stop_after_attempt

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.errors import DatabaseUnavailable, TableError
from crdbvec_pipelines.database.rows.statements import read_pending
from crdbvec_pipelines.database.rows.vector_rows import VectorRows
from crdbvec_pipelines.database.schema import ddl
from crdbvec_pipelines.database.schema.prepare import prepare_column
from crdbvec_pipelines.database.schema.statements import pending_index_name
from tests.support.models import STUB_DIM, stub_vector
from tests.support.servers import Server
from tests.support.tables import SHAPES, KeyShape, column, create_table, vectors
from tests.support.waiting import wait_until
from tests.support.work import FakeModel, embed, prepare


def change_schema(database: Database, spec: VectorColumn) -> None:
    prepare_column(database, spec, FakeModel())


def columns(connection: psycopg.Connection, table: str = "passage") -> dict[str, str]:
    found = connection.execute(
        "SELECT a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_catalog.pg_attribute AS a "
        "JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid "
        "WHERE c.relname = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
        (table,),
    )
    return {str(name): str(kind) for name, kind in found.fetchall()}


def indexes(connection: psycopg.Connection, table: str = "passage") -> set[str]:
    found = connection.execute("SELECT indexname FROM pg_indexes WHERE tablename = %s", (table,))
    return {str(name) for (name,) in found.fetchall()}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_column_fingerprint_and_index_are_created(
    database: Database, connection: psycopg.Connection, shape: KeyShape
) -> None:
    create_table(connection, shape, ["a"])
    before = columns(connection)
    change_schema(database, column())
    added = {name: kind for name, kind in columns(connection).items() if name not in before}
    assert {name: kind.lower() for name, kind in added.items()} == {
        "passage_vector": f"vector({STUB_DIM})",
        "passage_vector_fingerprint": "text",
    }
    assert "passage_passage_vector_pending" in indexes(connection)


def test_second_call_changes_nothing(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection)
    change_schema(database, column())
    before = (columns(connection), indexes(connection), _oids(connection))
    change_schema(database, column())
    assert (columns(connection), indexes(connection), _oids(connection)) == before


def test_existing_vector_column_is_used_unchanged(database: Database, connection: psycopg.Connection) -> None:
    connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    create_table(connection, texts=["a"])
    connection.execute(f"ALTER TABLE passage ADD COLUMN passage_vector VECTOR({STUB_DIM})")
    connection.execute("UPDATE passage SET passage_vector = '[1,2,3,4,5,6,7,8]'")
    change_schema(database, column(existing_vectors="adopt"))
    assert [list(vector) for vector in vectors(connection).values() if vector is not None] == [list(range(1, 9))]


def test_nulls_only_adds_no_fingerprint_column(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection)
    change_schema(database, column(staleness="nulls_only"))
    assert set(columns(connection)) == {"id", "passage", "passage_vector"}


def test_each_column_of_a_table_has_a_pending_index(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection)
    change_schema(database, column())
    change_schema(database, column(output="other"))
    assert {"passage_passage_vector_pending", "passage_other_pending"} <= indexes(connection)


def test_concurrent_processes_prepare_the_same_table(url: str, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["a"] * 50)

    def prepare_in_own_process(_: int) -> None:
        with Database(url, max_connections=2) as database:
            change_schema(database, column())

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(prepare_in_own_process, range(4)))
    assert {"passage_vector", "passage_vector_fingerprint"} <= set(columns(connection))
    valid = connection.execute(
        "SELECT i.indisvalid FROM pg_catalog.pg_index AS i JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid "
        "WHERE c.relname = 'passage_passage_vector_pending'"
    )
    assert valid.fetchall() == [(True,)]


def test_manage_schema_false_changes_nothing_and_lists_the_statements(
    database: Database, connection: psycopg.Connection
) -> None:
    create_table(connection)
    spec = column(manage_schema=False, origin="crdbvec.yaml: vectors[0]")
    before = (columns(connection), indexes(connection))
    with pytest.raises(TableError) as caught:
        change_schema(database, spec)
    assert (columns(connection), indexes(connection)) == before
    message, *statements = str(caught.value).splitlines()
    assert message.startswith("crdbvec.yaml: vectors[0]: public.passage lacks what the vector column passage_vector")
    for statement in statements:
        connection.execute(sql.SQL(statement.strip().rstrip(";")))
    change_schema(database, spec)
    assert {"passage_vector", "passage_vector_fingerprint"} <= set(columns(connection))


def test_special_characters_in_names_are_quoted(database: Database, connection: psycopg.Connection) -> None:
    table = sql.Identifier('Sales "eu"', "100% order.lines")
    connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier('Sales "eu"')))
    connection.execute(
        sql.SQL("CREATE TABLE {} (id INT8 PRIMARY KEY, {} TEXT)").format(table, sql.Identifier("the %(text)s"))
    )
    connection.execute(sql.SQL("INSERT INTO {} VALUES (1, 'a')").format(table))
    spec = column(table='"Sales ""eu"""."100% order.lines"', input="the %(text)s", output="v%s", model="stub_hash")
    assert embed(database, spec).rows_embedded == 1
    (vector,) = vectors(connection, output="v%s", table=table).values()
    assert vector is not None
    assert (vector == stub_vector("a")).all()


def test_wrong_dimension_is_rejected_before_any_change(database: Database, connection: psycopg.Connection) -> None:
    connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    create_table(connection)
    connection.execute("ALTER TABLE passage ADD COLUMN passage_vector VECTOR(3)")
    with pytest.raises(TableError, match="takes vectors of dimension 3, but those of the model stub_counting have 8"):
        change_schema(database, column())
    assert set(columns(connection)) == {"id", "passage", "passage_vector"}
    assert indexes(connection) == {"passage_pkey"}


def test_output_that_is_not_a_vector_is_rejected_before_any_change(
    database: Database, connection: psycopg.Connection
) -> None:
    create_table(connection)
    with pytest.raises(TableError, match="exists and is of type bigint, not VECTOR"):
        change_schema(database, column(output="id"))
    assert set(columns(connection)) == {"id", "passage"}


def test_missing_input_is_rejected_before_any_change(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection)
    with pytest.raises(TableError, match=r"has no column pasage to embed; did you mean passage\?"):
        change_schema(database, column(input="pasage"))
    assert set(columns(connection)) == {"id", "passage"}


def test_long_index_name_is_truncated_and_stays_unique() -> None:
    one = pending_index_name(column(table="t" * 60, output="one"))
    other = pending_index_name(column(table="t" * 60, output="two"))
    assert len(one.encode()) <= 63
    assert one != other
    assert pending_index_name(column(table="ü" * 40)).encode().decode()


def test_invalid_index_is_rebuilt(postgres: Server) -> None:
    with postgres.new_database() as url, Database(url) as database, psycopg.connect(url, autocommit=True) as connection:
        create_table(connection)
        change_schema(database, column())
        connection.execute(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'passage_passage_vector_pending'::regclass"
        )
        change_schema(database, column())
        assert connection.execute(
            "SELECT indisvalid FROM pg_index WHERE indexrelid = 'passage_passage_vector_pending'::regclass"
        ).fetchone() == (True,)


def test_ddl_behind_a_long_transaction_does_not_block_other_sessions(
    postgres: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "crdbvec_pipelines")
    with (
        postgres.new_database() as url,
        Database(url) as database,
        psycopg.connect(url, autocommit=True) as connection,
        psycopg.connect(url) as reader,
        ThreadPoolExecutor(1) as pool,
    ):
        create_table(connection, texts=["a"])
        reader.execute("SELECT 1 FROM passage")
        adding = pool.submit(change_schema, database, column())
        # The DDL has released its place in the lock queue at least once; only the reader still blocks it.
        wait_until(lambda: "trying again" in caplog.text)
        connection.execute("UPDATE passage SET passage = 'b'")
        assert not adding.done()
        reader.commit()
        adding.result()
        assert "passage_vector" in columns(connection)


def test_error_names_the_long_transaction_that_blocks_the_ddl(
    postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ddl, "retry_when_locked", ddl.retry_when_locked.copy(stop=stop_after_attempt(1)))
    with (
        postgres.new_database() as url,
        Database(url) as database,
        psycopg.connect(url, autocommit=True) as connection,
        psycopg.connect(url) as reader,
    ):
        create_table(connection, texts=["a"])
        reader.execute("SELECT 1 FROM passage")
        with pytest.raises(
            DatabaseUnavailable, match="A long transaction holds a lock on the table, so add_vector_column was not run"
        ):
            change_schema(database, column())
        assert set(columns(connection)) == {"id", "passage"}


def test_index_that_another_process_is_building_is_not_dropped(postgres: Server) -> None:
    with (
        postgres.new_database() as url,
        Database(url) as builder,
        Database(url) as database,
        psycopg.connect(url, autocommit=True) as connection,
        ThreadPoolExecutor(1) as pool,
        psycopg.connect(url) as writer,
    ):
        create_table(connection, texts=["a"])
        change_schema(database, column())
        connection.execute("DROP INDEX passage_passage_vector_pending")
        # A build waits for every transaction that has written to the table.
        writer.execute("UPDATE passage SET passage = 'b'")
        building = pool.submit(change_schema, builder, column())
        wait_until(lambda: "passage_passage_vector_pending" in indexes(connection))
        before = _oids(connection)
        change_schema(database, column())
        assert not building.done()
        writer.commit()
        building.result()
        assert _oids(connection) == before


def test_pending_rows_are_read_through_the_index(postgres: Server) -> None:
    with postgres.new_database() as url, Database(url) as database, psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE passage (id INT8 PRIMARY KEY, passage TEXT)")
        connection.execute("INSERT INTO passage SELECT n, 'text ' || n FROM generate_series(1, 20000) AS n")
        rows = prepare(database, column())
        connection.execute(
            "UPDATE passage SET passage_vector = '[1,2,3,4,5,6,7,8]', passage_vector_fingerprint = 'x' WHERE id > 20"
        )
        connection.execute("VACUUM ANALYZE passage")
        plan = _query_plan_of_unembedded(connection, rows)
        assert "passage_passage_vector_pending" in plan
        assert "Seq Scan" not in plan


def _query_plan_of_unembedded(connection: psycopg.Connection, rows: VectorRows) -> str:
    statement = read_pending(
        rows.column, "unembedded", has_lower=False, has_upper=False, has_after=False, exclude_deferred=False
    )
    parameters = {"seed": "stub\n", "limit": 256, "max_bytes": 2**20, "model": "stub"}
    found = connection.execute(b"EXPLAIN " + statement.query, parameters)
    return "\n".join(line for (line,) in found.fetchall())


def _oids(connection: psycopg.Connection) -> list[tuple[str, int]]:
    """Return the objects with their oids; an object that was created again has another oid."""
    found = connection.execute(
        "SELECT c.relname, c.oid FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n "
        "ON n.oid = c.relnamespace WHERE n.nspname = 'public' ORDER BY c.relname"
    )
    return [(str(name), int(oid)) for name, oid in found.fetchall()]
