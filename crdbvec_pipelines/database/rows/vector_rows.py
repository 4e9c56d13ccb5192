"""The rows of one vector column: pages of pending rows are read, vectors are written with compare-and-set updates."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from crdbvec_pipelines.chunk_set import Embeddings
from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.chunks import statements as chunk_statements
from crdbvec_pipelines.database.chunks.table import vectors_of
from crdbvec_pipelines.database.chunks.writes import CHUNKS, ChunkClearing, ChunkReplacement
from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.database.errors import DatabaseError, DatabaseUnavailable
from crdbvec_pipelines.database.expressions import bound_flags, bound_parameters, excluded_parameters, range_parameters
from crdbvec_pipelines.database.index.statements import existing_indexes
from crdbvec_pipelines.database.limits.row_pace import pace_of
from crdbvec_pipelines.database.rows import count_statements, statements
from crdbvec_pipelines.database.rows.guarded_writes import GuardedWrites, Written
from crdbvec_pipelines.database.rows.pending_page import PendingPage, PendingRow
from crdbvec_pipelines.database.rows.predicates import Pass
from crdbvec_pipelines.database.rows.row_counts import RowCounts
from crdbvec_pipelines.database.rows.row_errors import RowErrors
from crdbvec_pipelines.database.rows.row_updates import RowUpdate, SingleStatement
from crdbvec_pipelines.database.rows.write_size import WriteSize
from crdbvec_pipelines.database.schema.column_metadata import check_model, models_of
from crdbvec_pipelines.database.statement import AsOf
from crdbvec_pipelines.keyspace import Bound, KeyRange

# Keys of rows to clear that are read at once.
_CLEAR_ROWS = 1_000
# The chunks that a row is expected to have, by which a group of rows with chunks is smaller. The size of the groups is
# then adjusted by the time that they take.
_CHUNKS_PER_ROW = 8
# More than any page contains, for callers that limit the rows only.
_NO_LIMIT_BYTES = 2**62


@dataclass(frozen=True)
class Cleared:
    """The result of clearing vectors.

    Attributes:
        rows: The number of rows whose vector was cleared.
        locked: The keys of the rows that another transaction has locked.
    """

    rows: int
    locked: Sequence[Bound] = ()


class VectorRows:
    """The rows of one vector column on an open database.

    Args:
        column: The vector column, which exists in the table.
    """

    def __init__(self, column: BoundColumn) -> None:
        self.column = column
        self.errors = RowErrors(column)
        self._database = column.database
        self._parameters = {**column.seed, **self.errors.parameters, "model": models_of(column)}
        pace = pace_of(column)
        self._vectors = GuardedWrites(lambda: self._write_size, self._replacement(), pace)
        self._clearing = GuardedWrites(lambda: self._write_size, self._clearance(), pace)

    def _replacement(self) -> RowUpdate:
        if self.spec.chunking is not None:
            return ChunkReplacement(self.column)
        column = self.column
        return SingleStatement(
            self._database, statements.write_vector(column), statements.write_unlocked_vector(column)
        )

    def _clearance(self) -> RowUpdate:
        if self.spec.chunking is not None:
            return ChunkClearing(self.column)
        column = self.column
        return SingleStatement(
            self._database, statements.clear_vector(column), statements.clear_unlocked_vector(column)
        )

    @property
    def spec(self) -> VectorColumn:
        """The configuration entry of the column."""
        return self.column.spec

    @cached_property
    def _write_size(self) -> WriteSize:
        dialect = self._database.dialect
        is_indexed = bool(existing_indexes(vectors_of(self.column)))
        start, largest = dialect.vectors.rows_per_indexed_write if is_indexed else dialect.rows_per_write
        if self.spec.chunking is not None:
            start, largest = (max(1, rows // _CHUNKS_PER_ROW) for rows in (start, largest))
        return WriteSize(start, largest)

    @property
    def all_passes(self) -> tuple[Pass, ...]:
        """The passes that together find every pending row, in the order in which they run."""
        if self.spec.fingerprint_column is None:
            return (Pass("unembedded"),)
        return (Pass("unembedded"), Pass("stale"))

    @property
    def retries(self) -> int:
        """The number of statements that the database object has sent again so far, in all threads."""
        return self._database.retries

    def has_deferred_rows(self) -> bool:
        """Return whether any failed rows are deferred, so that reading must exclude them."""
        return self.errors.count().deferred > 0

    def read(
        self,
        key_range: KeyRange,
        pass_: Pass,
        after: Bound | None,
        limit: int,
        *,
        max_bytes: int = _NO_LIMIT_BYTES,
        exclude_deferred: bool = True,
        excluded: Sequence[KeyRange] = (),
        as_of: AsOf = "now",
    ) -> PendingPage:
        """Return the next page of pending rows of a key range in key order.

        Args:
            key_range: Where to read.
            pass_: The kind of pending rows to read.
            after: The last key of the previous page; None for the first page.
            limit: The maximum number of rows.
            max_bytes: The maximum length of their inputs together. If the first input is longer, the page is empty.
            exclude_deferred: Whether to exclude deferred rows. False is faster, and correct if there are none
                (`has_deferred_rows`).
            excluded: Ranges whose rows are not read.
            as_of: The time that is read. A row that was written since then is found again, and its guarded write
                changes nothing that is not current.

        Raises:
            ColumnExchanged: The vectors of the column are those of another model since.
            DatabaseError: The page cannot be read. If `is_unreadable_row` is true for the error, one of its rows may be
                the reason.
        """
        build = statements.read_pending(
            self.column,
            pass_.kind,
            **bound_flags(key_range),
            has_after=after is not None,
            exclude_deferred=exclude_deferred,
            excluded=tuple((part.lower is not None, part.upper is not None) for part in excluded),
        )
        parameters = {**self._read_parameters(key_range, pass_, after, excluded), "limit": limit}
        found = self._database.fetch(build.as_of(as_of), {**parameters, "max_bytes": max_bytes})
        if not found:
            self.check_model()
        next_bytes = None
        if found and found[-1][-1] is None:
            next_bytes = int(found.pop()[-3])
        return PendingPage([PendingRow(row[:-3], row[-2], row[-1]) for row in found], next_bytes)

    def read_key(
        self,
        key_range: KeyRange,
        pass_: Pass,
        after: Bound | None,
        *,
        exclude_deferred: bool = True,
        excluded: Sequence[KeyRange] = (),
        as_of: AsOf = "now",
    ) -> tuple[Bound, str] | None:
        """Return the key of the first row that `read` would return, as text, and its fingerprint; None without a row.

        The text of a key can also be read if Python cannot represent its value. The server casts it back.
        """
        build = statements.read_pending_key(
            self.column,
            pass_.kind,
            **bound_flags(key_range),
            has_after=after is not None,
            exclude_deferred=exclude_deferred,
            excluded=tuple((part.lower is not None, part.upper is not None) for part in excluded),
        )
        parameters = {**self._read_parameters(key_range, pass_, after, excluded), "limit": 1}
        found = self._database.fetch(build.as_of(as_of), parameters)
        if not found:
            return None
        ((key, fingerprint),) = found
        return tuple(json.loads(key, parse_int=str, parse_float=str)), fingerprint

    def _read_parameters(
        self, key_range: KeyRange, pass_: Pass, after: Bound | None, excluded: Sequence[KeyRange]
    ) -> dict[str, object]:
        return {
            **self._parameters,
            **range_parameters(key_range),
            **excluded_parameters(excluded),
            **bound_parameters("after", after),
            "since": pass_.since,
        }

    def stored_vectors(self, fingerprints: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Return the vectors of rows with the given fingerprints, which an index on their column finds.

        Returns:
            A vector, float32 of shape (dimension,), by fingerprint; nothing for a fingerprint that no vector has.
        """
        found = self._database.fetch(
            statements.read_stored_vectors(self.column), {"fingerprints": list(dict.fromkeys(fingerprints))}
        )
        # The text of a vector is exact: the shortest decimal form that is read back as the same number.
        return {fingerprint: np.array(json.loads(text), np.float32) for fingerprint, text in found if text is not None}

    def write(self, rows: Sequence[PendingRow], vectors: Embeddings, *, one_by_one: bool = False) -> Written:
        """Write the vectors of those rows whose input is still the one that was read.

        Args:
            rows: The rows as they were read.
            vectors: The vector of each row, float32 of shape (dimension,), or its chunks, in the order of the rows.
            one_by_one: Whether rows that seem to be locked are tried again one by one, see `GuardedWrites.write`.

        Returns:
            The number of rows written, and the positions of the locked ones.
        """
        name = "vector" if self.spec.chunking is None else CHUNKS
        parameters = [
            {name: vector, "fingerprint": row.fingerprint, **self._parameters, **bound_parameters("key", row.key)}
            for row, vector in zip(rows, vectors, strict=True)
        ]
        try:
            written = self._vectors.write(parameters, one_by_one=one_by_one)
        except DatabaseError:
            # The server rejects a vector of another dimension.
            self.check_model()
            raise
        if written.rows < len(rows):
            self.check_model()
        return written

    def check_model(self) -> None:
        """Check that the vectors of the column are still those of its model.

        Raises:
            ColumnExchanged: `crdbvec migrate` has exchanged the column with that of another model.
        """
        check_model(self.column)

    def pending_fingerprints(self, rows: Sequence[PendingRow]) -> list[str | None]:
        """Return the present fingerprint of each of the given rows that is pending, None for the others."""
        parameters = [{**self._parameters, **bound_parameters("key", row.key)} for row in rows]
        found = self._database.fetch_each(statements.read_pending_fingerprint(self.column), parameters)
        return [fingerprint for (fingerprint,) in found]

    def clear(self, key_range: KeyRange, pass_: Pass) -> Cleared:
        """Clear the vectors of rows of a pass whose input has become blank."""
        if pass_.kind == "unembedded":
            return Cleared(0)
        cleared, locked, after = 0, list[Bound](), None
        while True:
            build = statements.read_clearable(
                self.column,
                **bound_flags(key_range),
                has_after=after is not None,
                only_edited=pass_.kind == "edited",
            )
            parameters = {
                **range_parameters(key_range),
                **bound_parameters("after", after),
                "since": pass_.since,
                "limit": _CLEAR_ROWS,
            }
            keys = self._database.fetch(build, parameters)
            done = self.clear_keys(keys)
            cleared += done.rows
            locked += done.locked
            if len(keys) < _CLEAR_ROWS:
                return Cleared(cleared, locked)
            after = keys[-1]

    def clear_keys(self, keys: Sequence[Bound], *, one_by_one: bool = False) -> Cleared:
        """Clear the vectors of those rows whose input is still blank; `one_by_one` as for `write`."""
        done = self._clearing.write([bound_parameters("key", key) for key in keys], one_by_one=one_by_one)
        return Cleared(done.rows, [keys[position] for position in done.locked])

    def delete_orphans(self, key_range: KeyRange) -> int:
        """Delete the chunks of a key range whose row was deleted, or has nothing to embed; return the number of rows.

        Without a foreign key, a deleted row leaves its chunks, which no search returns.
        """
        if self.spec.chunking is None:
            return 0
        deleted = 0
        read = chunk_statements.read_orphaned_chunks(self.column, **bound_flags(key_range))
        while True:
            keys = self._database.fetch(read, {**range_parameters(key_range), "limit": _CLEAR_ROWS})
            if keys:
                parameters = [bound_parameters("key", key) for key in keys]
                delete = chunk_statements.delete_chunks(self.column)
                self._database.execute_many(delete, parameters, self._database.write_settings)
            deleted += len(keys)
            if len(keys) < _CLEAR_ROWS:
                return deleted

    def accepts_vectors(self) -> bool:
        """Return whether a row that has a vector accepts it again, in a transaction that is rolled back.

        False also if there is no such row, or if all such rows are locked.
        """
        try:
            return (
                self._database.execute_rolled_back(
                    statements.rewrite_a_vector(vectors_of(self.column)), self._database.role_path
                )
                > 0
            )
        except DatabaseUnavailable:
            raise
        except DatabaseError:
            return False

    def count(self, key_range: KeyRange, as_of: AsOf = "now") -> RowCounts:
        """Count the rows of a key range at a time. The server reads the whole range."""
        errors = self.errors.count()
        statement = count_statements.count_rows(
            self.column, **bound_flags(key_range), exclude_deferred=errors.deferred > 0
        )
        counts = self._database.fetch_one(statement.as_of(as_of), {**self._parameters, **range_parameters(key_range)})
        rows, embedded, pending, blank = counts
        return RowCounts(rows, embedded, pending, blank, errors.total, errors.deferred)

    def count_unembedded(self, limit: int) -> int:
        """Count the pending rows without a vector, at most `limit`. The cost grows with them, not with the table."""
        statement = count_statements.count_unembedded(self.column, exclude_deferred=self.has_deferred_rows())
        return int(self._database.fetch_one(statement, {**self._parameters, "limit": limit})[0])

    def count_edited(self, since: datetime, limit: int) -> tuple[int, datetime | None]:
        """Count the rows updated at or after `since` whose vector is stale, through the index on `updated_at`.

        Returns:
            The number of rows, at most `limit`, and the earliest `updated_at` among them, None if there are none.
        """
        statement = count_statements.count_edited(self.column, exclude_deferred=self.has_deferred_rows())
        count, oldest = self._database.fetch_one(statement, {**self._parameters, "since": since, "limit": limit})
        return int(count), oldest

    def latest_update(self) -> tuple[datetime, datetime]:
        """Return the latest `updated_at` and the time of the server.

        A value that is later than the time of the server is returned as that time, one before 1970 as 1970.
        """
        latest, now = self._database.fetch_one(count_statements.latest_update(self.column))
        return latest, now

    def ranges_with_pending(self, ranges: Iterable[KeyRange], edited_since: datetime | None) -> Iterator[KeyRange]:
        """Yield those of the given key ranges that contain a pending row without a vector.

        Args:
            ranges: The key ranges. Each is queried when the iterator reaches it.
            edited_since: If given, ranges with a stale row updated since this time are yielded too.
        """
        exclude_deferred = self.has_deferred_rows()
        builders = [statements.has_unembedded] + ([] if edited_since is None else [statements.has_edited])
        for key_range in ranges:
            parameters = {**self._parameters, **range_parameters(key_range), "since": edited_since}
            queries = (
                build(self.column, **bound_flags(key_range), exclude_deferred=exclude_deferred) for build in builders
            )
            if any(self._database.fetch(query, parameters) for query in queries):
                yield key_range

    def locate(self, keys: Sequence[Bound], ranges: Sequence[KeyRange]) -> Counter[KeyRange]:
        """Count how many of the given keys each range contains. The ranges cover the table, in key order."""
        bounds = [key_range.lower for key_range in ranges[1:] if key_range.lower is not None]
        if not bounds or not keys:
            return Counter({ranges[0]: len(keys)} if keys else {})
        statement = statements.locate_keys(self.column.table, bounds=len(bounds), keys=len(keys))
        parameters: dict[str, object] = {}
        for prefix, key_values in (("bound", bounds), ("key", keys)):
            for position, values in enumerate(key_values):
                parameters |= bound_parameters(f"{prefix}_{position}", values)
        return Counter({ranges[place]: count for place, count in self._database.fetch(statement, parameters)})
