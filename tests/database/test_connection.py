"""The product's connection: finds its dialect, retries by class, says no password, leaves nothing open."""

import threading
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from crdbvec_pipelines.database import connection as connection_module
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.errors import DatabaseError, DatabaseUnavailable
from crdbvec_pipelines.embedded import EmbeddedServer
from crdbvec_pipelines.errors import ConfigurationError
from tests.support.servers import Server
from tests.support.statements import probe
from tests.support.waiting import wait_until

_LONGEST_SECONDS = 20


def sessions(connection: psycopg.Connection, name: str) -> list[int]:
    """The processes that serve connections with this application name on PostgreSQL."""
    found = connection.execute(
        "SELECT pid FROM pg_stat_activity WHERE application_name = %s AND datname = current_database()", (name,)
    )
    return [pid for (pid,) in found]


def test_the_dialect_is_read_off_the_connection(request: pytest.FixtureRequest, database: Database) -> None:
    assert database.dialect.name == request.node.callspec.params["server"]


def test_the_server_is_told_who_asks(url: str, database: Database) -> None:
    name = probe("SELECT current_setting('application_name')")
    assert database.fetch_one(name) == ("crdbvec",)
    with Database(url, application_name="crdbvec follow") as other:
        assert other.fetch_one(name) == ("crdbvec follow",)


def test_texts_of_times_do_not_depend_on_the_servers_settings(url: str, connection: psycopg.Connection) -> None:
    name = sql.Identifier(connection.info.dbname)
    connection.execute(sql.SQL("ALTER DATABASE {} SET timezone = 'Asia/Tokyo'").format(name))
    connection.execute(sql.SQL("ALTER DATABASE {} SET datestyle = 'ISO, DMY'").format(name))
    with Database(url) as database:
        stamp = probe("SELECT (TIMESTAMPTZ '2026-02-01 00:30:00+09')::TEXT")
        assert database.fetch_one(stamp) == ("2026-01-31 15:30:00+00",)


def test_each_statement_is_committed_at_once(database: Database, connection: psycopg.Connection) -> None:
    database.execute(probe("CREATE TABLE t (id INT8 PRIMARY KEY)"))
    assert database.execute_many(probe("INSERT INTO t VALUES (%(id)s)"), [{"id": 1}, {"id": 2}]) == 2
    assert connection.execute("SELECT count(*) FROM t").fetchone() == (2,)


def test_percent_signs_that_are_no_placeholder_are_left_alone(database: Database) -> None:
    assert database.fetch_one(probe("SELECT '100%', 7 % 4, '%s'")) == ("100%", 3, "%s")
    assert database.fetch_one(probe("SELECT '100%', %(given)s::TEXT"), {"given": "%(x)s"}) == ("100%", "%(x)s")


def test_closing_leaves_no_session_behind(postgres: Server) -> None:
    with postgres.new_database() as url, psycopg.connect(url, autocommit=True) as admin:
        with Database(url, application_name="closing") as database:
            database.fetch(probe("SELECT 1"))
            assert sessions(admin, "closing")
        wait_until(lambda: not sessions(admin, "closing"))


def test_a_killed_connection_is_replaced_and_the_statement_sent_again(postgres: Server) -> None:
    with postgres.new_database() as url, psycopg.connect(url, autocommit=True) as admin, Database(url) as database:
        assert database.fetch_one(probe("SELECT 1")) == (1,)

        def all_are_killed() -> bool:
            # The pool may be opening one more at this moment.
            for pid in sessions(admin, "crdbvec"):
                admin.execute("SELECT pg_terminate_backend(%s)", (pid,))
            return not sessions(admin, "crdbvec")

        wait_until(all_are_killed)
        assert database.fetch_one(probe("SELECT 2")) == (2,)
        assert database.retries == 1


def test_a_setting_for_one_statement_leaves_the_sessions_own_behind(url: str) -> None:
    shown = probe("SELECT current_setting('statement_timeout')")
    with Database(url, max_connections=1, statement_timeout=5) as database:
        usual = database.fetch(shown)
        assert database.fetch(shown, settings={"statement_timeout": "0s"}) != usual
        assert database.fetch(shown) == usual


def test_a_serialization_failure_is_retried(postgres: Server) -> None:
    with postgres.new_database() as url, psycopg.connect(url) as other:
        other.execute("CREATE TABLE t (id INT8 PRIMARY KEY, n INT8)")
        other.execute("INSERT INTO t VALUES (1, 0)")
        name = sql.Identifier(other.info.dbname)
        other.execute(sql.SQL("ALTER DATABASE {} SET default_transaction_isolation = 'serializable'").format(name))
        other.commit()
        with Database(url) as database:
            other.execute("UPDATE t SET n = n + 1")
            touched = _in_thread(lambda: database.execute(probe("UPDATE t SET n = n + 10 WHERE id = 1")))
            wait_until(lambda: _is_waiting(url))
            other.commit()
            assert touched() == 1
            assert database.retries == 1
            assert database.fetch_one(probe("SELECT n FROM t")) == (11,)


def test_a_deadlock_is_retried(postgres: Server) -> None:
    with postgres.new_database() as url, psycopg.connect(url) as other:
        other.execute("CREATE TABLE t (id INT8 PRIMARY KEY, n INT8)")
        other.execute("INSERT INTO t VALUES (1, 0), (2, 0)")
        other.commit()
        other.execute("SET deadlock_timeout = '1min'")
        with Database(url) as database:
            other.execute("UPDATE t SET n = 5 WHERE id = 2")
            touched = _in_thread(lambda: database.execute(probe("UPDATE t SET n = n + 1")))
            wait_until(lambda: _is_waiting(url))
            other.execute("UPDATE t SET n = 5 WHERE id = 1")
            other.commit()
            assert touched() == 2
            assert database.retries == 1
            assert database.fetch(probe("SELECT n FROM t ORDER BY id")) == [(6,), (6,)]


def test_a_refusal_is_not_retried_and_its_sentence_holds_no_row(database: Database) -> None:
    database.execute(probe("CREATE TABLE t (id INT8 PRIMARY KEY, note TEXT CHECK (note <> 'geheim'))"))
    with pytest.raises(DatabaseError, match=r"while running the statement probe: .* \(SQLSTATE 23514\)\.$") as caught:
        database.execute(probe("INSERT INTO t VALUES (1, 'geheim')"))
    assert caught.value.sqlstate == "23514"
    assert "Failing row" not in str(caught.value)
    assert database.retries == 0


@pytest.mark.parametrize(
    "url", ["nonsense geheim", "postgresql://me:geheim@[host/db", "postgresql://me:geheim@host/db?nothing=1"]
)
def test_a_url_that_cannot_be_read_is_wrong_usage_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigurationError, match="The database URL cannot be read; it should look like") as caught:
        Database(url)
    assert "geheim" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("place", ["{folder}", "127.0.0.1&port=1"])
def test_a_server_that_is_down_is_one_sentence_without_password(tmp_path: Path, place: str) -> None:
    with pytest.raises(DatabaseUnavailable, match=r"could not be reached .* while connecting: ") as caught:
        Database(f"postgresql://me:geheim@/db?host={place.format(folder=tmp_path)}")
    assert "geheim" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_an_at_sign_in_a_password_does_not_show_the_rest_of_it() -> None:
    # libpq ends the password at the first one, and takes what follows for the server's name.
    with pytest.raises(ConfigurationError, match=r"has an @ in its user name or password; write %40 for it\.$"):
        Database("postgresql://me:halb@geheim@127.0.0.1:1/db")


def test_a_slash_in_a_password_is_told_as_such() -> None:
    # libpq ends the server's name at the first one, and takes the rest of the password for the database's.
    with pytest.raises(
        ConfigurationError, match=r"has a / in its user name or password; write %2F for it\.$"
    ) as caught:
        Database("postgresql://me:1/geheim@127.0.0.1:1/db")
    assert "geheim" not in str(caught.value)


def test_a_missing_database_is_named(server: Server) -> None:
    with pytest.raises(DatabaseError, match='database "not_there" does not exist'):
        Database(server.url_of("not_there"))


def test_a_server_that_goes_away_is_told_and_taken_up_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "CONNECT_TIMEOUT_SECONDS", 1)
    server = EmbeddedServer(folder / "postgres")
    with Database(server.url(), attempts=3) as database, Database(server.url(), attempts=1) as hasty:
        server.stop()
        for each, retries in ((hasty, 0), (database, 2)):
            with pytest.raises(DatabaseUnavailable, match="Nothing is lost: run the same command again"):
                each.fetch_one(probe("SELECT 1"))
            assert each.retries == retries
        server = EmbeddedServer(folder / "postgres")
        try:
            assert database.fetch_one(probe("SELECT 1")) == (1,)
        finally:
            server.stop()


def _in_thread(work: Callable[[], int]) -> Callable[[], int]:
    """Starts work; the function returned waits for its result."""
    results: list[int] = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()

    def result() -> int:
        thread.join(_LONGEST_SECONDS)
        return results[0]

    return result


def _is_waiting(url: str) -> bool:
    """Whether a statement of the product waits for a lock."""
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE application_name = 'crdbvec' AND datname = current_database() AND wait_event_type = 'Lock'"
        ).fetchone()
    return found == (1,)
