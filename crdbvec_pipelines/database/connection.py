"""A connection pool that detects the server's dialect, retries retryable errors and translates the others.

Every statement runs in autocommit, so no transaction is open while a model encodes.
"""

import functools
import logging
import selectors
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from ipaddress import ip_address
from typing import Any, NamedTuple, Self, TypeVar

import psycopg
from psycopg_pool import ConnectionPool, PoolTimeout
from tenacity import RetryCallState, Retrying

from crdbvec_pipelines.config import QualityOfService
from crdbvec_pipelines.database.connector import Connector
from crdbvec_pipelines.database.dialects import Dialect
from crdbvec_pipelines.database.dialects.vector_support import Settings
from crdbvec_pipelines.database.errors import (
    DatabaseError,
    DatabaseUnavailable,
    is_lost_connection,
    is_not_readable_in_past,
    is_timed_out,
    translate,
)
from crdbvec_pipelines.database.permits import Permits
from crdbvec_pipelines.database.replies import DEFAULT_REPLY_TIMEOUT_SECONDS, watched
from crdbvec_pipelines.database.reply_watch import ReplyWatch
from crdbvec_pipelines.database.retry import MAX_ATTEMPTS, retrying
from crdbvec_pipelines.database.server import Server, inspect_server, text_before_encoding
from crdbvec_pipelines.database.session import (
    SESSION_SETTINGS,
    find_vector_schema,
    read_backend_pid,
    reset_session,
    role_search_path,
    set_session,
)
from crdbvec_pipelines.database.statement import Statement
from crdbvec_pipelines.database.url import libpq_url
from crdbvec_pipelines.database.vector_parameters import register_vector_dumper

logger = logging.getLogger(__name__)

T = TypeVar("T")
Parameters = Mapping[str, object]
Row = tuple[Any, ...]

# The warnings of psycopg quote errors of the server with their DETAIL, or are about connections that are replaced here.
logging.getLogger("psycopg").setLevel(logging.ERROR)

APPLICATION_NAME = "crdbvec"
# That of libpq.
_DEFAULT_SSL_MODE = "prefer"
# CockroachDB Cloud closes connections after 30 minutes; a shorter lifetime avoids an error in the middle of the work.
MAX_CONNECTION_LIFETIME_SECONDS = 1_200
_MAX_IDLE_SECONDS = 600.0
# A limited pool closes a connection that it has too many of soon, because another process waits for it.
_MAX_IDLE_SECONDS_OF_LIMITED = 5.0


class Executed(NamedTuple):
    """The result of a group of statements.

    Attributes:
        rows: The number of affected rows.
        retries: How often the group was sent again.
    """

    rows: int
    retries: int


class Transport(NamedTuple):
    """How a connection reaches the server.

    Attributes:
        is_local: Whether it does not leave this machine.
        is_encrypted: Whether it uses TLS.
        sslmode: The setting that decides what is verified.
    """

    is_local: bool
    is_encrypted: bool
    sslmode: str


class Database:
    """An open connection pool to one database.

    Args:
        url: A URL or connection string as `url.libpq_url` accepts it, also for a Unix socket
            (`postgresql://user@/name?host=/folder`).
        application_name: The name that the server's own views show.
        max_connections: The maximum number of connections.
        statement_timeout: Seconds after which the server cancels a statement; None keeps the server's setting.
        attempts: The maximum number of attempts of a statement. Each waits up to half a minute for a connection; the
            pool tries to connect to an unavailable server at growing intervals.
        reply_timeout: Seconds without a reply after which a connection counts as lost, unless the server is still
            executing the statement.
        quality_of_service: How the server orders the work of its sessions next to that of others, if it can.
        server: What is known of the server; None inspects it.
        is_limited: Whether at most `max_connections` statements are in flight, which `limit_connections` changes.

    Attributes:
        dialect: The dialect of the server.
        name: The name of the database.
        has_pooler: Whether a connection pooler is in between.
        retries: How often any thread has sent a statement again so far.
        role_path: The session settings with the search path of the role, which functions of a user's triggers may need.
        write_settings: The session settings of a guarded write: those, and a short lock timeout.
        gives_way: Whether other sessions take precedence, so that a statement that times out is tried again later.

    Raises:
        ConfigurationError: The URL is not valid.
        ConnectionRejected: The server rejects the connection, or its name or certificate is wrong.
        SharedSessions: A connection pooler shares the sessions of the server between its connections.
        DatabaseUnavailable: The server cannot be reached.
    """

    def __init__(
        self,
        url: str,
        *,
        application_name: str = APPLICATION_NAME,
        max_connections: int = 8,
        statement_timeout: float | None = None,
        attempts: int = MAX_ATTEMPTS,
        reply_timeout: float = DEFAULT_REPLY_TIMEOUT_SECONDS,
        quality_of_service: QualityOfService = "regular",
        server: Server | None = None,
        is_limited: bool = False,
    ) -> None:
        connector = Connector(libpq_url(url), application_name)
        self._server = server or inspect_server(connector)
        self._attempts = attempts
        self._open_with = functools.partial(
            type(self),
            url,
            application_name=application_name,
            max_connections=max_connections,
            statement_timeout=statement_timeout,
            attempts=attempts,
            reply_timeout=reply_timeout,
            server=self._server,
        )
        self._quality_of_service = quality_of_service
        self._others: dict[str, Database] = {}
        self._before_close: list[Callable[[], None]] = []
        self._permits = Permits(max_connections if is_limited else None)
        self._others_lock = threading.Lock()
        self._pool_timeout_seconds = 3 * connector.timeout_seconds
        timeout = {} if statement_timeout is None else {"statement_timeout": f"{statement_timeout * 1000:.0f}ms"}
        self.retries = 0
        self._retries_lock = threading.Lock()
        self.dialect: Dialect = self._server.dialect
        self.has_pooler: bool = self._server.has_pooler
        self.name: str = self._server.database
        self.server: str = self._server.description
        quality = self.dialect.quality_of_service_settings(quality_of_service)
        self.gives_way = bool(quality)
        self._session_settings: Settings = {**SESSION_SETTINGS, **self.dialect.text_settings, **timeout, **quality}
        self.role_path: Settings = {"search_path": role_search_path(self._server.role_path)}
        self.write_settings: Settings = {**self.dialect.write_lock_settings, **self.role_path}
        self._watch = ReplyWatch(connector, self.dialect, reply_timeout, statement_timeout)
        self._pool = ConnectionPool(
            connector.url,
            connection_class=watched(self.dialect.connection_class, reply_timeout, self._watch.has_stalled),
            kwargs=dict(connector.arguments),
            min_size=1,
            max_size=max_connections,
            max_lifetime=MAX_CONNECTION_LIFETIME_SECONDS,
            max_idle=_MAX_IDLE_SECONDS_OF_LIMITED if is_limited else _MAX_IDLE_SECONDS,
            check=_check_idle,
            configure=self._configure,
            timeout=self._pool_timeout_seconds,
            name=APPLICATION_NAME,
            open=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections, also those of another quality of service, and those of the limited databases."""
        for call in self._before_close:
            call()
        for other in self._others.values():
            other.close()
        self._pool.close()

    def with_quality_of_service(self, quality: QualityOfService) -> "Database":
        """Return the same database with sessions of a quality of service, which is closed together with this one.

        It has connections of its own, so that no statement needs another round trip. On a server without this setting
        it is this object.
        """
        settings = self.dialect.quality_of_service_settings
        if settings(quality) == settings(self._quality_of_service):
            return self
        with self._others_lock:
            if quality not in self._others:
                self._others[quality] = self._open_with(quality_of_service=quality)
            return self._others[quality]

    def with_connection_limit(self, name: str, count: int) -> "Database":
        """Return the same database with a limited number of connections, which is closed together with this one.

        Args:
            name: What it is for; `limited_for` finds it by this name.
            count: The number of connections, and of statements in flight.
        """
        with self._others_lock:
            limited = self._others[_limited_name(name)] = self._open_with(
                quality_of_service=self._quality_of_service, max_connections=count, is_limited=True
            )
            return limited

    def limited_for(self, name: str) -> "Database | None":
        """Return what `with_connection_limit` has returned for a name; None if it was not called for it."""
        return self._others.get(_limited_name(name))

    def limit_connections(self, count: int) -> None:
        """Change the number of connections of a limited database. Returns when no more statements are in flight."""
        self._pool.resize(1, count)
        self._permits.set(count)

    def call_before_close(self, call: Callable[[], None]) -> None:
        """Call a function before the connections are closed."""
        self._before_close.append(call)

    def renew_connections(self) -> None:
        """Replace all connections, because each keeps the plans of its statements, also of a replaced table."""
        self._pool.drain()

    def transport(self) -> Transport:
        """Return how the connections reach the server."""
        with self._pool.connection() as connection:
            info = connection.info
            # The name of a folder, in which the socket is, or an address; the host may be a name of this machine.
            is_local = info.host.startswith(("/", "@")) or ip_address(info.hostaddr).is_loopback
            mode = info.get_parameters().get("sslmode", _DEFAULT_SSL_MODE)
            return Transport(is_local, bool(connection.pgconn.ssl_in_use), mode)

    def read_vector_schema(self) -> str | None:
        """Return the schema of the VECTOR type, which the dialect then qualifies it with; None without the type."""
        if self.dialect.find_vector_schema is None:
            return self.dialect.vector_schema
        found = self.fetch(find_vector_schema(self.dialect))
        if not found:
            return None
        self.dialect.vector_schema = text_before_encoding(found[0][0])
        return self.dialect.vector_schema

    def fetch(
        self, statement: Statement, parameters: Parameters | None = None, settings: Settings | None = None
    ) -> list[Row]:
        """Return all rows of a query. A follower read that is not possible reads the present.

        Args:
            statement: The query.
            parameters: The values of its placeholders.
            settings: Session settings for this query only.

        Raises:
            DatabaseError: The server rejected the query, or could not be reached.
        """

        def run(connection: psycopg.Connection) -> list[Row]:
            with self._with_settings(connection, settings or {}):
                prepare = False if statement.needs_custom_plan else None
                return connection.execute(statement.query, parameters or {}, prepare=prepare).fetchall()

        try:
            return self._run(run, statement)
        except DatabaseError as error:
            if statement.present is None or not is_not_readable_in_past(error):
                raise
            logger.info("%s cannot be read in the past (SQLSTATE %s)", statement.name, error.sqlstate)
        return self.fetch(statement.present, parameters, settings)

    def fetch_one(self, statement: Statement, parameters: Parameters | None = None) -> Row:
        """Return the row of a query that always returns exactly one."""
        (row,) = self.fetch(statement, parameters)
        return row

    def execute(
        self, statement: Statement, parameters: Parameters | None = None, settings: Settings | None = None
    ) -> int:
        """Run one statement and return the number of affected rows.

        Args:
            statement: The statement.
            parameters: The values of its placeholders.
            settings: Session settings for this statement only.

        Raises:
            DatabaseError: The server rejected the statement, or could not be reached.
        """

        def run(connection: psycopg.Connection) -> int:
            with self._with_settings(connection, settings or {}):
                return connection.execute(statement.query, parameters or {}).rowcount

        return self._run(run, statement)

    def execute_once(self, statement: Statement) -> None:
        """Run one statement that must not be sent again, because it would reverse its own effect.

        Raises:
            DatabaseUnavailable: The connection was lost; the statement may have taken effect.
            DatabaseError: The server rejected the statement.
        """

        def run(connection: psycopg.Connection) -> None:
            connection.execute(statement.query)

        self._run(run, statement, retrying(1, self._before_retry, with_timeouts=False))

    def execute_together(
        self,
        first: tuple[Statement, Parameters],
        others: Sequence[tuple[Statement, Parameters | None]],
        settings: Settings | None = None,
    ) -> bool:
        """Run statements as one transaction if the first one changes a row, and return whether it did.

        The others are sent without waiting for the reply to each, so that locks are held for a short time. If the
        connection is lost at the commit, the transaction is sent again, and then changes nothing if the first one took
        effect.

        Args:
            first: The first statement and its parameters.
            others: The other ones.
            settings: Session settings for the transaction; by default those of a schema change, with a short lock
                timeout, so that no other session waits.

        Raises:
            DatabaseError: The server rejected a statement, or could not be reached. Nothing is changed.
        """
        lock_settings = self.dialect.ddl_lock_settings if settings is None else settings

        def run(connection: psycopg.Connection) -> bool:
            with self._with_settings(connection, lock_settings), connection.transaction():
                statement, parameters = first
                if not connection.execute(statement.query, parameters).rowcount:
                    return False
                with connection.pipeline() if psycopg.Pipeline.is_supported() else nullcontext():
                    for statement, given in others:
                        connection.execute(statement.query, given or {}, prepare=False)
            return True

        return self._run(run, first[0])

    def execute_rolled_back(self, statement: Statement, settings: Settings | None = None) -> int:
        """Run one statement, roll it back, and return the number of rows that it would have changed.

        Raises:
            DatabaseError: The server rejected the statement, or could not be reached.
        """

        def run(connection: psycopg.Connection) -> int:
            with self._with_settings(connection, settings or {}), connection.transaction(force_rollback=True):
                return connection.execute(statement.query).rowcount

        return self._run(run, statement)

    def execute_many(
        self, statement: Statement, parameters: Sequence[Parameters], settings: Settings | None = None
    ) -> Executed:
        """Run one statement for each set of parameters in pipeline mode, as one transaction.

        Args:
            statement: The statement.
            parameters: The values of its placeholders, for each time that it runs.
            settings: Session settings for this group only. They need no round trip of their own.

        Raises:
            DatabaseUnavailable: Every attempt ended in a retryable error, or the group timed out in a session that
                gives way. A smaller group may not.
            DatabaseError: The server rejected the statement.

        Returns:
            The number of affected rows, and how often the whole group was sent again. The retries of other threads are
            not counted.
        """

        def run(connection: psycopg.Connection) -> int:
            with connection.cursor() as cursor:
                with self._pipeline(connection, settings or {}):
                    cursor.executemany(statement.query, parameters)
                # The results have arrived when the pipeline ends.
                return cursor.rowcount

        attempts = self._retrying(with_timeouts=False)
        rows = self._run(run, statement, attempts)
        return Executed(rows, int(attempts.statistics["attempt_number"]) - 1)

    def fetch_each(
        self, statement: Statement, parameters: Sequence[Parameters], settings: Settings | None = None
    ) -> list[Row]:
        """Run one statement, which returns one row, for each set of parameters, as `execute_many`.

        A group of reads, which has no settings, is also sent again if it timed out in a session that gives way.

        Returns:
            The row of each set of parameters, in their order.
        """

        def run(connection: psycopg.Connection) -> list[Row]:
            with connection.cursor() as cursor:
                with self._pipeline(connection, settings or {}):
                    cursor.executemany(statement.query, parameters, returning=True)
                return [row for result in cursor.results() for row in result.fetchall()]

        return self._run(run, statement, self._retrying(with_timeouts=not settings))

    def fetch_together(
        self, statements: Sequence[tuple[Statement, Parameters]], settings: Settings
    ) -> tuple[list[Row], int]:
        """Run statements as one transaction, sent in pipeline mode; with session settings for them.

        If the connection is lost at the commit, the transaction is sent again, so it must be idempotent.

        Raises:
            DatabaseUnavailable: As `execute_many`.
            DatabaseError: The server rejected a statement. Nothing is changed.

        Returns:
            The rows of the statements that return some, in their order, and how often the transaction was sent again.
        """

        def run(connection: psycopg.Connection) -> list[Row]:
            try:
                with connection.transaction(), connection.pipeline():
                    for setting in settings.items():
                        connection.execute(set_session(setting).query, prepare=False)
                    cursors = [connection.execute(each.query, parameters) for each, parameters in statements]
                    self._restore(connection, settings)
            except psycopg.Error:
                # PostgreSQL rolls the settings back with the transaction; on CockroachDB they stay.
                if not connection.broken:
                    self._restore(connection, settings)
                raise
            return [row for cursor in cursors if cursor.description for row in cursor.fetchall()]

        attempts = self._retrying(with_timeouts=False)
        rows = self._run(run, statements[0][0], attempts)
        return rows, int(attempts.statistics["attempt_number"]) - 1

    @contextmanager
    def _with_settings(self, connection: psycopg.Connection, settings: Settings) -> Iterator[None]:
        """Change session settings for one statement, and restore them after it."""
        try:
            for setting in settings.items():
                connection.execute(set_session(setting).query)
            yield
        finally:
            if not connection.broken:
                self._restore(connection, settings)

    @contextmanager
    def _pipeline(self, connection: psycopg.Connection, settings: Settings) -> Iterator[None]:
        """Send statements in pipeline mode with session settings for them, all of it in one round trip.

        Until the pipeline ends, its statements are one implicit transaction.
        """
        failure: psycopg.Error | None = None
        try:
            with connection.pipeline():
                try:
                    for setting in settings.items():
                        connection.execute(set_session(setting).query, prepare=False)
                    yield
                    self._restore(connection, settings)
                except psycopg.Error as error:
                    # The pipeline must end without an error in progress, otherwise psycopg logs those of the statements
                    # that follow the failed one.
                    failure = error
        except psycopg.Error as error:
            failure = failure or error
        if failure is not None:
            # PostgreSQL rolls the settings back with the transaction; on CockroachDB they stay.
            if not connection.broken:
                self._restore(connection, settings)
            raise failure

    def _restore(self, connection: psycopg.Connection, settings: Settings) -> None:
        for name in settings:
            value = self._session_settings.get(name)
            # RESET would restore the server's value, not the one that `_configure` has set.
            restore = reset_session(name) if value is None else set_session((name, value))
            # psycopg would use a prepared statement that does not exist if its preparation was in a failed pipeline.
            connection.execute(restore.query, prepare=False)

    def _configure(self, connection: psycopg.Connection) -> None:
        """Apply the session settings to a new connection in one round trip, and register vectors as parameters."""
        with connection.pipeline():
            for setting in self._session_settings.items():
                connection.execute(set_session(setting).query)
            process = connection.execute(read_backend_pid().query) if self.dialect.announces_backend_pid else None
        pid = process.fetchone() if process is not None else None
        self._watch.add(connection, pid[0] if pid else None)
        register_vector_dumper(connection)

    def _run(
        self, work: Callable[[psycopg.Connection], T], statement: Statement, attempts: Retrying | None = None
    ) -> T:
        def attempt() -> T:
            with self._permits, self._pool.connection() as connection:
                return work(connection)

        action = f"running the statement {statement.name}"
        try:
            return (attempts or self._retrying())(attempt)
        except PoolTimeout:
            seconds = self._attempts * self._pool_timeout_seconds
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

    def _retrying(self, *, with_timeouts: bool = True) -> Retrying:
        return retrying(self._attempts, self._before_retry, with_timeouts=self.gives_way and with_timeouts)

    def _before_retry(self, state: RetryCallState) -> None:
        with self._retries_lock:
            self.retries += 1
        error = state.outcome.exception() if state.outcome else None
        logger.info("retry %d after %s", state.attempt_number, getattr(error, "sqlstate", None) or "a lost connection")
        if error is not None and is_lost_connection(error):
            # Usually all connections are lost, after a restart of the server for example. They are not checked, because
            # a reply to that may not come either.
            self._pool.drain()


def _limited_name(name: str) -> str:
    return f"limited for {name}"


def _check_idle(connection: psycopg.Connection) -> None:
    """Raise an error if the server has closed an idle connection, for example by `idle_session_timeout`.

    A server that closes a connection sends its reason, and so the connection has something to read. One that has not
    is used without a round trip.
    """
    with selectors.DefaultSelector() as selector:
        selector.register(connection.fileno(), selectors.EVENT_READ)
        if selector.select(timeout=0):
            ConnectionPool.check_connection(connection)
