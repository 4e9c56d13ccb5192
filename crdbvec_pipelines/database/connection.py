"""An open database: the ways in which statements are run, in the sessions of a pool.

Every statement runs in autocommit, so no transaction is open while a model encodes. The pool retries retryable errors,
and translates the others (`session_pool`).
"""

import functools
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple, Self

import psycopg

from crdbvec_pipelines.config import QualityOfService
from crdbvec_pipelines.database.connector import APPLICATION_NAME, Connector
from crdbvec_pipelines.database.dialects import Dialect
from crdbvec_pipelines.database.dialects.vector_support import Settings
from crdbvec_pipelines.database.errors import DatabaseError, is_not_readable_in_past
from crdbvec_pipelines.database.replies import DEFAULT_REPLY_TIMEOUT_SECONDS
from crdbvec_pipelines.database.retry import MAX_ATTEMPTS
from crdbvec_pipelines.database.server import Server, inspect_server, text_before_encoding
from crdbvec_pipelines.database.session import find_vector_schema, role_search_path
from crdbvec_pipelines.database.session_pool import SessionPool
from crdbvec_pipelines.database.statement import Statement
from crdbvec_pipelines.database.transport import Transport, transport_of
from crdbvec_pipelines.database.url import libpq_url

logger = logging.getLogger(__name__)

Parameters = Mapping[str, object]
Row = tuple[Any, ...]


class Executed(NamedTuple):
    """The result of a group of statements.

    Attributes:
        rows: The number of affected rows.
        retries: How often the group was sent again.
    """

    rows: int
    retries: int


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
        role_path: The session settings with the search path of the role, which functions of a user's triggers may need.
        write_settings: The session settings of a guarded write: those, and a short lock timeout.

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
        self._others_lock = threading.Lock()
        self.dialect: Dialect = self._server.dialect
        self.has_pooler: bool = self._server.has_pooler
        self.name: str = self._server.database
        self.server: str = self._server.description
        self.role_path: Settings = {"search_path": role_search_path(self._server.role_path)}
        self.write_settings: Settings = {**self.dialect.write_lock_settings, **self.role_path}
        self._sessions = SessionPool(
            connector,
            self._server,
            max_connections=max_connections,
            statement_timeout=statement_timeout,
            attempts=attempts,
            reply_timeout=reply_timeout,
            quality_of_service=quality_of_service,
            is_limited=is_limited,
        )
        self._settings = self._sessions.settings

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def retries(self) -> int:
        """How often any thread has sent a statement again so far."""
        return self._sessions.retries

    @property
    def gives_way(self) -> bool:
        """Whether other sessions take precedence, so that a statement that times out is tried again later."""
        return self._sessions.gives_way

    def close(self) -> None:
        """Close all connections, also those of another quality of service, and those of the limited databases."""
        for call in self._before_close:
            call()
        for other in self._others.values():
            other.close()
        self._sessions.close()

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
        self._sessions.limit(count)

    def call_before_close(self, call: Callable[[], None]) -> None:
        """Call a function before the connections are closed."""
        self._before_close.append(call)

    def renew_connections(self) -> None:
        """Replace all connections, because each keeps the plans of its statements, also of a replaced table."""
        self._sessions.renew()

    def transport(self) -> Transport:
        """Return how the connections reach the server."""
        with self._sessions.connection() as connection:
            return transport_of(connection)

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
            with self._settings.changed(connection, settings or {}):
                prepare = False if statement.needs_custom_plan else None
                return connection.execute(statement.query, parameters or {}, prepare=prepare).fetchall()

        try:
            return self._sessions.run(run, statement)
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
            with self._settings.changed(connection, settings or {}):
                return connection.execute(statement.query, parameters or {}).rowcount

        return self._sessions.run(run, statement)

    def execute_once(self, statement: Statement) -> None:
        """Run one statement that must not be sent again, because it would reverse its own effect.

        Raises:
            DatabaseUnavailable: The connection was lost; the statement may have taken effect.
            DatabaseError: The server rejected the statement.
        """

        def run(connection: psycopg.Connection) -> None:
            connection.execute(statement.query)

        self._sessions.run(run, statement, self._sessions.once())

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
            with self._settings.changed(connection, lock_settings), connection.transaction():
                statement, parameters = first
                if not connection.execute(statement.query, parameters).rowcount:
                    return False
                with connection.pipeline() if psycopg.Pipeline.is_supported() else nullcontext():
                    for statement, given in others:
                        connection.execute(statement.query, given or {}, prepare=False)
            return True

        return self._sessions.run(run, first[0])

    def execute_rolled_back(self, statement: Statement, settings: Settings | None = None) -> int:
        """Run one statement, roll it back, and return the number of rows that it would have changed.

        Raises:
            DatabaseError: The server rejected the statement, or could not be reached.
        """

        def run(connection: psycopg.Connection) -> int:
            with (
                self._settings.changed(connection, settings or {}),
                connection.transaction(force_rollback=True),
            ):
                return connection.execute(statement.query).rowcount

        return self._sessions.run(run, statement)

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
                with self._settings.changed_in_pipeline(connection, settings or {}):
                    cursor.executemany(statement.query, parameters)
                # The results have arrived when the pipeline ends.
                return cursor.rowcount

        attempts = self._sessions.retrying(with_timeouts=False)
        rows = self._sessions.run(run, statement, attempts)
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
                with self._settings.changed_in_pipeline(connection, settings or {}):
                    cursor.executemany(statement.query, parameters, returning=True)
                return [row for result in cursor.results() for row in result.fetchall()]

        return self._sessions.run(run, statement, self._sessions.retrying(with_timeouts=not settings))

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
            with self._settings.changed_in_transaction(connection, settings):
                cursors = [connection.execute(each.query, parameters) for each, parameters in statements]
            return [row for cursor in cursors if cursor.description for row in cursor.fetchall()]

        attempts = self._sessions.retrying(with_timeouts=False)
        rows = self._sessions.run(run, statements[0][0], attempts)
        return rows, int(attempts.statistics["attempt_number"]) - 1


def _limited_name(name: str) -> str:
    return f"limited for {name}"
