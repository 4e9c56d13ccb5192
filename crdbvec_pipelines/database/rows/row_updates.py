"""How the guarded write of a group of rows is sent: one statement for each row, or several for each with chunks."""

from collections.abc import Sequence
from typing import Protocol

from crdbvec_pipelines.database.connection import Database, Executed, Parameters, Row
from crdbvec_pipelines.database.statement import Statement


class RowUpdate(Protocol):
    """The guarded write of a group of rows as one transaction. `Parameters` are those of each row."""

    def run(self, group: Sequence[Parameters]) -> Executed:
        """Update the rows, and wait for their locks; return the number of updated rows.

        Raises:
            DatabaseError: A row is locked for too long, or the server rejected a statement. Nothing is changed.
        """
        ...

    def run_unlocked(self, group: Sequence[Parameters]) -> Sequence[Row]:
        """Update the rows that are not locked; return for each whether it could be locked and was updated.

        Raises:
            DatabaseError: The server rejected a statement. Nothing is changed.
        """
        ...


class SingleStatement:
    """A guarded write that consists of one statement for each row.

    Args:
        database: The open database.
        update: Updates one row, and waits for its lock.
        update_unlocked: Updates one row unless it is locked: returns whether it could be locked and was updated.
    """

    def __init__(self, database: Database, update: Statement, update_unlocked: Statement) -> None:
        self._database = database
        self._update = update
        self._update_unlocked = update_unlocked

    def run(self, group: Sequence[Parameters]) -> Executed:
        """Update the rows; see `RowUpdate.run`."""
        # The retries of this group only: those of another thread on the same database must not shrink groups.
        return self._database.execute_many(self._update, group, self._database.write_settings)

    def run_unlocked(self, group: Sequence[Parameters]) -> Sequence[Row]:
        """Update the rows that are not locked; see `RowUpdate.run_unlocked`."""
        return self._database.fetch_each(self._update_unlocked, group, self._database.write_settings)
