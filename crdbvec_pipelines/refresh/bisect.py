"""Bisecting a failed batch: try smaller parts until single failed rows remain, and keep the results of the other rows.

Halving again and again would hand a table with 3% failed rows to the model seven times, because most parts of a large
size contain a failed row. So a failed part is tried again in a fraction of its size, and the size grows while parts
succeed; the next batch starts with the size that suited the last one.

This module decides which errors of a model are failures of a row; `database.sqlstate` decides it for errors of the
database. An unavailable model or database is never a row failure, nor is a statement that fails for every row.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from crdbvec_pipelines.database.errors import DatabaseError, DatabaseUnavailable
from crdbvec_pipelines.database.sqlstate import FailureStatus, row_failure_status
from crdbvec_pipelines.encoding.encoder import EncodedBatch
from crdbvec_pipelines.encoding.errors import EncoderUnavailable, EncodingError, InputTooLong, RowsRejected
from crdbvec_pipelines.encoding.reasons import Reason
from crdbvec_pipelines.errors import CrdbvecError

T = TypeVar("T")

# Simulated with batches of 1,024 rows of which 0.1% to 50% fail, 2.0 to 2.4 times the rows are handed over, in about as
# many calls as with halving, which hands over 2.6 to 10.7 times the rows.
_SHRINK_FACTOR = 8
_GROWTH_FACTOR = 2


@dataclass(frozen=True)
class BisectResult(Generic[T]):
    """The results and the failures of a batch.

    Attributes:
        results: For each part that succeeded: the positions of its rows in the batch, and the result.
        failures: For each failed row: its position in the batch, the error, and the status to record.
    """

    results: list[tuple[list[int], T]]
    failures: list[tuple[int, CrdbvecError, FailureStatus]]


class PartSize:
    """The number of rows to try together, which batches of the same work share. Without failures, a whole batch."""

    def __init__(self) -> None:
        self._rows: int | None = None

    def rows(self, remaining: int) -> int:
        """Return the number of rows of the next part of a batch with `remaining` untried rows."""
        return remaining if self._rows is None else min(self._rows, remaining)

    def failed(self, rows: int) -> None:
        """Shrink the size after a part of several rows has failed."""
        self._rows = max(1, rows // _SHRINK_FACTOR)

    def succeeded(self, rows: int) -> None:
        """Let the size grow after a part has succeeded."""
        if self._rows is not None:
            self._rows = max(self._rows, rows * _GROWTH_FACTOR)


def bisect_batch(
    positions: list[int],
    attempt: Callable[[list[int]], T],
    classify: Callable[[CrdbvecError], FailureStatus | None],
    size: PartSize | None = None,
) -> BisectResult[T]:
    """Try a batch, then smaller parts of it, down to single rows. No row is tried again after it has succeeded.

    Args:
        positions: The positions of the batch's rows.
        attempt: Does the work for the rows at the given positions.
        classify: Returns the status of an error that a row may have caused; None for an error that ends the work.
        size: The size of the first part, which is adjusted; a whole batch by default.

    Raises:
        CrdbvecError: `attempt` raised an error for which `classify` returned None.
    """
    size = size or PartSize()
    done = BisectResult[T]([], [])
    start = 0
    while start < len(positions):
        part = positions[start : start + size.rows(len(positions) - start)]
        try:
            done.results.append((part, attempt(part)))
        except CrdbvecError as error:
            status = classify(error)
            if status is None:
                raise
            if len(part) > 1:
                size.failed(len(part))
                continue
            done.failures.append((part[0], error, status))
        else:
            size.succeeded(len(part))
        start += len(part)
    return done


def encode_parts(
    positions: list[int],
    encode: Callable[[list[int]], EncodedBatch],
    size: PartSize | None = None,
    *,
    on_encoded: Callable[[list[int]], None] = lambda _: None,
    on_failed: Callable[[int], None] = lambda _: None,
) -> BisectResult[EncodedBatch]:
    """Encode a batch as `bisect_batch` does; the rows that the model names as failed are not searched for.

    Args:
        positions: The positions of the batch's rows.
        encode: Encodes the rows at the given positions.
        size: As for `bisect_batch`.
        on_encoded: Called with the positions of rows that were encoded.
        on_failed: Called with a number of rows that failed while no other row was encoded. It may raise an error, which
            ends the work.

    Raises:
        EncoderUnavailable: The model is unavailable.
        ModelError: The model cannot be used as configured.
    """
    named: dict[int, tuple[int, CrdbvecError, FailureStatus]] = {}

    def attempt(part: list[int]) -> tuple[list[int], EncodedBatch | None]:
        kept = [position for position in part if position not in named]
        while kept:
            try:
                encoded: EncodedBatch | None = encode(kept)
            except RowsRejected as error:
                failures = {kept[place]: failure for place, failure in error.failures.items()}
                if not failures:
                    raise
                for position, failure in failures.items():
                    named[position] = (position, failure, classify_encoding_error(failure) or "rejected")
                kept = [position for position in kept if position not in failures]
                encoded = error.encoded
                if encoded is None:
                    continue
            on_encoded(kept)
            return kept, encoded
        on_failed(len(part))
        return kept, None

    def attempt_noted(part: list[int]) -> tuple[list[int], EncodedBatch | None]:
        try:
            return attempt(part)
        except EncodingError as error:
            if len(part) == 1 and classify_encoding_error(error) is not None:
                on_failed(1)
            raise

    found = bisect_batch(positions, attempt_noted, classify_encoding_error, size)
    results = [(kept, encoded) for _, (kept, encoded) in found.results if encoded is not None]
    return BisectResult(results, [*found.failures, *named.values()])


def classify_encoding_error(error: CrdbvecError) -> FailureStatus | None:
    """Return the status of a model's error that a row may have caused; None for an error that ends the work."""
    if not isinstance(error, EncodingError) or isinstance(error, EncoderUnavailable):
        return None
    return "too_long" if isinstance(error, InputTooLong) or error.reason is Reason.TOO_LONG else "rejected"


def classify_database_error(error: CrdbvecError) -> FailureStatus | None:
    """Return the status of a database error that a row may have caused; None for an error that ends the work."""
    if not isinstance(error, DatabaseError) or isinstance(error, DatabaseUnavailable):
        return None
    return row_failure_status(error.sqlstate)
