"""The trigger that clears a vector when its input changes: one a table, right for all its columns, and readable."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg import sql

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.dialects import CockroachDialect
from crdbvec_pipelines.database.errors import TableError
from crdbvec_pipelines.database.introspect import read_table
from crdbvec_pipelines.database.schema import ensure_schema, needed_statements
from tests.support.models import STUB_DIM
from tests.support.servers import Server
from tests.support.tables import INT_SHAPE, column, create_table, set_text, vectors
from tests.support.work import embed, prepare

HASHED: Mapping[str, object] = {"staleness": "trigger", "model": "stub_hash"}


def functions(connection: psycopg.Connection) -> dict[str, str]:
    """Name and text of the functions that are ours."""
    found = connection.execute("SELECT proname, prosrc FROM pg_catalog.pg_proc WHERE proname LIKE 'crdbvec%'")
    return {str(name): str(text) for name, text in found.fetchall()}


def triggers(connection: psycopg.Connection) -> list[str]:
    found = connection.execute(
        "SELECT t.tgname FROM pg_catalog.pg_trigger AS t JOIN pg_catalog.pg_class AS c ON c.oid = t.tgrelid "
        "WHERE c.relname = 'passage' AND NOT t.tgisinternal"
    )
    return [str(name) for (name,) in found.fetchall()]


def has_vector(connection: psycopg.Connection, output: str = "passage_vector") -> list[bool]:
    """Whether each row has its vector, in the order of the keys."""
    return [vector is not None for _, vector in sorted(vectors(connection, output=output).items())]


def statements(database: Database, spec: VectorColumn) -> list[str]:
    table = read_table(database, spec.table)
    return [needed.name for needed in needed_statements(database, table, spec, STUB_DIM)]


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [("a", "b", False), ("a", None, False), ("a", "", False), ("a", "a", True), ("a", "A", False), ("a", "a ", False)],
)
def test_a_vector_is_cleared_when_its_input_really_changes(
    database: Database, connection: psycopg.Connection, before: str, after: str | None, kept: bool
) -> None:
    create_table(connection, texts=[before, "other"])
    assert embed(database, column(**HASHED)).rows_embedded == 2
    set_text(connection, INT_SHAPE, 0, after)
    assert has_vector(connection) == [kept, True]
    ((fingerprint,),) = connection.execute(
        "SELECT passage_vector_fingerprint FROM passage WHERE id = %s", INT_SHAPE.key(0)
    ).fetchall()
    assert (fingerprint is not None) == kept


def test_a_vector_of_a_row_without_text_is_cleared_when_the_text_comes(
    database: Database, connection: psycopg.Connection
) -> None:
    create_table(connection, texts=[None])
    prepare(database, column(**HASHED))
    connection.execute("UPDATE passage SET passage_vector = '[1,2,3,4,5,6,7,8]'")
    set_text(connection, INT_SHAPE, 0, "a")
    assert has_vector(connection) == [False]


def test_an_update_of_another_column_or_of_the_key_clears_nothing(
    database: Database, connection: psycopg.Connection
) -> None:
    create_table(connection, texts=["a"])
    connection.execute("ALTER TABLE passage ADD COLUMN views INT8")
    embed(database, column(**HASHED))
    connection.execute("UPDATE passage SET views = 1")
    connection.execute("UPDATE passage SET id = 77, passage = passage")
    assert has_vector(connection) == [True]


def test_an_upsert_clears_as_an_update_does(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["a", "b"])
    embed(database, column(**HASHED))
    connection.cursor().executemany(
        "INSERT INTO passage (id, passage) VALUES (%s, %s) ON CONFLICT (id) DO UPDATE SET passage = excluded.passage",
        [(*INT_SHAPE.key(0), "a"), (*INT_SHAPE.key(1), "new")],
    )
    assert has_vector(connection) == [True, False]


def test_a_cleared_row_is_embedded_again(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["a", "b"])
    embed(database, column(**HASHED))
    set_text(connection, INT_SHAPE, 0, "c")
    report = embed(database, column(**HASHED))
    assert (report.rows_read, report.rows_embedded) == (1, 1)
    assert has_vector(connection) == [True, True]


def test_two_columns_have_one_trigger_and_each_is_cleared_for_its_own_input_only(
    database: Database, connection: psycopg.Connection
) -> None:
    create_table(connection, texts=["a"])
    connection.execute("ALTER TABLE passage ADD COLUMN title TEXT DEFAULT 't'")
    # Each from a configuration of its own, which knows nothing of the other.
    embed(database, column(**HASHED))
    embed(database, column(**HASHED, input="title", output="title_vector"))
    embed(database, column(**HASHED, template="{title}: {passage}", output="both_vector"))
    assert triggers(connection) == ["crdbvec_stale"]
    assert len(functions(connection)) == 1
    connection.execute("UPDATE passage SET title = 'u'")
    outputs = ("passage_vector", "title_vector", "both_vector")
    assert [has_vector(connection, output)[0] for output in outputs] == [True, False, False]
    for spec in (
        column(**HASHED, input="title", output="title_vector"),
        column(**HASHED, template="{title}: {passage}", output="both_vector"),
    ):
        assert embed(database, spec).rows_embedded == 1
    connection.execute("UPDATE passage SET passage = 'b'")
    assert [has_vector(connection, output)[0] for output in outputs] == [False, True, False]


def test_a_column_of_another_staleness_beside_it_is_left_alone(
    database: Database, connection: psycopg.Connection
) -> None:
    create_table(connection, texts=["a"])
    embed(database, column(**HASHED))
    embed(database, column(model="stub_hash", output="slow"))
    set_text(connection, INT_SHAPE, 0, "b")
    assert (has_vector(connection), has_vector(connection, "slow")) == ([False], [True])


def test_switching_back_removes_trigger_and_function(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["a"])
    embed(database, column(**HASHED))
    assert (len(triggers(connection)), len(functions(connection))) == (1, 1)
    embed(database, column(model="stub_hash"))
    assert (triggers(connection), functions(connection)) == ([], {})
    set_text(connection, INT_SHAPE, 0, "b")
    assert has_vector(connection) == [True]


def test_switching_one_of_two_columns_back_leaves_the_other_its_trigger(
    database: Database, connection: psycopg.Connection
) -> None:
    create_table(connection, texts=["a"])
    embed(database, column(**HASHED))
    embed(database, column(**HASHED, output="other"))
    embed(database, column(model="stub_hash"))
    assert (len(triggers(connection)), len(functions(connection))) == (1, 1)
    set_text(connection, INT_SHAPE, 0, "b")
    assert (has_vector(connection), has_vector(connection, "other")) == ([True], [False])


def test_other_inputs_replace_the_trigger(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["a"])
    connection.execute("ALTER TABLE passage ADD COLUMN title TEXT DEFAULT 't'")
    embed(database, column(**HASHED))
    (before,) = functions(connection)
    embed(database, column(**HASHED, input=("title", "passage")))
    (after,) = functions(connection)
    assert (triggers(connection), before != after) == (["crdbvec_stale"], True)
    connection.execute("UPDATE passage SET title = 'u'")
    assert has_vector(connection) == [False]


def test_an_installed_trigger_is_not_touched_again(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["a"])
    embed(database, column(**HASHED))
    assert statements(database, column(**HASHED)) == []


def test_a_trigger_that_somebody_dropped_is_installed_again(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["a"])
    embed(database, column(**HASHED))
    connection.execute("DROP TRIGGER crdbvec_stale ON passage")
    prepare(database, column(**HASHED))
    assert (triggers(connection), len(functions(connection))) == (["crdbvec_stale"], 1)


@pytest.mark.parametrize(
    ("version", "change"),
    [
        (None, ["create_trigger_function", "replace_trigger", "drop_trigger_function"]),
        (260200, ["create_trigger_function", "replace_trigger", "drop_trigger_function"]),
        (250400, ["create_trigger_function", "drop_trigger", "create_trigger", "drop_trigger_function"]),
    ],
)
def test_a_trigger_is_replaced_in_one_statement_where_the_server_can(
    postgres: Server, version: int | None, change: list[str]
) -> None:
    with postgres.new_database() as url, Database(url) as database, psycopg.connect(url, autocommit=True) as connection:
        create_table(connection, texts=["a"])
        prepare(database, column())
        if version is not None:
            # Its statements are PostgreSQL's too; of these, only the choice differs.
            database.dialect = CockroachDialect(version)
        install = statements(database, column(**HASHED))
        assert install == ["create_trigger_function", "replace_trigger" if version != 250400 else "create_trigger"]
        ensure_schema(database, column(**HASHED), STUB_DIM, "m")
        assert statements(database, column(**HASHED, input=("passage", "id"))) == change
        assert statements(database, column()) == ["drop_trigger", "drop_trigger_function"]
        ensure_schema(database, column(**HASHED, input=("passage", "id")), STUB_DIM, "m")
        assert (triggers(connection), len(functions(connection))) == (["crdbvec_stale"], 1)
        ensure_schema(database, column(), STUB_DIM, "m")
        assert (triggers(connection), functions(connection)) == ([], {})


def test_an_old_cockroachdb_is_refused_with_a_sentence() -> None:
    with pytest.raises(TableError, match=r"staleness: trigger needs CockroachDB 25\.4 or later; use staleness: fing"):
        CockroachDialect(250305).check_triggers()
    CockroachDialect(250400).check_triggers()


def test_odd_names_reach_the_function_as_they_are(database: Database, connection: psycopg.Connection) -> None:
    table = sql.Identifier('Sales "eu"', "100% order.lines")
    connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier('Sales "eu"')))
    connection.execute(
        sql.SQL("CREATE TABLE {} (id INT8 PRIMARY KEY, {} TEXT, {} TEXT)").format(
            table, sql.Identifier("The %(text)s"), sql.Identifier("naïve 'x' $crdbvec")
        )
    )
    connection.execute(sql.SQL("INSERT INTO {} VALUES (1, 'a', 'b'), (2, 'c', 'd')").format(table))
    spec = column(
        table='"Sales ""eu"""."100% order.lines"',
        input=("The %(text)s", "naïve 'x' $crdbvec"),
        output="V%s",
        model="stub_hash",
        staleness="trigger",
    )
    assert embed(database, spec).rows_embedded == 2
    connection.execute(
        sql.SQL("UPDATE {} SET {} = 'e' WHERE id = 2").format(table, sql.Identifier("naïve 'x' $crdbvec"))
    )
    found = vectors(connection, output="V%s", table=table)
    assert (found[(1,)] is None, found[(2,)] is None) == (False, True)


def test_whoever_finds_the_function_reads_what_it_is_for(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection)
    prepare(database, column(**HASHED))
    ((name, text),) = functions(connection).items()
    assert name.startswith("crdbvec_stale_passage_")
    assert "Made by crdbvec from the table crdbvec_vector_columns: a vector is cleared at once when what it was" in text
    assert "DROP TRIGGER crdbvec_stale on this table" in text


@pytest.mark.parametrize("kind", ["JSON", "POINT"])
def test_an_input_of_a_type_without_equality_does_not_break_the_users_updates(postgres: Server, kind: str) -> None:
    values = {"JSON": ('{"a":1}', '{"a":2}'), "POINT": ("(1,2)", "(3,4)")}[kind]
    with postgres.new_database() as url, Database(url) as database, psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE TABLE passage (id INT8 PRIMARY KEY, passage {kind}, views INT8)")
        connection.execute(f"INSERT INTO passage VALUES (1, '{values[0]}', 0)")
        embed(database, column(**HASHED))
        connection.execute("UPDATE passage SET views = 1")
        assert has_vector(connection) == [True]
        connection.execute(f"UPDATE passage SET passage = '{values[1]}'")
        assert has_vector(connection) == [False]


def test_a_column_whose_input_was_dropped_does_not_break_the_users_updates(
    database: Database, connection: psycopg.Connection
) -> None:
    create_table(connection, texts=["a"])
    connection.execute("ALTER TABLE passage ADD COLUMN title TEXT DEFAULT 't'")
    embed(database, column(**HASHED, input="title", output="title_vector"))
    connection.execute("DROP TRIGGER crdbvec_stale ON passage")
    connection.execute("ALTER TABLE passage DROP COLUMN title")
    embed(database, column(**HASHED))
    set_text(connection, INT_SHAPE, 0, "b")
    assert has_vector(connection) == [False]


def test_several_at_once_install_one_trigger(url: str, connection: psycopg.Connection) -> None:
    create_table(connection)

    def at_once(number: int) -> None:
        with Database(url, max_connections=2) as database:
            prepare(database, column(**HASHED, output=f"vector_{number % 2}"))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(at_once, range(4)))
    with Database(url) as database:
        for number in range(2):
            prepare(database, column(**HASHED, output=f"vector_{number}"))
    assert (triggers(connection), len(functions(connection))) == (["crdbvec_stale"], 1)
    (text,) = functions(connection).values()
    assert "vector_0" in text
    assert "vector_1" in text
