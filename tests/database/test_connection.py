"""The connection: detects the dialect, retries retryable errors, shows no password, closes all sessions."""

import threading
import traceback
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from crdbvec_pipelines.database import connector
from crdbvec_pipelines.database.connection import Database, Executed
from crdbvec_pipelines.database.errors import ConnectionRejected, DatabaseError, DatabaseUnavailable
from crdbvec_pipelines.embedded import EmbeddedServer
from crdbvec_pipelines.errors import ConfigurationError
from tests.support.servers import Server
from tests.support.statements import create_failing_function, probe
from tests.support.waiting import wait_until

_MAX_WAIT_SECONDS = 20


def sessions(connection: psycopg.Connection, name: str) -> list[int]:
    """Return the process ids of the PostgreSQL sessions with an application name."""
    found = connection.execute(
        "SELECT pid FROM pg_stat_activity WHERE application_name = %s AND datname = current_database()", (name,)
    )
    return [pid for (pid,) in found]


def test_dialect_is_detected(request: pytest.FixtureRequest, database: Database) -> None:
    assert database.dialect.name == request.node.callspec.params["server"]


def test_server_shows_the_application_name(url: str, database: Database) -> None:
    name = probe("SELECT current_setting('application_name')")
    assert database.fetch_one(name) == ("crdbvec",)
    with Database(url, application_name="crdbvec follow") as other:
        assert other.fetch_one(name) == ("crdbvec follow",)


def test_text_of_timestamps_does_not_depend_on_the_server(url: str, connection: psycopg.Connection) -> None:
    name = sql.Identifier(connection.info.dbname)
    connection.execute(sql.SQL("ALTER DATABASE {} SET timezone = 'Asia/Tokyo'").format(name))
    connection.execute(sql.SQL("ALTER DATABASE {} SET datestyle = 'ISO, DMY'").format(name))
    with Database(url) as database:
        stamp = probe("SELECT (TIMESTAMPTZ '2026-02-01 00:30:00+09')::TEXT")
        assert database.fetch_one(stamp) == ("2026-01-31 15:30:00+00",)


def test_each_statement_is_committed_at_once(database: Database, connection: psycopg.Connection) -> None:
    database.execute(probe("CREATE TABLE public.t (id INT8 PRIMARY KEY)"))
    assert database.execute_many(probe("INSERT INTO public.t VALUES (%(id)s)"), [{"id": 1}, {"id": 2}]) == Executed(
        2, 0
    )
    assert connection.execute("SELECT count(*) FROM t").fetchone() == (2,)


def test_percent_signs_outside_of_placeholders_are_sent_unchanged(database: Database) -> None:
    assert database.fetch_one(probe("SELECT '100%', 7 % 4, '%s'")) == ("100%", 3, "%s")
    assert database.fetch_one(probe("SELECT '100%', %(value)s::TEXT"), {"value": "%(x)s"}) == ("100%", "%(x)s")


def test_close_ends_all_sessions(postgres: Server) -> None:
    with postgres.new_database() as url, psycopg.connect(url, autocommit=True) as admin:
        with Database(url, application_name="closing") as database:
            database.fetch(probe("SELECT 1"))
            assert sessions(admin, "closing")
        wait_until(lambda: not sessions(admin, "closing"))


def test_terminated_connection_is_replaced_and_the_statement_retried(postgres: Server) -> None:
    with postgres.new_database() as url, psycopg.connect(url, autocommit=True) as admin, Database(url) as database:
        assert database.fetch_one(probe("SELECT 1")) == (1,)

        def all_are_terminated() -> bool:
            # The pool may open another session at the same time.
            for pid in sessions(admin, "crdbvec"):
                admin.execute("SELECT pg_terminate_backend(%s)", (pid,))
            return not sessions(admin, "crdbvec")

        wait_until(all_are_terminated)
        assert database.fetch_one(probe("SELECT 2")) == (2,)
        # The connection is checked when it is taken from the pool, so the statement is sent once.
        assert database.retries == 0


def test_connection_that_the_server_closed_while_it_was_idle_is_replaced(postgres: Server) -> None:
    with postgres.new_database() as url, psycopg.connect(url, autocommit=True) as admin:
        name = sql.Identifier(admin.info.dbname)
        admin.execute(sql.SQL("ALTER DATABASE {} SET idle_session_timeout = '50ms'").format(name))
        with Database(url, max_connections=1) as database:
            for _ in range(3):
                assert database.execute_many(probe("SELECT 1"), [{}, {}]).rows == 2
                (used,) = database.fetch_one(probe("SELECT pg_backend_pid()"))
                wait_until(lambda used=used: used not in sessions(admin, "crdbvec"))  # type: ignore[misc]
            assert database.retries == 0


def test_settings_of_one_statement_are_reset_to_those_of_the_session(url: str) -> None:
    shown = probe("SELECT current_setting('statement_timeout')")
    with Database(url, max_connections=1, statement_timeout=5) as database:
        before = database.fetch(shown)
        assert database.fetch(shown, settings={"statement_timeout": "0s"}) != before
        assert database.fetch(shown) == before


@pytest.mark.parametrize("fails", [False, True])
def test_settings_of_a_group_are_reset_to_those_of_the_session(url: str, fails: bool) -> None:
    with Database(url, max_connections=1, statement_timeout=7) as database:
        shown = probe("SELECT current_setting('statement_timeout'), current_setting('lock_timeout')")
        before = database.fetch_one(shown)
        changed = {"statement_timeout": "1234ms", "lock_timeout": "99ms"}
        if fails:
            with pytest.raises(DatabaseError, match="SQLSTATE 22012"):
                database.execute_many(probe("SELECT 1 / %(divisor)s::INT8"), [{"divisor": 1}, {"divisor": 0}], changed)
        else:
            (during, *_) = database.fetch_each(shown, [{}, {}], changed)
            assert during != before
        assert database.fetch_one(shown) == before


def test_fetch_each_returns_the_row_of_each_set_of_parameters(database: Database) -> None:
    doubled = probe("SELECT 2 * %(value)s::INT8")
    assert database.fetch_each(doubled, [{"value": value} for value in range(5)]) == [(2 * n,) for n in range(5)]


def test_group_is_one_transaction(database: Database, connection: psycopg.Connection) -> None:
    database.execute(probe("CREATE TABLE public.t (id INT8 PRIMARY KEY)"))
    with pytest.raises(DatabaseError, match="SQLSTATE 23505"):
        database.execute_many(
            probe("INSERT INTO public.t VALUES (%(id)s)"), [{"id": 1}, {"id": 1}], database.dialect.write_lock_settings
        )
    assert connection.execute("SELECT count(*) FROM t").fetchone() == (0,)


def test_serialization_failure_is_retried(postgres: Server) -> None:
    with postgres.new_database() as url, psycopg.connect(url) as other:
        other.execute("CREATE TABLE t (id INT8 PRIMARY KEY, n INT8)")
        other.execute("INSERT INTO t VALUES (1, 0)")
        name = sql.Identifier(other.info.dbname)
        other.execute(sql.SQL("ALTER DATABASE {} SET default_transaction_isolation = 'serializable'").format(name))
        other.commit()
        with Database(url) as database:
            other.execute("UPDATE t SET n = n + 1")
            updated = _in_thread(lambda: database.execute(probe("UPDATE public.t SET n = n + 10 WHERE id = 1")))
            wait_until(lambda: _is_waiting(url))
            other.commit()
            assert updated() == 1
            assert database.retries == 1
            assert database.fetch_one(probe("SELECT n FROM public.t")) == (11,)


def test_deadlock_is_retried(postgres: Server) -> None:
    with postgres.new_database() as url, psycopg.connect(url) as other:
        other.execute("CREATE TABLE t (id INT8 PRIMARY KEY, n INT8)")
        other.execute("INSERT INTO t VALUES (1, 0), (2, 0)")
        other.commit()
        other.execute("SET deadlock_timeout = '1min'")
        with Database(url) as database:
            other.execute("UPDATE t SET n = 5 WHERE id = 2")
            updated = _in_thread(lambda: database.execute(probe("UPDATE public.t SET n = n + 1")))
            wait_until(lambda: _is_waiting(url))
            other.execute("UPDATE t SET n = 5 WHERE id = 1")
            other.commit()
            assert updated() == 2
            assert database.retries == 1
            assert database.fetch(probe("SELECT n FROM public.t ORDER BY id")) == [(6,), (6,)]


def test_execute_many_returns_only_its_own_retries(postgres: Server) -> None:
    with postgres.new_database() as url, psycopg.connect(url, autocommit=True) as admin, Database(url) as database:
        create_failing_function(admin)
        failing = probe("SELECT public.fail_every_second_time()")
        database.fetch(failing)
        assert database.execute_many(failing, [{}]) == Executed(1, 1)
        assert database.execute_many(probe("SELECT 1"), [{}]) == Executed(1, 0)
        assert database.retries == 2


def test_rejected_statement_is_not_retried_and_its_message_contains_no_row(database: Database) -> None:
    database.execute(probe("CREATE TABLE public.t (id INT8 PRIMARY KEY, note TEXT CHECK (note <> 'geheim'))"))
    with pytest.raises(DatabaseError, match=r"while running the statement probe: .* \(SQLSTATE 23514\)\.$") as caught:
        database.execute(probe("INSERT INTO public.t VALUES (1, 'geheim')"))
    assert caught.value.sqlstate == "23514"
    assert "Failing row" not in str(caught.value)
    assert database.retries == 0


@pytest.mark.parametrize("state", ["P0001", "40001", "42501", "23514"])
def test_message_that_a_function_raises_is_not_shown(url: str, connection: psycopg.Connection, state: str) -> None:
    """It can quote a row, whatever its SQLSTATE; so the error has no cause that does either."""
    connection.execute(
        "CREATE FUNCTION quote() RETURNS INT8 LANGUAGE plpgsql AS "
        f"$$BEGIN RAISE EXCEPTION 'not geheim' USING ERRCODE = '{state}', DETAIL = 'geheim'; END$$".encode()
    )
    with Database(url, attempts=1) as database, pytest.raises(DatabaseError, match=f"SQLSTATE {state}") as caught:
        database.fetch(probe("SELECT public.quote()"))
    assert "geheim" not in "".join(traceback.format_exception(caught.value))


def test_value_that_a_data_exception_quotes_is_not_shown(database: Database) -> None:
    parameters = {"value": "geheim"}
    with pytest.raises(DatabaseError, match="SQLSTATE 22P02") as caught:
        database.fetch(probe("SELECT %(value)s::text::int8"), parameters)
    assert "geheim" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "url", ["nonsense geheim", "postgresql://me:geheim@[host/db", "postgresql://me:geheim@host/db?nothing=1"]
)
def test_invalid_url_is_a_configuration_error_that_does_not_quote_it(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"The database URL is not valid\. Write it as") as caught:
        Database(url)
    assert "geheim" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("place", ["{folder}", "127.0.0.1&port=1"])
def test_unreachable_server_is_one_line_without_password(tmp_path: Path, place: str) -> None:
    with pytest.raises(DatabaseUnavailable, match=r"could not be reached, .* while connecting: ") as caught:
        Database(f"postgresql://me:geheim@/db?host={place.format(folder=tmp_path)}")
    assert "geheim" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_error_for_an_at_sign_in_a_password_does_not_quote_the_password() -> None:
    # libpq ends the password at the first @, and takes the rest for the host.
    with pytest.raises(ConfigurationError, match=r"has an @ in its user name or password\. Write it as %40\.$"):
        Database("postgresql://me:halb@geheim@127.0.0.1:1/db")


def test_error_for_a_slash_in_a_password_does_not_quote_the_password() -> None:
    # libpq ends the host at the first /, and takes the rest of the password for the database.
    with pytest.raises(
        ConfigurationError, match=r"has a / in its user name or password\. Write it as %2F\.$"
    ) as caught:
        Database("postgresql://me:1/geheim@127.0.0.1:1/db")
    assert "geheim" not in str(caught.value)


def test_error_names_a_missing_database(server: Server) -> None:
    with pytest.raises(ConnectionRejected, match='database "not_there" does not exist'):
        Database(server.url_of("not_there"))


def test_error_names_a_missing_role_and_a_host_that_is_not_known(url: str) -> None:
    with pytest.raises(ConnectionRejected, match='role "not_there" does not exist'):
        Database(psycopg.conninfo.make_conninfo(url, user="not_there"))
    with pytest.raises(ConnectionRejected, match=r"not-there\.invalid"):
        Database("postgresql://me:geheim@not-there.invalid/db")


def test_unavailable_server_is_reported_and_used_again_after_its_restart(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connector, "CONNECT_TIMEOUT_SECONDS", 1)
    server = EmbeddedServer(folder / "postgres")
    with Database(server.url(), attempts=3) as database, Database(server.url(), attempts=1) as single_attempt:
        server.stop()
        for each, retries in ((single_attempt, 0), (database, 2)):
            with pytest.raises(DatabaseUnavailable, match=r"No work is lost\. Run the same command again"):
                each.fetch_one(probe("SELECT 1"))
            assert each.retries == retries
        server = EmbeddedServer(folder / "postgres")
        try:
            # The pool connects again at growing intervals, so the first calls may still fail.
            wait_until(lambda: _is_available(database))
        finally:
            server.stop()


def _is_available(database: Database) -> bool:
    try:
        return database.fetch_one(probe("SELECT 1")) == (1,)
    except DatabaseUnavailable:
        return False


def _in_thread(work: Callable[[], int]) -> Callable[[], int]:
    """Start work in a thread, and return a function that waits for its result."""
    results: list[int] = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()

    def result() -> int:
        thread.join(_MAX_WAIT_SECONDS)
        return results[0]

    return result


def _is_waiting(url: str) -> bool:
    """Return whether a statement of the product waits for a lock."""
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE application_name = 'crdbvec' AND datname = current_database() AND wait_event_type = 'Lock'"
        ).fetchone()
    return found == (1,)
