"""The trigger that clears a vector when its input changes: one per table, correct for all its columns, documented."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg import sql

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.column import bind_column
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.dialects import CockroachDialect
from crdbvec_pipelines.database.errors import TableError
from crdbvec_pipelines.database.schema.prepare import prepare_column, required_statements
from tests.support.fake_cockroachdb import reject_replaced_trigger_functions
from tests.support.servers import Server
from tests.support.tables import INT_SHAPE, column, create_table, set_text, vectors
from tests.support.work import FakeModel, embed, prepare

HASHED: Mapping[str, object] = {"staleness": "trigger", "model": "stub_hash"}


def functions(connection: psycopg.Connection) -> dict[str, str]:
    """Return name and text of the functions of this project."""
    found = connection.execute("SELECT proname, prosrc FROM pg_catalog.pg_proc WHERE proname LIKE 'crdbvec%'")
    return {str(name): str(text) for name, text in found.fetchall()}


def triggers(connection: psycopg.Connection) -> list[str]:
    found = connection.execute(
        "SELECT t.tgname FROM pg_catalog.pg_trigger AS t JOIN pg_catalog.pg_class AS c ON c.oid = t.tgrelid "
        "WHERE c.relname = 'passage' AND NOT t.tgisinternal"
    )
    return [str(name) for (name,) in found.fetchall()]


def has_vector(connection: psycopg.Connection, output: str = "passage_vector") -> list[bool]:
    """Return whether each row has its vector, in key order."""
    return [vector is not None for _, vector in sorted(vectors(connection, output=output).items())]


def statements(database: Database, spec: VectorColumn) -> list[str]:
    return [needed.name for needed in required_statements(bind_column(database, spec, FakeModel()))]


@pytest.mark.parametrize(
    ("before", "after", "is_kept"),
    [("a", "b", False), ("a", None, False), ("a", "", False), ("a", "a", True), ("a", "A", False), ("a", "a ", False)],
)
def test_vector_is_cleared_only_if_its_input_changes(
    database: Database, connection: psycopg.Connection, before: str, after: str | None, is_kept: bool
) -> None:
    create_table(connection, texts=[before, "other"])
    assert embed(database, column(**HASHED)).rows_embedded == 2
    set_text(connection, INT_SHAPE, 0, after)
    assert has_vector(connection) == [is_kept, True]
    ((fingerprint,),) = connection.execute(
        "SELECT passage_vector_fingerprint FROM passage WHERE id = %s", INT_SHAPE.key(0)
    ).fetchall()
    assert (fingerprint is not None) == is_kept


def test_vector_of_a_row_without_text_is_cleared_when_the_text_is_set(
    database: Database, connection: psycopg.Connection
) -> None:
    create_table(connection, texts=[None])
    prepare(database, column(**HASHED))
    connection.execute("UPDATE passage SET passage_vector = '[1,2,3,4,5,6,7,8]'")
    set_text(connection, INT_SHAPE, 0, "a")
    assert has_vector(connection) == [False]


def test_update_of_another_column_or_of_the_key_clears_nothing(
    database: Database, connection: psycopg.Connection
) -> None:
    create_table(connection, texts=["a"])
    connection.execute("ALTER TABLE passage ADD COLUMN views INT8")
    embed(database, column(**HASHED))
    connection.execute("UPDATE passage SET views = 1")
    connection.execute("UPDATE passage SET id = 77, passage = passage")
    assert has_vector(connection) == [True]


def test_upsert_clears_like_an_update(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["a", "b"])
    embed(database, column(**HASHED))
    connection.cursor().executemany(
        "INSERT INTO passage (id, passage) VALUES (%s, %s) ON CONFLICT (id) DO UPDATE SET passage = excluded.passage",
        [(*INT_SHAPE.key(0), "a"), (*INT_SHAPE.key(1), "new")],
    )
    assert has_vector(connection) == [True, False]


def test_cleared_row_is_embedded_again(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["a", "b"])
    embed(database, column(**HASHED))
    set_text(connection, INT_SHAPE, 0, "c")
    report = embed(database, column(**HASHED))
    assert (report.rows_read, report.rows_embedded) == (1, 1)
    assert has_vector(connection) == [True, True]


def test_two_columns_share_a_trigger_and_each_is_cleared_for_its_own_input(
    database: Database, connection: psycopg.Connection
) -> None:
    create_table(connection, texts=["a"])
    connection.execute("ALTER TABLE passage ADD COLUMN title TEXT DEFAULT 't'")
    # Three separate configurations, none of which contains the other columns.
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


def test_column_with_another_staleness_in_the_same_table_is_not_cleared(
    database: Database, connection: psycopg.Connection
) -> None:
    create_table(connection, texts=["a"])
    embed(database, column(**HASHED))
    embed(database, column(model="stub_hash", output="slow"))
    set_text(connection, INT_SHAPE, 0, "b")
    assert (has_vector(connection), has_vector(connection, "slow")) == ([False], [True])


def test_changing_the_staleness_drops_trigger_and_function(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["a"])
    embed(database, column(**HASHED))
    assert (len(triggers(connection)), len(functions(connection))) == (1, 1)
    embed(database, column(model="stub_hash"))
    assert (triggers(connection), functions(connection)) == ([], {})
    set_text(connection, INT_SHAPE, 0, "b")
    assert has_vector(connection) == [True]


def test_changing_the_staleness_of_one_of_two_columns_keeps_the_trigger(
    database: Database, connection: psycopg.Connection
) -> None:
    create_table(connection, texts=["a"])
    embed(database, column(**HASHED))
    embed(database, column(**HASHED, output="other"))
    embed(database, column(model="stub_hash"))
    assert (len(triggers(connection)), len(functions(connection))) == (1, 1)
    set_text(connection, INT_SHAPE, 0, "b")
    assert (has_vector(connection), has_vector(connection, "other")) == ([True], [False])


def test_changed_inputs_replace_the_trigger(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["a"])
    connection.execute("ALTER TABLE passage ADD COLUMN title TEXT DEFAULT 't'")
    embed(database, column(**HASHED))
    (before,) = functions(connection)
    embed(database, column(**HASHED, input=("title", "passage")))
    (after,) = functions(connection)
    assert (triggers(connection), before != after) == (["crdbvec_stale"], True)
    connection.execute("UPDATE passage SET title = 'u'")
    assert has_vector(connection) == [False]


def test_installed_trigger_needs_no_statement(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["a"])
    embed(database, column(**HASHED))
    assert statements(database, column(**HASHED)) == []


def test_dropped_trigger_is_created_again(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["a"])
    embed(database, column(**HASHED))
    connection.execute("DROP TRIGGER crdbvec_stale ON passage")
    prepare(database, column(**HASHED))
    assert (triggers(connection), len(functions(connection))) == (["crdbvec_stale"], 1)


@pytest.mark.parametrize(
    ("version", "changes"),
    [
        (None, ["create_trigger_function", "replace_trigger", "drop_trigger_function"]),
        (260200, ["create_trigger_function", "replace_trigger", "drop_trigger_function"]),
        (250400, ["create_trigger_function", "drop_trigger", "create_trigger", "drop_trigger_function"]),
    ],
)
def test_trigger_is_replaced_in_one_statement_if_the_server_supports_it(
    postgres: Server, version: int | None, changes: list[str]
) -> None:
    with postgres.new_database() as url, Database(url) as database, psycopg.connect(url, autocommit=True) as connection:
        create_table(connection, texts=["a"])
        prepare(database, column())
        if version is not None:
            # Both servers have the same statements; the dialect determines which of them are used.
            database.dialect = CockroachDialect(version)
        creation = statements(database, column(**HASHED))
        assert creation == ["create_trigger_function", "replace_trigger" if version != 250400 else "create_trigger"]
        prepare_column(database, column(**HASHED), FakeModel())
        assert statements(database, column(**HASHED, input=("passage", "id"))) == ["create_pending_index", *changes]
        assert statements(database, column()) == ["drop_trigger", "drop_trigger_function"]
        prepare_column(database, column(**HASHED, input=("passage", "id")), FakeModel())
        assert (triggers(connection), len(functions(connection))) == (["crdbvec_stale"], 1)
        prepare_column(database, column(), FakeModel())
        assert (triggers(connection), functions(connection)) == ([], {})


def test_old_cockroachdb_is_rejected() -> None:
    with pytest.raises(TableError, match=r"staleness: trigger needs CockroachDB 25\.4 or later\. Use staleness: fing"):
        CockroachDialect(250305).check_triggers()
    CockroachDialect(250400).check_triggers()


def test_special_characters_in_names_are_quoted_in_the_function(
    database: Database, connection: psycopg.Connection
) -> None:
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


def test_function_contains_a_comment_about_its_purpose(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection)
    prepare(database, column(**HASHED))
    ((name, text),) = functions(connection).items()
    assert name.startswith("crdbvec_stale_passage_")
    if isinstance(database.dialect, CockroachDialect):
        # It stores the parsed form of a body, so nothing depends on a comment.
        return
    assert "Made by crdbvec from the table crdbvec_vector_columns: a vector is cleared at once when what it was" in text
    assert "DROP TRIGGER crdbvec_stale on this table" in text


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("JSON", ('{"a":1}', '{"a":2}')),
        ("JSON[]", ('{"1"}', '{"2"}')),
        ("document", ('{"a":1}', '{"a":2}')),
        ("POINT", ("(1,2)", "(3,4)")),
        # Their operator compares the areas.
        ("BOX", ("(1,1),(0,0)", "(3,1),(2,0)")),
    ],
)
def test_input_of_a_type_without_equality_does_not_break_updates(
    postgres: Server, kind: str, values: tuple[str, str]
) -> None:
    with postgres.new_database() as url, Database(url) as database, psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE DOMAIN document AS JSON")
        connection.execute(f"CREATE TABLE passage (id INT8 PRIMARY KEY, passage {kind}, views INT8)")
        connection.execute(f"INSERT INTO passage VALUES (1, '{values[0]}', 0)")
        embed(database, column(**HASHED))
        connection.execute("UPDATE passage SET views = 1")
        assert has_vector(connection) == [True]
        connection.execute(f"UPDATE passage SET passage = '{values[1]}'")
        assert has_vector(connection) == [False]


def test_column_whose_input_was_dropped_does_not_break_updates(
    database: Database, connection: psycopg.Connection
) -> None:
    create_table(connection, texts=["a"])
    connection.execute("ALTER TABLE passage ADD COLUMN title TEXT DEFAULT 't'")
    embed(database, column(**HASHED, input="title", output="title_vector"))
    connection.execute("DROP TRIGGER crdbvec_stale ON passage")
    # CockroachDB does not drop a column that the predicate of an index names.
    connection.execute("DROP INDEX passage_title_vector_pending")
    connection.execute("ALTER TABLE passage DROP COLUMN title")
    embed(database, column(**HASHED))
    set_text(connection, INT_SHAPE, 0, "b")
    assert has_vector(connection) == [False]


def test_concurrent_processes_install_one_trigger(url: str, connection: psycopg.Connection) -> None:
    create_table(connection)

    def prepare_in_own_process(number: int) -> None:
        with Database(url, max_connections=2) as database:
            prepare(database, column(**HASHED, output=f"vector_{number % 2}"))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(prepare_in_own_process, range(4)))
    with Database(url) as database:
        for number in range(2):
            prepare(database, column(**HASHED, output=f"vector_{number}"))
    assert (triggers(connection), len(functions(connection))) == (["crdbvec_stale"], 1)
    (text,) = functions(connection).values()
    assert "vector_0" in text
    assert "vector_1" in text


def test_function_that_no_trigger_uses_is_dropped(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["a"])
    embed(database, column(**HASHED))
    (used,) = functions(connection)
    # The first is what a process leaves that was ended before it created the trigger; the others are those of other
    # tables and of the application.
    kept = ["crdbvec_stale_passage_0123abcd_0123abcd", "crdbvec_stale_passage_other", "crdbvec_stale_passage_0123ABCD"]
    for name in ("crdbvec_stale_passage_0123abcd", *kept):
        connection.execute(
            sql.SQL("CREATE FUNCTION {}() RETURNS TRIGGER LANGUAGE plpgsql AS $$BEGIN RETURN NEW; END$$").format(
                sql.Identifier(name)
            )
        )
    assert statements(database, column(**HASHED)) == ["drop_trigger_function"]
    prepare(database, column(**HASHED, manage_schema=False))
    assert set(functions(connection)) == {used, "crdbvec_stale_passage_0123abcd", *kept}
    prepare(database, column(**HASHED))
    assert set(functions(connection)) == {used, *kept}
    assert statements(database, column(**HASHED)) == []


def test_function_that_another_trigger_uses_is_not_replaced(postgres: Server) -> None:
    with postgres.new_database() as url, Database(url) as database, psycopg.connect(url, autocommit=True) as connection:
        reject_replaced_trigger_functions(connection)
        create_table(connection, texts=["a"])
        prepare(database, column(**HASHED))
        # The function of the renamed table has the name that the one of the new table needs.
        connection.execute("ALTER TABLE passage RENAME TO passage_before")
        create_table(connection, texts=["a"])
        embed(database, column(**HASHED))
        assert (triggers(connection), len(functions(connection))) == (["crdbvec_stale"], 1)
        set_text(connection, INT_SHAPE, 0, "b")
        assert has_vector(connection) == [False]
