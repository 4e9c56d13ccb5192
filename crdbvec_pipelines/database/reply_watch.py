"""Decides whether the reply that a pooled connection waits for will not come."""

import weakref

import psycopg

from crdbvec_pipelines.database.connector import Connector
from crdbvec_pipelines.database.dialects import Dialect
from crdbvec_pipelines.database.errors import is_full
from crdbvec_pipelines.database.session import SAFE_SEARCH_PATH, read_is_executing, set_session

# On a server that cannot be asked, a group of statements counts as stalled after this many reply timeouts. Each of them
# changes or reads one row by its key, and gives up soon if the row is locked.
_STALLED_GROUP_TIMEOUTS = 5


class ReplyWatch:
    """Asks the server whether it executes the statement of a connection, if the server can be asked.

    Args:
        connector: Opens the connections over which the server is asked.
        dialect: The dialect of the server.
        reply_timeout: Seconds without a reply after which the server is asked.
        statement_timeout: Seconds after which the server cancels a statement; None if it does not.
    """

    def __init__(
        self, connector: Connector, dialect: Dialect, reply_timeout: float, statement_timeout: float | None
    ) -> None:
        self._connector = connector
        self._dialect = dialect
        self._reply_timeout = reply_timeout
        self._statement_timeout = statement_timeout
        self._processes: weakref.WeakKeyDictionary[psycopg.Connection, int | None] = weakref.WeakKeyDictionary()

    def add(self, connection: psycopg.Connection, process: int | None) -> None:
        """Note that the settings of a connection are applied.

        Args:
            connection: The connection.
            process: The process of the server that runs its statements; None if the server has none.
        """
        # With a connection pooler in between, the process is that of another session a moment later.
        self._processes[connection] = process if process == connection.info.backend_pid else None

    def has_stalled(self, connection: psycopg.Connection, waited_seconds: float) -> bool:
        """Return whether the reply will not come, because the server does not execute a statement; see `HasStalled`."""
        if connection not in self._processes:
            # Its settings are not applied yet, which takes a moment.
            return True
        if (pid := self._processes[connection]) is not None:
            return not self._is_executing(pid, connection.info)
        # Other statements may take any time.
        is_group = connection.pgconn.pipeline_status != psycopg.pq.PipelineStatus.OFF
        limits = [_STALLED_GROUP_TIMEOUTS * self._reply_timeout] if is_group else []
        if self._statement_timeout is not None:
            limits.append(self._statement_timeout + self._reply_timeout)
        return bool(limits) and waited_seconds >= min(limits)

    def _is_executing(self, pid: int, of: psycopg.ConnectionInfo) -> bool:
        """Ask the server of a connection, over a new one, whether one of its processes executes a statement."""
        try:
            # A URL can name several hosts.
            with self._connector.connect(host=of.host, hostaddr=of.hostaddr or None, port=of.port) as connection:
                connection.execute(set_session(("search_path", SAFE_SEARCH_PATH)).query)
                return bool(connection.execute(read_is_executing(self._dialect).query, {"pid": pid}).fetchall())
        except psycopg.Error as error:
            # A server without a free connection answers, and so the reply may still come.
            return is_full(error)
