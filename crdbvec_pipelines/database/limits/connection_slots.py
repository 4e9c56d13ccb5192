"""The connections that all processes together may have for the work on one table: `max_connections`.

Each connection is a row of `crdbvec_connections`, which a process holds and extends. A process takes what is free, up
to what it can use, and always keeps one. One that finds none waits, and asks the others to return half of theirs. The
rows of a process that has ended expire.
"""

import logging
import threading
import uuid
from datetime import timedelta

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.errors import DatabaseError
from crdbvec_pipelines.database.limits import statements
from crdbvec_pipelines.naming import TableName
from crdbvec_pipelines.process_identity import ProcessIdentity
from crdbvec_pipelines.shutdown import shutdown_requested

logger = logging.getLogger(__name__)

# Two partitions are worked on at once, each with a reader, a writer and the renewal of its claim.
_MOST_PER_PROCESS = 6
_LIFETIME_SECONDS = 30.0
_RENEWAL_SECONDS = 5.0
# The request for one is valid until the processes that hold connections have renewed them.
_REQUEST_SECONDS = 3 * _RENEWAL_SECONDS
_POLL_SECONDS = 0.5


class ConnectionSlots:
    """The connections that this process holds for one table.

    Args:
        database: A database whose connections are not counted, with which this class sends its own statements.
        table: The table.
        max_connections: How many all processes together may have.
        renewal_seconds: The time between two renewals.
    """

    def __init__(
        self, database: Database, table: TableName, max_connections: int, renewal_seconds: float = _RENEWAL_SECONDS
    ) -> None:
        self._database = database
        self._schema = table.schema
        self._table = table
        self._max = max_connections
        self._interval = renewal_seconds
        owner = f"{ProcessIdentity.current()}:{uuid.uuid4().hex}"
        self._parameters: dict[str, object] = {"table_name": table.name, "owner": owner}
        self._held: list[int] = []
        self._limited: Database | None = None
        self._returned = threading.Event()

    def open(self) -> Database:
        """Return the same database with as many connections as this process holds, after it has got at least one.

        It is closed together with the database, and the connections are then returned.
        """
        has_waited = False
        while not self._take(_MOST_PER_PROCESS):
            if not has_waited:
                logger.warning("Waiting for one of the %d connections of %s.", self._max, self._table)
                has_waited = True
            self._database.execute(
                statements.ask_for_connection(self._schema),
                {**self._parameters, "lifetime": timedelta(seconds=_REQUEST_SECONDS)},
            )
            if shutdown_requested.wait(_POLL_SECONDS):
                raise KeyboardInterrupt
        limited = self._limited = self._database.with_connection_limit(str(self._table), len(self._held))
        threading.Thread(target=self._renew_until_returned, name="crdbvec-connections", daemon=True).start()
        self._database.call_before_close(self._return_all)
        return limited

    @property
    def count(self) -> int:
        """How many connections this process holds."""
        return len(self._held)

    def _take(self, wanted: int) -> bool:
        """Take connections that are free; return whether this process holds any."""
        rows = self._database.fetch(
            statements.take_connections(self._schema),
            {
                **self._parameters,
                "lifetime": timedelta(seconds=_LIFETIME_SECONDS),
                "max_connections": self._max,
                "wanted": wanted,
            },
        )
        self._held += [slot for (slot,) in rows]
        return bool(self._held)

    def renew(self) -> None:
        """Extend the connections; return half of them if another process waits, otherwise take those that are free.

        Of a process that could not reach the database for long, the connections may have expired. It continues with
        one, so that for a moment there may be one more than allowed.
        """
        rows = self._database.fetch(
            statements.renew_connections(self._schema),
            {**self._parameters, "lifetime": timedelta(seconds=_LIFETIME_SECONDS)},
        )
        self._held = [slot for (slot,) in rows]
        wanted = self._database.fetch(statements.is_connection_wanted(self._schema), self._parameters)
        if wanted and wanted[0][0]:
            kept = max(1, len(self._held) // 2)
            self._held, returned = self._held[:kept], self._held[kept:]
            # Before others may take them, this process must not use them any more.
            self._limit()
            self._return(returned)
        elif len(self._held) < _MOST_PER_PROCESS:
            self._take(_MOST_PER_PROCESS - len(self._held))
            self._limit()

    def _limit(self) -> None:
        if self._limited is not None:
            self._limited.limit_connections(max(1, len(self._held)))

    def _return(self, slots: list[int]) -> None:
        if slots:
            parameters = {**self._parameters, "slots": slots}
            self._database.execute(statements.return_connections(self._schema), parameters)

    def _return_all(self) -> None:
        self._returned.set()
        try:
            self._return(self._held)
        except DatabaseError as error:
            logger.info("Connections were not returned and expire by themselves: %s", error)

    def _renew_until_returned(self) -> None:
        while not self._returned.wait(self._interval):
            try:
                self.renew()
            except DatabaseError as error:
                logger.info("Connections were not renewed: %s", error)


def limit_connections(database: Database, table: TableName, max_connections: int | None) -> Database:
    """Return the database as an entry limits its connections for a table; without a limit, the same object.

    A process has one limited database for each table, whatever number of vector columns the table has.
    """
    if max_connections is None:
        return database
    return database.limited_for(str(table)) or ConnectionSlots(database, table, max_connections).open()
