"""The exchange of two vector columns: interrupted at each statement, and next to sessions that lock in any order."""

import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.dialects import PostgresDialect
from crdbvec_pipelines.database.errors import DatabaseUnavailable
from crdbvec_pipelines.database.schema.exchange import exchange_columns, finish_migration, start_migration
from crdbvec_pipelines.database.schema.migrations import Migration, find_migration
from crdbvec_pipelines.database.statement import Statement
from crdbvec_pipelines.search.index_build import build_when_covered
from tests.support.chunks import check_chunks, chunked, long_text
from tests.support.models import registry
from tests.support.servers import Server
from tests.support.tables import INT_SHAPE, column, create_table, insert_rows, schema_objects
from tests.support.waiting import wait_until
from tests.support.work import embed, prepared

SECOND = "passage_vector_second"
TEXTS: dict[int, str | None] = {number: long_text(number, 5 + number * 7 % 60) for number in range(12)}


@pytest.fixture
def url(postgres: Server) -> Iterator[str]:
    """The URL of a new database on PostgreSQL only."""
    with postgres.new_database() as new:
        yield new


def entries() -> tuple[VectorColumn, VectorColumn]:
    """Return the entries of both columns, whose chunks have other sizes and other dimensions."""
    small = {"size": 12, "overlap": 2}
    return chunked(index={}), chunked(index={}, output=SECOND, model="stub_wide", chunks=small)


def start(
    database: Database, connection: psycopg.Connection, columns: tuple[VectorColumn, VectorColumn] | None = None
) -> None:
    """Fill both columns of a migration, by default with chunks, and build their indexes."""
    create_table(connection)
    insert_rows(connection, INT_SHAPE, TEXTS)
    first, second = columns or entries()
    embed(database, first, registry().encoder_of(first))
    start_migration(prepared(database, first), second, registry().encoder_of(second))
    embed(database, second, registry().encoder_of(second))
    for entry in (first, second):
        assert build_when_covered(prepared(database, entry))


def migration_of(database: Database) -> Migration:
    found = find_migration(database, entries()[0].table, "passage_vector")
    assert found is not None
    return found


def check(connection: psycopg.Connection, *, is_exchanged: bool) -> None:
    """Assert that each column has the chunks of its model."""
    first, second = entries()
    if is_exchanged:
        first, second = (
            each.with_model(other.model, other.chunks) for each, other in ((first, second), (second, first))
        )
    for entry in (first, second):
        check_chunks(connection, entry, TEXTS)


class Killed(BaseException):
    """The end of the process."""


class Steps:
    """Executes statements as CockroachDB does, and is interrupted at one of them: before it, or after its effect."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stop_at: int | None = None
        self.error: type[BaseException] = Killed
        self.has_effect = False
        self.count = 0
        # CockroachDB renames several columns by one statement, and changes nothing else together with it.
        monkeypatch.setattr(PostgresDialect, "renames_columns_together", property(lambda _: True))
        for name in ("execute_once", "execute_together", "execute"):
            monkeypatch.setattr(Database, name, self._interrupted(getattr(Database, name)))

    def _interrupted(self, execute: Callable[..., Any]) -> Callable[..., Any]:
        def run(database: Database, statement: Any, *arguments: Any, **options: Any) -> Any:
            self.count += 1
            is_last = self.count == self.stop_at
            if is_last and not self.has_effect:
                raise self.error("interrupted")
            if isinstance(statement, Statement) and statement.name == "rename_columns":
                table, *renames = statement.text.split(" RENAME COLUMN ")
                with database._sessions.connection() as connection:
                    for rename in renames:
                        connection.execute(f"{table} RENAME COLUMN {rename.rstrip(', ')}".encode())
                done = None
            else:
                done = execute(database, statement, *arguments, **options)
            if is_last:
                raise self.error("interrupted")
            return done

        return run


@pytest.mark.parametrize("has_effect", [False, True], ids=["before the statement", "after the statement"])
def test_exchange_in_steps_is_continued_after_each_statement(
    database: Database, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch, has_effect: bool
) -> None:
    """As on CockroachDB, where an exchange is not one transaction."""
    start(database, connection)
    original = schema_objects(connection)
    steps = Steps(monkeypatch)
    steps.has_effect = has_effect
    back, interrupted = False, 0
    for number in range(1, 100):
        steps.count, steps.stop_at = 0, number
        try:
            exchange_columns(database, migration_of(database), back=back)
        except Killed:
            interrupted += 1
        else:
            break
        steps.stop_at = None
        phase = migration_of(database).phase
        done, interim = ("started", "rolling back") if back else ("switched", "switching")
        assert phase in (done, interim, "switched" if back else "started")
        if phase != done:
            exchange_columns(database, migration_of(database), back=back)
        assert migration_of(database).phase == done
        check(connection, is_exchanged=not back)
        back = not back
    assert interrupted > 10
    steps.stop_at = None
    if not back:
        exchange_columns(database, migration_of(database), back=True)
    assert schema_objects(connection) == original


def test_lost_reply_of_a_rename_is_no_second_rename(
    database: Database, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(database, connection)
    steps = Steps(monkeypatch)
    steps.error = DatabaseUnavailable
    steps.has_effect = True
    # The second statement renames the columns, the third one a chunk table.
    for number, back in ((2, False), (2, True), (3, False), (3, True)):
        steps.count, steps.stop_at = 0, number
        assert exchange_columns(database, migration_of(database), back=back).has_exchanged
        check(connection, is_exchanged=not back)


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ("SELECT count(*) FROM passage_passage_vector_chunks", "UPDATE passage SET passage = passage"),
        ("SELECT count(*) FROM passage", "SELECT count(*) FROM passage_passage_vector_chunks"),
        ("SELECT count(*) FROM passage_passage_vector_second_chunks", "DELETE FROM passage WHERE id = '0'"),
    ],
    ids=["chunks, then a write", "rows, then chunks", "second chunks, then a deletion"],
)
def test_no_session_ends_in_a_deadlock(
    url: str, database: Database, connection: psycopg.Connection, first: str, then: str
) -> None:
    """A transaction of an application that has a lock and needs another one, while the exchange waits for the first."""
    start(database, connection)
    migration = migration_of(database)
    done = []
    exchange = threading.Thread(target=lambda: done.append(exchange_columns(database, migration)), daemon=True)
    # Its session looks for a deadlock before the other one does, and would be the one that ends.
    with psycopg.connect(url, options="-c deadlock_timeout=700ms") as application:
        application.execute(first.encode())
        exchange.start()
        wait_until(lambda: waits_for_locks(connection), 30)
        application.execute(then.encode())
        application.rollback()
    exchange.join(60)
    assert [each.has_exchanged for each in done] == [True]
    check(connection, is_exchanged=True)


def test_no_session_ends_in_a_deadlock_with_the_end_of_a_migration(
    url: str, database: Database, connection: psycopg.Connection
) -> None:
    """The chunk table is dropped with its foreign key, for which the table is locked, too."""
    start(database, connection)
    second = prepared(database, entries()[1])
    migration = migration_of(database)
    end = threading.Thread(target=lambda: finish_migration(second, migration, abandon=True), daemon=True)
    with psycopg.connect(url, options="-c deadlock_timeout=700ms") as application:
        application.execute("SELECT count(*) FROM passage")
        end.start()
        wait_until(lambda: waits_for_locks(connection), 30)
        application.execute("DELETE FROM passage WHERE id = %s", INT_SHAPE.key(0))
        application.rollback()
    end.join(60)
    assert [row for row in schema_objects(connection) if SECOND in str(row)] == []


@pytest.fixture
def role(connection: psycopg.Connection) -> Iterator[str]:
    name = f"application_{uuid.uuid4().hex[:8]}"
    connection.execute(f"CREATE ROLE {name}".encode())
    yield name
    connection.execute(f"DROP OWNED BY {name}; DROP ROLE {name}".encode())


@pytest.mark.parametrize("has_chunks", [False, True], ids=["vectors", "chunks"])
@pytest.mark.parametrize("columns", ["", " (id, passage_vector)"], ids=["whole tables", "columns"])
def test_roles_of_applications_may_use_what_the_exchange_gives_them(
    database: Database, connection: psycopg.Connection, role: str, columns: str, has_chunks: bool
) -> None:
    plain = column(model="stub_hash"), column(model="stub_wide", output=SECOND)
    start(database, connection, entries() if has_chunks else plain)
    tables = ["passage", *(["passage_passage_vector_chunks"] if has_chunks else [])]
    for table in tables:
        connection.execute(f"GRANT SELECT{columns} ON {table} TO {role}".encode())
    connection.execute(f"GRANT UPDATE (passage) ON passage TO {role}".encode())
    for back in (False, True):
        assert exchange_columns(database, migration_of(database), back=back).has_exchanged
        with connection.transaction():
            connection.execute(f"SET LOCAL ROLE {role}".encode())
            for table in tables:
                assert len(connection.execute(f"SELECT id, passage_vector FROM {table}".encode()).fetchall()) >= 12
            with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.transaction():
                connection.execute("UPDATE passage SET passage_vector = NULL")


def waits_for_locks(connection: psycopg.Connection) -> bool:
    return bool(connection.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchall())
