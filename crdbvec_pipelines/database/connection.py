"""A pool of connections that finds its dialect, retries by class, speaks in sentences, and closes what it opens.

Every statement runs in autocommit: no transaction is ever open while a model works.
"""

import functools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import ConnectionPool, PoolTimeout
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from crdbvec_pipelines.database.dialects import Dialect, detect
from crdbvec_pipelines.database.dialects.vectors import Settings
from crdbvec_pipelines.database.errors import DatabaseUnavailable, is_lost_connection, is_retryable, translate
from crdbvec_pipelines.database.session import EVERY_SESSION, reset_session, set_session
from crdbvec_pipelines.database.statement import Statement
from crdbvec_pipelines.database.vectors import accept_vectors
from crdbvec_pipelines.errors import ConfigurationError

logger = logging.getLogger(__name__)

T = TypeVar("T")
Parameters = Mapping[str, object]
Row = tuple[Any, ...]

APPLICATION_NAME = "crdbvec"
CONNECT_TIMEOUT_SECONDS = 10
ATTEMPTS = 8
LONGEST_WAIT_SECONDS = 5.0
# CockroachDB Cloud closes connections after 30 minutes; staying below it avoids an error at a random moment.
LONGEST_LIFE_SECONDS = 1_200


class Database:
    """An open connection pool to one database.

    Args:
        url: a libpq URL or connection string; Unix sockets included (`postgresql://user@/name?host=/folder`).
        application_name: what the server's own views show.
        max_connections: at most this many at once.
        statement_timeout: seconds after which the server ends a statement; None leaves the server's setting.
        attempts: how often a statement is sent, or half a minute waited for a connection, before the server counts as
            gone. The pool asks a server that is away more and more rarely, so patience is what survives its restart.

    Raises:
        ConfigurationError: the URL cannot be read.
        DatabaseUnavailable: the server cannot be reached.
    """

    def __init__(
        self,
        url: str,
        *,
        application_name: str = APPLICATION_NAME,
        max_connections: int = 8,
        statement_timeout: float | None = None,
        attempts: int = ATTEMPTS,
    ) -> None:
        self._url = url
        self._attempts = attempts
        self._settings: dict[str, Any] = {
            "application_name": application_name,
            "connect_timeout": CONNECT_TIMEOUT_SECONDS,
            "autocommit": True,
        }
        timeout = {} if statement_timeout is None else {"statement_timeout": f"{statement_timeout * 1000:.0f}ms"}
        self._session: Settings = {**EVERY_SESSION, **timeout}
        self.retries = 0
        with self._first_connection() as connection:
            self.dialect: Dialect = detect(connection)
            self.name: str = connection.info.dbname
        self._pool = ConnectionPool(
            url,
            connection_class=self.dialect.connection_class,
            kwargs=self._settings,
            min_size=1,
            max_size=max_connections,
            max_lifetime=LONGEST_LIFE_SECONDS,
            configure=functools.partial(_configure, session=self._session),
            timeout=3 * CONNECT_TIMEOUT_SECONDS,
            name=APPLICATION_NAME,
            open=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes every connection."""
        self._pool.close()

    def fetch(
        self, statement: Statement, parameters: Parameters | None = None, settings: Settings | None = None
    ) -> list[Row]:
        """All rows of a query, which runs under session settings that are reset behind it.

        Raises:
            DatabaseError: the server refused it, or could not be reached.
        """

        def run(connection: psycopg.Connection) -> list[Row]:
            with self._under(connection, settings or {}):
                return connection.execute(statement.query, parameters or {}).fetchall()

        return self._run(run, statement)

    def fetch_one(self, statement: Statement, parameters: Parameters | None = None) -> Row:
        """The only row of a query that always has one."""
        (row,) = self.fetch(statement, parameters)
        return row

    def execute(
        self, statement: Statement, parameters: Parameters | None = None, settings: Settings | None = None
    ) -> int:
        """Runs one statement, under session settings that are reset behind it, and returns how many rows it touched."""

        def run(connection: psycopg.Connection) -> int:
            with self._under(connection, settings or {}):
                return connection.execute(statement.query, parameters or {}).rowcount

        return self._run(run, statement)

    def execute_many(self, statement: Statement, parameters: Sequence[Parameters]) -> int:
        """Runs one statement for each set of parameters, pipelined, and returns how many rows they touched in all."""

        def run(connection: psycopg.Connection) -> int:
            with connection.cursor() as cursor:
                cursor.executemany(statement.query, parameters)
                return cursor.rowcount

        return self._run(run, statement)

    @contextmanager
    def _under(self, connection: psycopg.Connection, settings: Settings) -> Iterator[None]:
        """Sets the session for one statement, and puts back what it was."""
        try:
            for setting in settings.items():
                connection.execute(set_session(setting).query)
            yield
        finally:
            if not connection.broken:
                for name in settings:
                    usual = self._session.get(name)
                    # RESET would go back to the server's value, not to ours.
                    back = reset_session(name) if usual is None else set_session((name, usual))
                    connection.execute(back.query)

    @contextmanager
    def _first_connection(self) -> Iterator[psycopg.Connection]:
        _check_url(self._url)
        try:
            connection = psycopg.connect(self._url, **self._settings)
        except psycopg.Error as error:
            raise translate(error, "connecting") from None
        with connection:
            yield connection

    def _run(self, work: Callable[[psycopg.Connection], T], statement: Statement) -> T:
        def attempt() -> T:
            with self._pool.connection() as connection:
                return work(connection)

        doing = f"running the statement {statement.name}"
        try:
            return self._retrying()(attempt)
        except PoolTimeout:
            seconds = self._attempts * 3 * CONNECT_TIMEOUT_SECONDS
            raise DatabaseUnavailable(
                f"The database gave no connection within {seconds} s while {doing}. "
                "Nothing is lost: run the same command again when it answers."
            ) from None
        except psycopg.Error as error:
            raise translate(error, doing) from error

    def _retrying(self) -> Retrying:
        return Retrying(
            retry=retry_if_exception(is_retryable),
            stop=stop_after_attempt(self._attempts),
            wait=wait_random_exponential(multiplier=0.05, max=LONGEST_WAIT_SECONDS),
            before_sleep=self._before_retry,
            reraise=True,
        )

    def _before_retry(self, state: RetryCallState) -> None:
        self.retries += 1
        error = state.outcome.exception() if state.outcome else None
        logger.info("retry %d after %s", state.attempt_number, getattr(error, "sqlstate", None) or "a lost connection")
        if error is not None and is_lost_connection(error):
            # One lost connection usually means all of them, after a restart of the server.
            self._pool.check()


def _check_url(url: str) -> None:
    """Refuses a URL that libpq would quote in its error, with the password or the rest of one."""
    try:
        parts = {name: str(value) for name, value in conninfo_to_dict(url).items()}
    except psycopg.ProgrammingError:
        raise ConfigurationError(
            "The database URL cannot be read; it should look like "
            "postgresql://user:password@host:26257/database?sslmode=verify-full."
        ) from None
    # libpq ends the password at the first @ and takes what follows for the host. A socket's name may start with one.
    if "@" in parts.get("host", "")[1:]:
        raise ConfigurationError("The database URL has an @ in its user name or password; write %40 for it.")
    # It ends the host at the first /, and takes the password before it for the port and the rest for the database.
    if "@" in parts.get("dbname", ""):
        raise ConfigurationError("The database URL has a / in its user name or password; write %2F for it.")


def _configure(connection: psycopg.Connection, session: Settings) -> None:
    """Makes a new connection ready."""
    for setting in session.items():
        connection.execute(set_session(setting).query)
    accept_vectors(connection)
