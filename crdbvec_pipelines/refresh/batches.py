"""The work on one batch: encode its rows, equal inputs once, and write the vectors. Failed rows are returned."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from crdbvec_pipelines.chunk_set import Embedding, Embeddings
from crdbvec_pipelines.database.errors import DatabaseError
from crdbvec_pipelines.database.rows.pending_page import PendingRow
from crdbvec_pipelines.database.rows.row_errors import RowFailure
from crdbvec_pipelines.database.rows.vector_rows import VectorRows
from crdbvec_pipelines.database.sqlstate import FailureStatus
from crdbvec_pipelines.encoding.encoder import EncodedBatch
from crdbvec_pipelines.encoding.errors import EncodingError
from crdbvec_pipelines.encoding.picture_summary import NO_PICTURES, PictureSummary
from crdbvec_pipelines.errors import CrdbvecError
from crdbvec_pipelines.refresh.bisect import BisectResult, PartSize, bisect_batch, classify_database_error, encode_parts
from crdbvec_pipelines.refresh.cache import CachedVector, VectorCache
from crdbvec_pipelines.refresh.model_check import FailureRun, KnownInput, Pair
from crdbvec_pipelines.refresh.stored_vectors import StoredVectors
from crdbvec_pipelines.refresh.table_check import check_table_accepts


@dataclass(frozen=True)
class EncodedRows:
    """The result of encoding the rows of a batch.

    Attributes:
        rows: The rows that have a vector, in the order of the batch.
        vectors: Their vectors, or their chunks.
        truncated: How many of their inputs were longer than the model's window.
        unreadable: How many of their inputs consist of unknown tokens to a larger share than accepted.
        deduplicated: How many were given the vector of an equal input instead of being encoded.
        failures: The rows that the model rejected.
        tokens: How many tokens the model has read; 0 if it does not report it.
        seconds: How long the encoding took.
        pictures: The pictures among the inputs, with those that the model rejected.
    """

    rows: list[PendingRow]
    vectors: list[Embedding]
    truncated: int
    unreadable: int
    deduplicated: int
    failures: list[RowFailure]
    tokens: int
    seconds: float
    pictures: PictureSummary = NO_PICTURES


def encode_rows(
    encode: Callable[[Sequence[tuple[object, object]]], EncodedBatch],
    rows: Sequence[PendingRow],
    cache: VectorCache,
    *,
    stored: StoredVectors | None = None,
    max_unknown: float = 1.0,
    size: PartSize | None = None,
    known_input: KnownInput | None = None,
) -> EncodedRows:
    """Encode rows, equal inputs once, and separate the rows that the model rejects.

    Args:
        encode: Encodes (key, input) pairs.
        rows: The rows of the batch.
        cache: The vectors of recently encoded inputs; the new ones are added.
        stored: The vectors that are already in the column. Their texts are not counted as truncated or unreadable.
        max_unknown: The share of unknown tokens up to which an input counts as readable.
        size: The number of rows to try together after failures, which the batches of a refresh share.
        known_input: An input that the model has encoded, with which it is checked when rows fail one after the other.

    Raises:
        EncoderUnavailable: The model is unavailable, or has stopped working.
        ModelError: The model cannot be used as configured.
    """
    first_positions = {row.fingerprint: position for position, row in reversed(list(enumerate(rows)))}
    cached = {fingerprint: found for fingerprint in first_positions if (found := cache.get(fingerprint)) is not None}
    if stored is not None:
        missing = [fingerprint for fingerprint in first_positions if fingerprint not in cached]
        for fingerprint, vector in stored.find(missing).items():
            cached[fingerprint] = CachedVector(vector, truncated=False)
            cache.put(fingerprint, cached[fingerprint])
    positions = sorted(position for fingerprint, position in first_positions.items() if fingerprint not in cached)

    def pairs(part: list[int]) -> list[Pair]:
        return [(_wrapper_key(rows[position].key), rows[position].input) for position in part]

    started = time.perf_counter()
    failure_run = FailureRun(known_input or KnownInput(), encode)
    result = encode_parts(
        positions,
        lambda part: encode(pairs(part)),
        size,
        on_encoded=lambda part: failure_run.succeeded(pairs(part)),
        on_failed=failure_run.failed,
    )
    failure_run.finish()
    seconds = time.perf_counter() - started
    if stored is not None:
        stored.encoded(len(positions), seconds)
    for part, encoded in result.results:
        shares = np.zeros(len(part), np.float32) if encoded.unknown_shares is None else encoded.unknown_shares
        results = zip(part, encoded.embeddings, encoded.truncated, shares, strict=True)
        for position, embedding, truncated, share in results:
            entry = CachedVector(embedding, bool(truncated), float(share))
            cached[rows[position].fingerprint] = entry
            cache.put(rows[position].fingerprint, entry)
    encoded_rows = [row for row in rows if row.fingerprint in cached]
    vectors = [cached[row.fingerprint].vector for row in encoded_rows]
    encoded_inputs = len(positions) - len(result.failures)
    errors = {rows[position].fingerprint: (error, status) for position, error, status in result.failures}
    return EncodedRows(
        rows=encoded_rows,
        vectors=vectors,
        truncated=sum(cached[row.fingerprint].truncated for row in encoded_rows),
        unreadable=sum(cached[row.fingerprint].unknown_share > max_unknown for row in encoded_rows),
        deduplicated=len(encoded_rows) - encoded_inputs,
        failures=[_row_failure(row, *errors[row.fingerprint]) for row in rows if row.fingerprint in errors],
        tokens=sum(encoded.tokens for _, encoded in result.results),
        seconds=seconds,
        pictures=_pictures(rows, result),
    )


def _pictures(rows: Sequence[PendingRow], result: BisectResult[EncodedBatch]) -> PictureSummary:
    """Return the pictures among the encoded inputs; a binary input counts as one, also if nothing was encoded."""
    found = [encoded.pictures for _, encoded in result.results if encoded.pictures is not None]
    summary = sum(found, NO_PICTURES)
    if not found and not isinstance(rows[0].input, (bytes, memoryview)):
        return summary
    return summary.with_rejected(
        error.reason.value for _, error, _ in result.failures if isinstance(error, EncodingError)
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
    table: VectorRows,
    rows: Sequence[PendingRow],
    vectors: Embeddings,
    *,
    one_by_one: bool = False,
    has_written: bool = False,
    size: PartSize | None = None,
) -> WrittenRows:
    """Write vectors, and separate the rows that the database rejects and those that are locked.

    Args:
        table: The vector column's rows.
        rows: The rows as they were read.
        vectors: Their vectors, or their chunks.
        one_by_one: As for `VectorRows.write`.
        has_written: Whether vectors were written to the table before, so that a failure is that of a row.
        size: The number of rows to try together after failures, which the batches of a refresh share.

    Raises:
        TableRejectsVectors: The table rejects the vectors of all rows, so none of them is a failed row.
        DatabaseError: The database is unavailable, or rejects the statement for every row.
    """
    if not rows:
        return WrittenRows(0, [], [])
    result = bisect_batch(
        list(range(len(rows))),
        lambda part: table.write(
            [rows[position] for position in part], [vectors[position] for position in part], one_by_one=one_by_one
        ),
        classify_database_error,
        size,
    )
    if not (has_written or result.results):
        check_table_accepts(table, [error for _, error, _ in result.failures])
    return WrittenRows(
        sum(written.rows for _, written in result.results),
        [part[position] for part, written in result.results for position in written.locked],
        [_row_failure(rows[position], error, status) for position, error, status in result.failures],
    )


def _row_failure(row: PendingRow, error: CrdbvecError, status: FailureStatus) -> RowFailure:
    return RowFailure(row.key, row.fingerprint, status, _reason(error))


def _reason(error: CrdbvecError) -> str:
    """Return the reason without the row's text, which the message of a database or of a model wrapper may quote."""
    if isinstance(error, DatabaseError):
        return f"The database rejected the row with SQLSTATE {error.sqlstate}."
    return error.stored_text if isinstance(error, EncodingError) else str(error)


def _wrapper_key(key: tuple[object, ...]) -> object:
    """Return a key as model wrappers receive it: the value itself if the key has one column."""
    return key[0] if len(key) == 1 else key
