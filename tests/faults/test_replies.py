"""A reply that does not come: the connection is closed and the statement is sent again, unless it is being executed."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from crdbvec_pipelines.database import connector
from crdbvec_pipelines.database.connection import Database, Executed
from crdbvec_pipelines.database.dialects import PostgresDialect
from crdbvec_pipelines.database.errors import DatabaseUnavailable
from crdbvec_pipelines.database.replies import keepalives
from crdbvec_pipelines.database.reply_watch import ReplyWatch
from tests.support.proxy import BOTH, DIRECTIONS, Direction, Proxy
from tests.support.statements import probe
from tests.support.waiting import wait_until

# A busy machine may not run the process of a session for some tenths of a second.
TIMEOUT_SECONDS = 0.5

Ways = list[tuple[str, Callable[[Database], object], object]]
WAYS: Ways = [
    ("one", lambda database: database.execute(probe("UPDATE public.t SET n = 1 WHERE id = 1")), 1),
    (
        "group",
        lambda database: database.execute_many(
            probe("UPDATE public.t SET n = 1 WHERE id = %(id)s"), [{"id": 1}, {"id": 2}], {"lock_timeout": "100ms"}
        ),
        Executed(2, 1),
    ),
    ("query", lambda database: database.fetch(probe("SELECT id FROM public.t ORDER BY id")), [(1,), (2,)]),
]


@pytest.fixture(autouse=True)
def _table(direct: psycopg.Connection) -> None:
    direct.execute("CREATE TABLE t (id INT8 PRIMARY KEY, n INT8)")
    direct.execute("INSERT INTO t VALUES (1, 0), (2, 0)")


@pytest.mark.parametrize("directions", DIRECTIONS, ids="+".join)
@pytest.mark.parametrize(("send", "expected"), [way[1:] for way in WAYS], ids=[way[0] for way in WAYS])
def test_statement_whose_reply_does_not_come_is_sent_again_on_another_connection(
    proxy: Proxy, directions: tuple[Direction, ...], send: Callable[[Database], object], expected: object
) -> None:
    with Database(proxy.url, max_connections=1, reply_timeout=TIMEOUT_SECONDS) as database:
        database.fetch(probe("SELECT 1"))
        # The proxy may not have ended the session of the inspection yet, which the database has closed.
        wait_until(lambda: proxy.sessions == 1)
        assert proxy.swallow(*directions) == 1
        assert (send(database), database.retries) == (expected, 1)


@pytest.mark.parametrize("is_group", [False, True], ids=["one", "group"])
def test_statement_that_the_server_executes_is_waited_for(proxy: Proxy, is_group: bool) -> None:
    long = probe("SELECT pg_sleep(2.5)")
    with Database(proxy.url, max_connections=1, reply_timeout=TIMEOUT_SECONDS) as database:
        database.fetch(probe("SELECT 1"))
        assert (database.fetch_each(long, [{}]) if is_group else database.fetch(long)) == [("",)]
        assert database.retries == 0


def test_reply_on_its_way_while_the_server_is_asked_is_received(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server has executed the statement, so that it does not execute it any more, and its reply arrives late."""
    asked: list[float] = []
    was_asked = threading.Event()

    def has_stalled(self: ReplyWatch, connection: psycopg.Connection, waited_seconds: float) -> bool:
        asked.append(waited_seconds)
        was_asked.set()
        return True

    monkeypatch.setattr(ReplyWatch, "has_stalled", has_stalled)
    with Database(proxy.url, max_connections=1, reply_timeout=TIMEOUT_SECONDS) as database:
        database.fetch(probe("SELECT 1"))
        with ThreadPoolExecutor(1) as threads:
            with proxy.stalled("to_client"):
                reply = threads.submit(database.fetch, probe("SELECT 2"))
                assert was_asked.wait(30)
            assert (reply.result(), database.retries, len(asked)) == ([(2,)], 0, 1)


def test_statement_is_waited_for_while_the_server_has_no_free_connection(
    proxy: Proxy, direct: psycopg.Connection
) -> None:
    direct.execute("CREATE ROLE few LOGIN CONNECTION LIMIT 1")
    direct.execute("GRANT SELECT ON t TO few")
    try:
        url = psycopg.conninfo.make_conninfo(proxy.url, user="few")
        with Database(url, max_connections=1, reply_timeout=TIMEOUT_SECONDS) as database:
            assert database.fetch(probe("SELECT pg_sleep(1.5)")) == [("",)]
            assert database.retries == 0
    finally:
        direct.execute("DROP OWNED BY few")
        direct.execute("DROP ROLE few")


def test_reply_that_arrives_in_parts_is_read_to_its_end(proxy: Proxy) -> None:
    proxy.delay_seconds = TIMEOUT_SECONDS / 6
    with Database(proxy.url, max_connections=1, reply_timeout=TIMEOUT_SECONDS) as database:
        rows = database.fetch(probe("SELECT repeat('x', 100000) FROM generate_series(1, 5)"))
        assert (len(rows), database.retries) == (5, 0)


def test_group_is_sent_again_if_the_server_cannot_be_asked(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that announces no processes, as CockroachDB, or a connection pooler in between."""
    monkeypatch.setattr(PostgresDialect, "announces_backend_pid", False)
    increment = probe("UPDATE public.t SET n = 7 WHERE id = %(id)s")
    with Database(proxy.url, max_connections=1, reply_timeout=0.1) as database:
        database.fetch(probe("SELECT 1"))
        proxy.swallow(*BOTH)
        assert database.execute_many(increment, [{"id": 1}, {"id": 2}]) == Executed(2, 1)
        # The time of other statements is not known.
        assert database.fetch(probe("SELECT pg_sleep(1)")) == [("",)]
        assert database.retries == 1


def test_statement_with_a_timeout_is_sent_again_after_it_if_the_server_cannot_be_asked(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PostgresDialect, "announces_backend_pid", False)
    with Database(proxy.url, max_connections=1, reply_timeout=0.2, statement_timeout=0.5) as database:
        database.fetch(probe("SELECT 1"))
        proxy.swallow("to_client")
        assert database.fetch(probe("SELECT 2")) == [(2,)]
        assert database.retries == 1


@pytest.mark.parametrize("directions", DIRECTIONS, ids="+".join)
def test_connecting_ends_if_nothing_is_answered(
    proxy: Proxy, directions: tuple[Direction, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connector, "CONNECT_TIMEOUT_SECONDS", 1)
    with proxy.stalled(*directions), pytest.raises(DatabaseUnavailable, match="while connecting"):
        Database(proxy.url)


def test_statement_ends_if_the_server_answers_nothing_any_more(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connector, "CONNECT_TIMEOUT_SECONDS", 1)
    with Database(proxy.url, max_connections=1, reply_timeout=TIMEOUT_SECONDS, attempts=2) as database:
        database.fetch(probe("SELECT 1"))
        with proxy.stalled(*BOTH), pytest.raises(DatabaseUnavailable, match=r"No work is lost"):
            database.fetch(probe("SELECT 2"))


def test_connection_that_stalls_before_its_settings_are_applied_is_replaced(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    swallowed: list[int] = []
    connect = psycopg.Connection.connect.__func__  # type: ignore[attr-defined]

    def connect_and_swallow(kind: type[psycopg.Connection], /, *arguments: object, **options: object) -> object:
        connection = connect(kind, *arguments, **options)
        # The first one is that of the constructor, the second one that of the pool.
        swallowed.append(proxy.swallow(*BOTH) if len(swallowed) == 1 else 0)
        return connection

    monkeypatch.setattr(psycopg.Connection, "connect", classmethod(connect_and_swallow))
    with Database(proxy.url, max_connections=1, reply_timeout=TIMEOUT_SECONDS) as database:
        assert database.fetch(probe("SELECT 1")) == [(1,)]
    assert swallowed[1] > 0


def test_a_host_that_disappears_is_noticed_by_keepalives_unless_the_url_sets_them(direct_url: str) -> None:
    assert keepalives(direct_url).keys() == {
        "keepalives_idle",
        "keepalives_interval",
        "keepalives_count",
        "tcp_user_timeout",
    }
    assert "keepalives_idle" not in keepalives("postgresql://me@host/db?keepalives_idle=5")


def test_connection_that_is_lost_at_once_is_opened_again(proxy: Proxy) -> None:
    proxy.truncate_next_answer()
    with Database(proxy.url) as database:
        assert database.fetch(probe("SELECT 1")) == [(1,)]
    assert proxy.answers_truncated == 1
