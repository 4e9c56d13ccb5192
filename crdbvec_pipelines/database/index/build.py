"""The build of a vector index: the statement in a thread, its progress over another connection, and recovery."""

import logging
import threading
import time
from collections.abc import Callable

from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.database.errors import DatabaseError, DatabaseUnavailable, TableError
from crdbvec_pipelines.database.index.statements import (
    create_vector_index,
    existing_indexes,
    index_progress,
    indexes_named,
)
from crdbvec_pipelines.database.schema.ddl import change_schema, ddl_settings
from crdbvec_pipelines.database.schema.statements import drop_index
from crdbvec_pipelines.errors import CrdbvecError

logger = logging.getLogger(__name__)

# Often enough for a progress bar; each poll is one short query.
_POLL_SECONDS = 1.0
# A lost connection explains one or two failed builds; after three, the cause is probably the server.
_MAX_BUILDS = 3


class IndexBuild:
    """The build of the vector index of one column, until the index is complete.

    Args:
        column: The vector column.
        index: The name of the index.
        is_visible: Whether searches use the index as soon as it is built, on a server that can hide indexes.
    """

    def __init__(self, column: BoundColumn, index: str, *, is_visible: bool = True) -> None:
        self._is_visible = is_visible
        self._column = column
        self._database = column.database
        self._table = column.table.name
        self._index = index

    @property
    def is_complete(self) -> bool:
        """Whether the table has the finished index."""
        return self._index in existing_indexes(self._column)

    def run(self, on_progress: Callable[[float], None]) -> None:
        """Build the index. If the connection is lost, wait for the build, or start it again if it has ended.

        Args:
            on_progress: Receives the completed share, from 0 to 1, about once per second.

        Raises:
            TableError: Another object has the name of the index.
            DatabaseError: The server rejected the statement.
        """
        for _ in range(_MAX_BUILDS):
            self._drop_unfinished_index()
            self._build_once(on_progress)
            if self.is_complete:
                on_progress(1.0)
                return
        self._drop_unfinished_index()
        raise CrdbvecError(
            f"The build of the vector index {self._index} of {self._table} was started {_MAX_BUILDS} times and did not "
            "finish. Read the server's log for the reason. Until the index is built, searches use an exact scan."
        )

    def drop(self) -> None:
        """Drop the index if it exists, complete or not.

        Raises:
            DatabaseUnavailable: Another transaction holds a lock on the table and does not end.
        """
        change_schema(self._database, drop_index(self._database.dialect, self._column.table, self._index))

    def _drop_unfinished_index(self) -> None:
        """Drop the invalid index that an interrupted build left, because CREATE ... IF NOT EXISTS would keep it.

        Other objects with the name of the index are not changed.
        """
        schema, spans = self._table.schema, self._database.dialect.vectors.has_schema_wide_index_names
        parameters = {"schema": schema, "index": self._index}
        for table, is_valid in self._database.fetch(indexes_named(self._database.dialect), parameters):
            if table != self._table.name:
                if spans:
                    raise TableError(
                        f"The schema {schema} already has an index {self._index}, on the table {table}. Rename it: "
                        f"ALTER INDEX {self._index} RENAME TO <another name>."
                    )
            elif not is_valid:
                self.drop()
            elif self._progress() is None:
                raise TableError(
                    f"{self._table} already has an index {self._index}, which is not a vector index over "
                    f"{self._column.spec.output} that searches can use. Rename it "
                    f"(ALTER INDEX {self._index} RENAME TO <another name>) or drop it."
                )

    def _build_once(self, on_progress: Callable[[float], None]) -> None:
        errors: list[CrdbvecError] = []

        def create() -> None:
            ddl = create_vector_index(self._database.dialect, self._column, self._index, is_visible=self._is_visible)
            try:
                self._database.execute(ddl, settings=ddl_settings(self._database, ddl))
            except CrdbvecError as error:
                errors.append(error)

        builder = threading.Thread(target=create, name="crdbvec-index", daemon=True)
        # On PostgreSQL two simultaneous builds of one index end in a deadlock, so this process waits for the other one.
        # CockroachDB executes them one after the other, and a job there may belong to an index of another table.
        if not self._database.dialect.vectors.has_schema_wide_index_names or self._progress() is None:
            builder.start()
        share = 0.0
        while builder.is_alive() or self._is_running_on_server():
            if builder.is_alive():
                builder.join(_POLL_SECONDS)
            # Each phase of a build starts at zero; the reported share never decreases.
            share = max(share, self._progress() or 0.0)
            on_progress(share)
        if errors and not isinstance(errors[0], DatabaseUnavailable) and not self.is_complete:
            raise errors[0]

    def _progress(self) -> float | None:
        """Return the completed share of the build that runs on the server; None if none is visible."""
        parameters = {"schema": self._table.schema, "table": self._table.name, "index": self._index}
        try:
            found = self._database.fetch(index_progress(self._database.dialect), parameters)
        except DatabaseError as error:
            # A role that may build an index may still lack the privilege to see jobs.
            logger.info("The progress of the index build cannot be read: %s", error)
            return None
        return float(found[0][0] or 0.0) if found else None

    def _is_running_on_server(self) -> bool:
        """Return whether the server still builds the index after its connection was lost; wait before the next poll."""
        if self.is_complete or self._progress() is None:
            return False
        time.sleep(_POLL_SECONDS)
        return True
