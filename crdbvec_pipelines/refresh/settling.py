"""Rows that do not settle: they are still pending after their vector was written in two passes.

A trigger, a rule or a row-level security policy of the table can discard or change an update without an error. Such a
row would be read, encoded and written again in every pass. So the rows of a pass are kept, and those that the next pass
reads again are looked up after they were written; the ones that are still pending are recorded as failed.
"""

from collections.abc import Sequence

from crdbvec_pipelines.database.rows.pending_page import PendingRow
from crdbvec_pipelines.database.rows.row_errors import RowFailure
from crdbvec_pipelines.database.rows.vector_rows import VectorRows

# The keys of this many rows are kept, which takes about 10 MB. If more rows do not settle, they are recorded in several
# passes.
_MAX_ROWS = 100_000
_REASON = (
    "The row is still pending although its vector was written in two passes: a trigger, a rule or a row-level security "
    "policy of the table discards or changes the update."
)


class Settling:
    """The rows that the passes of one process over one vector column have written.

    Args:
        max_rows: The maximum number of rows of a pass that are kept; None for all.
        passes_before: In how many passes the rows may have been written before the first one that is kept.

    Attributes:
        unsettled: The number of rows that were found to be still pending.
    """

    def __init__(self, max_rows: int | None = _MAX_ROWS, passes_before: int = 0) -> None:
        self.unsettled = 0
        self._max_rows = max_rows
        self._passes_before = passes_before
        self._earlier: dict[str, int] = {}
        self._current: dict[str, int] = {}

    def start_pass(self) -> None:
        """Start a pass. One without rows keeps what is known of the pass before."""
        if self._current:
            self._earlier, self._current = self._current, {}

    def check(self, table: VectorRows, rows: Sequence[PendingRow]) -> list[RowFailure]:
        """Note rows whose vectors were written, and return a failure for each one that does not settle.

        An input that another transaction changes after the write is not distinguished from one that the write itself
        has changed, so such a row gets one pass more.

        Args:
            table: The rows of the vector column.
            rows: The rows that were written, or were edited or deleted since they were read.

        Raises:
            DatabaseError: The rows cannot be read.
        """
        passes = {name: self._note(name) for name in {repr(row.key) for row in rows}}
        repeated = [row for row in rows if repr(row.key) in self._earlier]
        if not repeated:
            return []
        failures = []
        for row, pending in zip(repeated, table.pending_fingerprints(repeated), strict=True):
            is_same = pending == row.fingerprint
            if pending is not None and (is_same or passes[repr(row.key)] > 2):
                failures.append(RowFailure(row.key, pending, "rejected", _REASON))
        self.unsettled += len(failures)
        return failures

    def _note(self, name: str) -> int:
        """Return in how many passes a row was written."""
        passes = self._earlier.get(name, self._passes_before) + 1
        if self._max_rows is None or len(self._current) < self._max_rows:
            self._current[name] = passes
        return passes
