"""Finding the bad rows of a batch: halve what was refused until they are alone, and let the others through.

Here is also which refusal is a row's fault. A model or a database that does not answer is not, nor is a statement that
would fail for any row.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from crdbvec_pipelines.database.errors import DatabaseError, DatabaseUnavailable
from crdbvec_pipelines.database.row_errors import ErrorClass, RowFailure
from crdbvec_pipelines.database.rows import PendingRow, VectorRows
from crdbvec_pipelines.encoding.encoder import EncodedBatch
from crdbvec_pipelines.encoding.errors import EncoderUnavailable, EncodingError, InputTooLong
from crdbvec_pipelines.errors import CrdbvecError
from crdbvec_pipelines.reuse import KnownVector, VectorCache

T = TypeVar("T")

# By SQLSTATE: data and integrity errors and what a user's own trigger raises, for which the standard leaves the classes
# from 5 to 9 and from I to Z (5 and XX are the servers'); then limits; then locks and time-outs.
_ROW_FAULTS: Sequence[tuple[re.Pattern[str], ErrorClass]] = (
    (re.compile(r"(09|21|22|23|27|44)...|(?!XX)[6-9I-Z]...."), "poison"),
    (re.compile(r"54...|08P01"), "oversize"),
    (re.compile(r"55...|57014"), "transient"),
)


@dataclass(frozen=True)
class Apart(Generic[T]):
    """What became of a batch: the results of its good parts, in order, and its bad rows."""

    results: list[tuple[list[int], T]]
    """For each part that went through: the places of its rows in the batch, and the result."""
    refused: list[tuple[int, CrdbvecError, ErrorClass]]
    """For each bad row: its place in the batch, the error, and its class."""


def take_apart(
    places: list[int],
    attempt: Callable[[list[int]], T],
    fault: Callable[[CrdbvecError], ErrorClass | None],
) -> Apart[T]:
    """Tries a batch, then its halves, down to single rows.

    Args:
        places: the places of the batch's rows.
        attempt: does the work for the rows at some places.
        fault: the class of an error that a row may be to blame for; None for one that ends the work.

    Raises:
        CrdbvecError: what `attempt` raised, where no row is to blame.
    """
    try:
        return Apart([(places, attempt(places))], [])
    except CrdbvecError as error:
        error_class = fault(error)
        if error_class is None:
            raise
        if len(places) == 1:
            return Apart([], [(places[0], error, error_class)])
    middle = len(places) // 2
    first = take_apart(places[:middle], attempt, fault)
    second = take_apart(places[middle:], attempt, fault)
    return Apart(first.results + second.results, first.refused + second.refused)


@dataclass(frozen=True)
class Encoded:
    """What became of a batch that was encoded.

    Attributes:
        rows: the rows that have a vector, in the batch's order.
        vectors: their vectors, float32, one row each.
        truncated: how many of their inputs were longer than the model's window.
        reused: how many took the vector of an equal input instead of being encoded.
        failures: the rows that the model refused.
    """

    rows: list[PendingRow]
    vectors: NDArray[np.float32]
    truncated: int
    reused: int
    failures: list[RowFailure]


def encode_apart(
    encode: Callable[[Sequence[tuple[object, object]]], EncodedBatch], rows: Sequence[PendingRow], cache: VectorCache
) -> Encoded:
    """Encodes rows, equal inputs once, setting apart those that the model refuses.

    Raises:
        EncoderUnavailable: the model does not answer.
        ModelError: the model cannot be used as configured.
    """
    first = {row.fingerprint: place for place, row in reversed(list(enumerate(rows)))}
    known = {fingerprint: found for fingerprint in first if (found := cache.get(fingerprint)) is not None}
    places = sorted(place for fingerprint, place in first.items() if fingerprint not in known)

    def attempt(some: list[int]) -> EncodedBatch:
        return encode([(_single(rows[place].key), rows[place].input) for place in some])

    apart = take_apart(places, attempt, encoding_fault) if places else Apart[EncodedBatch]([], [])
    for some, encoded in apart.results:
        for place, vector, truncated in zip(some, encoded.vectors, encoded.truncated, strict=True):
            fresh = KnownVector(vector, bool(truncated))
            known[rows[place].fingerprint] = fresh
            cache.put(rows[place].fingerprint, fresh)
    good = [row for row in rows if row.fingerprint in known]
    vectors = [known[row.fingerprint].vector for row in good]
    reasons = {rows[place].fingerprint: (error, error_class) for place, error, error_class in apart.refused}
    return Encoded(
        good,
        np.stack(vectors) if vectors else np.empty((0, 0), np.float32),
        sum(known[row.fingerprint].truncated for row in good),
        len(good) - (len(places) - len(apart.refused)),
        [_failure(row, *reasons[row.fingerprint]) for row in rows if row.fingerprint in reasons],
    )


def write_apart(
    table: VectorRows, rows: Sequence[PendingRow], vectors: NDArray[np.float32]
) -> tuple[int, list[RowFailure]]:
    """Writes vectors, setting apart the rows that the database refuses.

    Returns:
        How many rows took their vector, and the failures.

    Raises:
        DatabaseError: the database does not answer, or refused the statement whatever the row.
    """
    if not rows:
        return 0, []
    apart = take_apart(
        list(range(len(rows))),
        lambda places: table.write([rows[place] for place in places], vectors[places]),
        _database_fault,
    )
    failures = [_failure(rows[place], error, error_class) for place, error, error_class in apart.refused]
    return sum(written for _, written in apart.results), failures


def _failure(row: PendingRow, error: CrdbvecError, error_class: ErrorClass) -> RowFailure:
    return RowFailure(row.key, row.fingerprint, error_class, _reason(error))


def _reason(error: CrdbvecError) -> str:
    """Why, without the row's text: a database's message may quote it, so only the SQLSTATE is kept of that."""
    if isinstance(error, DatabaseError):
        return f"The database refused the row with SQLSTATE {error.sqlstate}."
    return str(error)


def encoding_fault(error: CrdbvecError) -> ErrorClass | None:
    """The class of a model's refusal that a row may be to blame for; None for one that ends the work."""
    if not isinstance(error, EncodingError) or isinstance(error, EncoderUnavailable):
        return None
    return "oversize" if isinstance(error, InputTooLong) else "poison"


def _database_fault(error: CrdbvecError) -> ErrorClass | None:
    if not isinstance(error, DatabaseError) or isinstance(error, DatabaseUnavailable):
        return None
    state = error.sqlstate or ""
    return next((error_class for pattern, error_class in _ROW_FAULTS if pattern.fullmatch(state)), None)


def _single(key: tuple[object, ...]) -> object:
    """A key as wrappers know it: the value itself where the key has one column."""
    return key[0] if len(key) == 1 else key
