"""The work on one batch: encode its rows, equal inputs once, and write the vectors. Failed rows are returned."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crdbvec_pipelines.database.errors import DatabaseError
from crdbvec_pipelines.database.rows.row_errors import RowFailure
from crdbvec_pipelines.database.rows.vector_rows import PendingRow, VectorRows
from crdbvec_pipelines.database.sqlstate import FailureStatus
from crdbvec_pipelines.encoding.encoder import EncodedBatch
from crdbvec_pipelines.errors import CrdbvecError
from crdbvec_pipelines.refresh.bisect import (
    BisectResult,
    bisect_batch,
    classify_database_error,
    classify_encoding_error,
)
from crdbvec_pipelines.refresh.cache import CachedVector, VectorCache


@dataclass(frozen=True)
class EncodedRows:
    """The result of encoding the rows of a batch.

    Attributes:
        rows: The rows that have a vector, in the order of the batch.
        vectors: Their vectors, float32 of shape (len(rows), dimension).
        truncated: How many of their inputs were longer than the model's window.
        deduplicated: How many were given the vector of an equal input instead of being encoded.
        failures: The rows that the model rejected.
    """

    rows: list[PendingRow]
    vectors: NDArray[np.float32]
    truncated: int
    deduplicated: int
    failures: list[RowFailure]


def encode_rows(
    encode: Callable[[Sequence[tuple[object, object]]], EncodedBatch], rows: Sequence[PendingRow], cache: VectorCache
) -> EncodedRows:
    """Encode rows, equal inputs once, and separate the rows that the model rejects.

    Args:
        encode: Encodes (key, input) pairs.
        rows: The rows of the batch.
        cache: The vectors of recently encoded inputs; the new ones are added.

    Raises:
        EncoderUnavailable: The model is unavailable.
        ModelError: The model cannot be used as configured.
    """
    first_positions = {row.fingerprint: position for position, row in reversed(list(enumerate(rows)))}
    cached = {fingerprint: found for fingerprint in first_positions if (found := cache.get(fingerprint)) is not None}
    positions = sorted(position for fingerprint, position in first_positions.items() if fingerprint not in cached)

    def attempt(part: list[int]) -> EncodedBatch:
        return encode([(_wrapper_key(rows[position].key), rows[position].input) for position in part])

    result = (
        bisect_batch(positions, attempt, classify_encoding_error) if positions else BisectResult[EncodedBatch]([], [])
    )
    for part, encoded in result.results:
        for position, vector, truncated in zip(part, encoded.vectors, encoded.truncated, strict=True):
            entry = CachedVector(vector, bool(truncated))
            cached[rows[position].fingerprint] = entry
            cache.put(rows[position].fingerprint, entry)
    encoded_rows = [row for row in rows if row.fingerprint in cached]
    vectors = [cached[row.fingerprint].vector for row in encoded_rows]
    encoded_inputs = len(positions) - len(result.failures)
    errors = {rows[position].fingerprint: (error, status) for position, error, status in result.failures}
    return EncodedRows(
        rows=encoded_rows,
        vectors=np.stack(vectors) if vectors else np.empty((0, 0), np.float32),
        truncated=sum(cached[row.fingerprint].truncated for row in encoded_rows),
        deduplicated=len(encoded_rows) - encoded_inputs,
        failures=[_row_failure(row, *errors[row.fingerprint]) for row in rows if row.fingerprint in errors],
    )


@dataclass(frozen=True)
class WrittenRows:
    """The result of writing the vectors of rows.

    Attributes:
        embedded: The number of rows that were given a vector.
        locked: The positions of the rows that another transaction has locked.
        failures: The rows that the database rejected.
    """

    embedded: int
    locked: list[int]
    failures: list[RowFailure]


def write_rows(
    table: VectorRows, rows: Sequence[PendingRow], vectors: NDArray[np.float32], *, one_by_one: bool = False
) -> WrittenRows:
    """Write vectors, and separate the rows that the database rejects and those that are locked.

    Args:
        table: The vector column's rows.
        rows: The rows as they were read.
        vectors: Their vectors, float32 of shape (len(rows), dimension).
        one_by_one: As for `VectorRows.write`.

    Raises:
        DatabaseError: The database is unavailable, or rejects the statement for every row.
    """
    if not rows:
        return WrittenRows(0, [], [])
    result = bisect_batch(
        list(range(len(rows))),
        lambda part: table.write([rows[position] for position in part], vectors[part], one_by_one=one_by_one),
        classify_database_error,
    )
    return WrittenRows(
        sum(written.rows for _, written in result.results),
        [part[position] for part, written in result.results for position in written.locked],
        [_row_failure(rows[position], error, status) for position, error, status in result.failures],
    )


def _row_failure(row: PendingRow, error: CrdbvecError, status: FailureStatus) -> RowFailure:
    return RowFailure(row.key, row.fingerprint, status, _reason(error))


def _reason(error: CrdbvecError) -> str:
    """Return the reason without the row's text. A database message may quote it, so only the SQLSTATE is kept."""
    if isinstance(error, DatabaseError):
        return f"The database rejected the row with SQLSTATE {error.sqlstate}."
    return str(error)


def _wrapper_key(key: tuple[object, ...]) -> object:
    """Return a key as model wrappers receive it: the value itself if the key has one column."""
    return key[0] if len(key) == 1 else key
