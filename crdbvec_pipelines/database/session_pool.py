"""A pool of sessions of the server, in which work is run: retryable errors are retried, and the others translated."""

import logging
import selectors
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import psycopg
from psycopg_pool import ConnectionPool, PoolTimeout
from tenacity import RetryCallState, Retrying

from crdbvec_pipelines.config import QualityOfService
from crdbvec_pipelines.database.connector import APPLICATION_NAME, Connector
from crdbvec_pipelines.database.errors import DatabaseUnavailable, is_lost_connection, is_timed_out, translate
from crdbvec_pipelines.database.permits import Permits
from crdbvec_pipelines.database.replies import watched
from crdbvec_pipelines.database.reply_watch import ReplyWatch
from crdbvec_pipelines.database.retry import retrying
from crdbvec_pipelines.database.server import Server
from crdbvec_pipelines.database.session import SESSION_SETTINGS, read_backend_pid
from crdbvec_pipelines.database.session_settings import SessionSettings
from crdbvec_pipelines.database.statement import Statement
from crdbvec_pipelines.database.vector_parameters import register_vector_dumper

logger = logging.getLogger(__name__)

T = TypeVar("T")

# The warnings of psycopg quote errors of the server with their DETAIL, or are about connections that are replaced here.
logging.getLogger("psycopg").setLevel(logging.ERROR)

# CockroachDB Cloud closes connections after 30 minutes; a shorter lifetime avoids an error in the middle of the work.
_MAX_LIFETIME_SECONDS = 1_200
_MAX_IDLE_SECONDS = 600.0
# A limited pool closes a connection that it has too many of soon, because another process waits for it.
_MAX_IDLE_SECONDS_OF_LIMITED = 5.0


class SessionPool:
    """The sessions of one database with equal settings.

    Args:
        connector: Opens connections.
        server: What is known of the server.
        max_connections: The maximum number of connections.
        statement_timeout: Seconds after which the server cancels a statement; None keeps the server's setting.
        attempts: The maximum number of attempts of a statement.
        reply_timeout: Seconds without a reply after which a connection counts as lost, unless the server is still
            executing the statement.
        quality_of_service: How the server orders the work of its sessions next to that of others, if it can.
        is_limited: Whether at most `max_connections` statements are in flight, which `limit` changes.

    Attributes:
        settings: The settings of the sessions.
        gives_way: Whether other sessions take precedence, so that a statement that times out is tried again later.
        retries: How often any thread has sent a statement again so far.
    """

    def __init__(
        self,
        connector: Connector,
        server: Server,
        *,
        max_connections: int,
        statement_timeout: float | None,
        attempts: int,
        reply_timeout: float,
        quality_of_service: QualityOfService,
        is_limited: bool,
    ) -> None:
        dialect = server.dialect
        timeout = {} if statement_timeout is None else {"statement_timeout": f"{statement_timeout * 1000:.0f}ms"}
        quality = dialect.quality_of_service_settings(quality_of_service)
        self.settings = SessionSettings({**SESSION_SETTINGS, **dialect.text_settings, **timeout, **quality})
        self.gives_way = bool(quality)
        self.retries = 0
        self._retries_lock = threading.Lock()
        self._attempts = attempts
        self._announces_backend_pid = dialect.announces_backend_pid
        self._permits = Permits(max_connections if is_limited else None)
        self._timeout_seconds = 3 * connector.timeout_seconds
        self._watch = ReplyWatch(connector, dialect, reply_timeout, statement_timeout)
        self._pool = ConnectionPool(
            connector.url,
            connection_class=watched(dialect.connection_class, reply_timeout, self._watch.has_stalled),
            kwargs=dict(connector.arguments),
            min_size=1,
            max_size=max_connections,
            max_lifetime=_MAX_LIFETIME_SECONDS,
            max_idle=_MAX_IDLE_SECONDS_OF_LIMITED if is_limited else _MAX_IDLE_SECONDS,
            check=_check_idle,
            configure=self._configure,
            timeout=self._timeout_seconds,
            name=APPLICATION_NAME,
            open=True,
        )

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()

    def limit(self, count: int) -> None:
        """Change the number of connections of a limited pool. Returns when no more statements are in flight."""
        self._pool.resize(1, count)
        self._permits.set(count)

    def renew(self) -> None:
        """Replace all connections."""
        self._pool.drain()

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection]:
        """Use a connection in the block, without a retry."""
        with self._pool.connection() as connection:
            yield connection

    def run(self, work: Callable[[psycopg.Connection], T], statement: Statement, attempts: Retrying | None = None) -> T:
        """Run work in a session, and return what it returns.

        Args:
            work: Sends statements.
            statement: The one that messages name.
            attempts: How often, and after which errors, the work is run again; None as `retrying` returns it.

        Raises:
            DatabaseUnavailable: No connection could be opened, every attempt ended in a retryable error, or the server
                canceled a statement in a session that gives way.
            DatabaseError: The server rejected a statement.
        """

        def attempt() -> T:
            with self._permits, self._pool.connection() as connection:
                return work(connection)

        action = f"running the statement {statement.name}"
        try:
            return (attempts or self.retrying())(attempt)
        except PoolTimeout:
            seconds = self._attempts * self._timeout_seconds
            raise DatabaseUnavailable(
                f"No connection to the database could be opened within {seconds} s while {action}. "
                "No work is lost. Run the same command again when the database is available."
            ) from None
        except psycopg.Error as error:
            if self.gives_way and is_timed_out(error):
                raise DatabaseUnavailable(
                    f"The server is busy: it canceled a statement after its time-out while {action}, because other "
                    "sessions take precedence (quality_of_service). No work is lost. Run the same command again later, "
                    "or raise statement_timeout for the role.",
                    error.sqlstate,
                ) from None
            # Without the error as cause, because tracebacks and logs show its DETAIL, which can quote a row.
            raise translate(error, action) from None

    def retrying(self, *, with_timeouts: bool = True) -> Retrying:
        """Return the usual attempts.

        Args:
            with_timeouts: Whether work that timed out in a session that gives way is run again, too.
        """
        return retrying(self._attempts, self._before_retry, with_timeouts=self.gives_way and with_timeouts)

    def once(self) -> Retrying:
        """Return a single attempt."""
        return retrying(1, self._before_retry, with_timeouts=False)

    def _configure(self, connection: psycopg.Connection) -> None:
        """Apply the settings to a new connection in one round trip, and register vectors as parameters."""
        with connection.pipeline():
            self.settings.apply(connection)
            process = connection.execute(read_backend_pid().query) if self._announces_backend_pid else None
        pid = process.fetchone() if process is not None else None
        self._watch.add(connection, pid[0] if pid else None)
        register_vector_dumper(connection)

    def _before_retry(self, state: RetryCallState) -> None:
        with self._retries_lock:
            self.retries += 1
        error = state.outcome.exception() if state.outcome else None
        logger.info("retry %d after %s", state.attempt_number, getattr(error, "sqlstate", None) or "a lost connection")
        if error is not None and is_lost_connection(error):
            # Usually all connections are lost, after a restart of the server for example. They are not checked, because
            # a reply to that may not come either.
            self._pool.drain()


def _check_idle(connection: psycopg.Connection) -> None:
    """Raise an error if the server has closed an idle connection, for example by `idle_session_timeout`.

    A server that closes a connection sends its reason, and so the connection has something to read. One that has not
    is used without a round trip.
    """
    with selectors.DefaultSelector() as selector:
        selector.register(connection.fileno(), selectors.EVENT_READ)
        if selector.select(timeout=0):
            ConnectionPool.check_connection(connection)
