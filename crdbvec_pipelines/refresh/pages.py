"""The pending rows of a key range, read ahead in batches that are limited by rows and by bytes.

A row that cannot be read does not end the reading: it is found by smaller pages, recorded as failed and left out.
"""

import time
from collections.abc import Iterator, Sequence

from crdbvec_pipelines.database.errors import DatabaseError, UnconvertibleValue, is_unreadable_row
from crdbvec_pipelines.database.rows.claims import RangeClaim
from crdbvec_pipelines.database.rows.pending_page import PendingPage, PendingRow
from crdbvec_pipelines.database.rows.predicates import Pass
from crdbvec_pipelines.database.rows.row_errors import RowFailure
from crdbvec_pipelines.database.rows.vector_rows import Cleared, VectorRows
from crdbvec_pipelines.database.sqlstate import row_failure_status
from crdbvec_pipelines.keyspace import Bound, KeyRange
from crdbvec_pipelines.refresh.locked_rows import LockedRows
from crdbvec_pipelines.refresh.memory import MemoryAccount, input_bytes
from crdbvec_pipelines.refresh.options import RefreshOptions
from crdbvec_pipelines.refresh.permission import RefreshPermission
from crdbvec_pipelines.refresh.table_check import check_table_accepts

# The server looks at every input of a page, also at those that do not fit into it. So the first page has few rows, and
# shows how many fit.
_FIRST_PAGE_ROWS = 16
# If this many rows cannot be read and no other row was, the reason is probably not in the rows.
_MAX_UNREADABLE_ROWS = 64


class PendingBatches:
    """The batches of one refresh. Iterating yields the rows of each batch and the memory that is reserved for them.

    Args:
        rows: The rows of the vector column.
        key_range: Where to read.
        options: Batch size and passes.
        claim: The claim on the range, acquired when the first pending row is found.
        memory: The memory for the inputs. A batch is reserved there; who takes the batch releases it.
        locked: Gets the rows whose vectors could not be cleared.
        permission: Asked before each batch.

    Attributes:
        cleared: The number of cleared rows.
        unreadable: The number of rows that could not be read; they are recorded as failed.
        skipped: The ranges whose rows were left to other processes.
        read_since_ns: When the reading of the latest batch started, as `time.time_ns`.
    """

    def __init__(
        self,
        rows: VectorRows,
        key_range: KeyRange,
        options: RefreshOptions,
        claim: RangeClaim,
        memory: MemoryAccount,
        locked: LockedRows,
        permission: RefreshPermission,
    ) -> None:
        self._rows = rows
        self._range = key_range
        self._options = options
        self._claim = claim
        self._memory = memory
        self._locked = locked
        self._exclude_deferred = False
        self._others: Sequence[KeyRange] = ()
        self._permission = permission
        self._rows_read = 0
        self._limit = min(_FIRST_PAGE_ROWS, options.batch_size)
        self._is_bisecting = False
        self.cleared = 0
        self.unreadable = 0
        self.skipped: set[KeyRange] = set()
        self.read_since_ns = time.time_ns()

    def __iter__(self) -> Iterator[tuple[list[PendingRow], int]]:
        self._exclude_deferred = self._rows.has_deferred_rows()
        if self._options.claim_first:
            self._claim.acquire()
        for pass_ in self._rows.all_passes if self._options.passes is None else self._options.passes:
            cleared = self._clear(pass_)
            self.cleared += cleared.rows
            self._locked.add_clearable(cleared.locked)
            yield from self._batches(pass_)

    def _clear(self, pass_: Pass) -> Cleared:
        try:
            return self._rows.clear(self._range, pass_)
        except DatabaseError as error:
            check_table_accepts(self._rows, [error])
            raise

    def _batches(self, pass_: Pass) -> Iterator[tuple[list[PendingRow], int]]:
        """Yield the batches of one pass, each of one or several pages."""
        batch: list[PendingRow] = []
        batch_bytes = 0
        after: Bound | None = None
        # One input may be larger than a page; it is then read alone, with as much memory as it needs.
        allowed = self._memory.page_bytes
        is_last = False
        while not is_last:
            if not batch and not self._permission.wait():
                return
            # A thread that has a part of a batch does not wait, because others may wait for the memory of that part.
            reserved = self._memory.reserve(allowed, wait=not batch)
            if reserved is None and not batch:
                return
            if not batch:
                self.read_since_ns = time.time_ns()
            if reserved is not None:
                limit = min(self._limit, self._options.batch_size - len(batch))
                try:
                    page = self._read(pass_, after, limit, allowed)
                except DatabaseError as error:
                    self._memory.release(reserved)
                    after = self._after_unreadable(pass_, after, limit, error)
                    continue
                page_bytes = input_bytes(page)
                self._memory.adjust(reserved, page_bytes)
                batch += page
                batch_bytes += page_bytes
                after = page[-1].key if page else after
                is_cut = page.next_bytes is not None
                is_last = not is_cut and len(page) < limit
                self._adjust_limit(len(page), page_bytes)
                allowed = max(self._memory.page_bytes, page.next_bytes or 0) if not page else self._memory.page_bytes
                is_full = len(batch) == self._options.batch_size or batch_bytes >= self._memory.page_bytes
                if not is_last and not is_cut and not is_full:
                    continue
            if batch:
                yield batch, batch_bytes
                batch, batch_bytes = [], 0

    def _read(self, pass_: Pass, after: Bound | None, limit: int, max_bytes: int) -> PendingPage:
        """Read a page of pending rows, without those that another process is embedding.

        The first page with rows claims the range, so that a refresh without pending rows writes nothing.
        """
        self._others = self._claim.claimed_by_others() if self._claim.is_held else ()
        self.skipped.update(self._others)
        page = self._rows.read(
            self._range,
            pass_,
            after,
            limit,
            max_bytes=max_bytes,
            exclude_deferred=self._exclude_deferred,
            excluded=self._others,
            as_of=self._options.as_of,
        )
        if page or page.next_bytes is not None:
            self._permission.check()
        if (page or page.next_bytes is not None) and not self._claim.is_held:
            self._claim.acquire()
            return self._read(pass_, after, limit, max_bytes)
        self._rows_read += len(page)
        return page

    def _adjust_limit(self, rows: int, size: int) -> None:
        """Set the rows of the next page: about twice as many as fit, and after an unreadable row slowly more."""
        fitting = max(1, 2 * rows * self._memory.page_bytes // max(1, size)) if rows else 1
        if self._is_bisecting:
            fitting = min(fitting, 2 * self._limit)
        self._limit = min(self._options.batch_size, fitting)
        self._is_bisecting = self._is_bisecting and self._limit < self._options.batch_size

    def _after_unreadable(self, pass_: Pass, after: Bound | None, limit: int, error: DatabaseError) -> Bound | None:
        """Halve the page that could not be read; if it had one row, record it. Return the key to read after."""
        if not is_unreadable_row(error):
            raise error
        self._is_bisecting = True
        self._limit = max(1, limit // 2)
        if limit > 1:
            return after
        if not self._claim.is_held:
            self._claim.acquire()
        try:
            found = self._rows.read_key(
                self._range,
                pass_,
                after,
                exclude_deferred=self._exclude_deferred,
                excluded=self._others,
                as_of=self._options.as_of,
            )
        except DatabaseError:
            # Neither the row nor its key can be read, so it cannot be recorded.
            raise error from None
        if found is None:
            return after
        key, fingerprint = found
        self._rows.errors.record(
            [RowFailure(key, fingerprint, row_failure_status(error.sqlstate) or "rejected", _reason(error))]
        )
        self.unreadable += 1
        if self.unreadable >= _MAX_UNREADABLE_ROWS and not self._rows_read:
            raise DatabaseError(
                f"The first {self.unreadable} rows of {self._rows.spec.table} could not be read. {_reason(error)} "
                "Run `crdbvec errors list` for their keys.",
                error.sqlstate,
            )
        return key


def _reason(error: DatabaseError) -> str:
    """Return the reason without the row's values, which the message of the server may quote."""
    if isinstance(error, UnconvertibleValue):
        return "Python cannot represent a value of the row, such as an infinite date or one before the year 1."
    return f"The database could not read the row: SQLSTATE {error.sqlstate}."
