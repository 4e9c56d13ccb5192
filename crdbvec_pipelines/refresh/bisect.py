"""Bisecting a failed batch: halve it until single failed rows remain, and keep the results of the other rows.

This module decides which errors of a model are failures of a row; `database.sqlstate` decides it for errors of the
database. An unavailable model or database is never a row failure, nor is a statement that fails for every row.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from crdbvec_pipelines.database.errors import DatabaseError, DatabaseUnavailable
from crdbvec_pipelines.database.sqlstate import FailureStatus, row_failure_status
from crdbvec_pipelines.encoding.errors import EncoderUnavailable, EncodingError, InputTooLong
from crdbvec_pipelines.errors import CrdbvecError

T = TypeVar("T")


@dataclass(frozen=True)
class BisectResult(Generic[T]):
    """The results and the failures of a batch.

    Attributes:
        results: For each part that succeeded: the positions of its rows in the batch, and the result.
        failures: For each failed row: its position in the batch, the error, and the status to record.
    """

    results: list[tuple[list[int], T]]
    failures: list[tuple[int, CrdbvecError, FailureStatus]]


def bisect_batch(
    positions: list[int],
    attempt: Callable[[list[int]], T],
    classify: Callable[[CrdbvecError], FailureStatus | None],
) -> BisectResult[T]:
    """Try a batch, then its halves, down to single rows.

    Args:
        positions: The positions of the batch's rows.
        attempt: Does the work for the rows at the given positions.
        classify: Returns the status of an error that a row may have caused; None for an error that ends the work.

    Raises:
        CrdbvecError: `attempt` raised an error for which `classify` returned None.
    """
    try:
        return BisectResult([(positions, attempt(positions))], [])
    except CrdbvecError as error:
        status = classify(error)
        if status is None:
            raise
        if len(positions) == 1:
            return BisectResult([], [(positions[0], error, status)])
    middle = len(positions) // 2
    first = bisect_batch(positions[:middle], attempt, classify)
    second = bisect_batch(positions[middle:], attempt, classify)
    return BisectResult(first.results + second.results, first.failures + second.failures)


def classify_encoding_error(error: CrdbvecError) -> FailureStatus | None:
    """Return the status of a model's error that a row may have caused; None for an error that ends the work."""
    if not isinstance(error, EncodingError) or isinstance(error, EncoderUnavailable):
        return None
    return "too_long" if isinstance(error, InputTooLong) else "rejected"


def classify_database_error(error: CrdbvecError) -> FailureStatus | None:
    """Return the status of a database error that a row may have caused; None for an error that ends the work."""
    if not isinstance(error, DatabaseError) or isinstance(error, DatabaseUnavailable):
        return None
    return row_failure_status(error.sqlstate)
