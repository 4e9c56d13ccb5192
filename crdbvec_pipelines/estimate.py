"""The estimate of the work and the cost of a refresh, for `crdbvec plan`. Writes nothing."""

import time
from dataclasses import dataclass

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.chunks.statements import replace_chunks
from crdbvec_pipelines.database.column import BoundColumn, open_column
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.rows.pending_reasons import PendingReasons, pending_reasons, sample_inputs
from crdbvec_pipelines.database.rows.statements import write_vector
from crdbvec_pipelines.database.schema.prepare import required_statements
from crdbvec_pipelines.database.statement import Statement
from crdbvec_pipelines.encoding.encoder import EncodedBatch, Encoder
from crdbvec_pipelines.encoding.errors import EncoderUnavailable
from crdbvec_pipelines.refresh.bisect import encode_parts
from crdbvec_pipelines.refresh.input_sample import SAMPLE_ROWS, measure_inputs

_BYTES_PER_DIMENSION = 4
# The length of the value and two int16, in pgvector and in CockroachDB.
_VECTOR_HEADER_BYTES = 8
# Number, start and end of a chunk, the key of its row, and the entry of the primary key.
_CHUNK_BYTES = 64
# The 32 characters of an md5, and the length of the value.
_FINGERPRINT_BYTES = 33


@dataclass(frozen=True)
class Estimate:
    """The work and the cost of embedding a column's pending rows.

    Attributes:
        reasons: How many rows are pending, and why.
        sampled: The number of rows from which tokens and rate are estimated.
        tokens: The tokens of all pending rows; None if the model does not count tokens or no row is pending. For a
            model behind an API they are those that it has reported for the sample.
        tokens_encoded: How many of these fit into the model's window; None if that is not known. The rest of a longer
            text is not in its vector.
        truncated: The share of the sample's texts that are longer than the window; None if that is not known.
        unknown_tokens: The share of the encoded tokens that the model does not know; None if that is not known.
        cost: The price of the tokens that the model will read, at `price_per_million_tokens`; equal inputs are encoded
            once. None if the price or the tokens are not known.
        unreadable: The share of the sample's texts of whose tokens the model does not know a larger share than
            `checks.unknown_tokens`; None if that is not known.
        rows_per_second: The rate measured by encoding the sample; None if no row is pending, or if the model is
            unavailable or rejects the whole sample.
        seconds: The duration of encoding at that rate.
        column_bytes: The size of the vectors and fingerprints of all embedded and pending rows.
        chunks_per_row: The mean number of chunks of a row of the sample; None for an entry with one vector a row.
        index_bytes: The approximate size of a vector index over them.
        statements: The statements that change the schema, and the one that writes a row.
    """

    reasons: PendingReasons
    sampled: int
    tokens: int | None
    tokens_encoded: int | None
    truncated: float | None
    unknown_tokens: float | None
    unreadable: float | None
    cost: float | None
    rows_per_second: float | None
    seconds: float | None
    column_bytes: int
    chunks_per_row: float | None
    index_bytes: int
    statements: tuple[str, ...]


def estimate_refresh(database: Database, spec: VectorColumn, encoder: Encoder) -> Estimate:
    """Return the estimate for a column: count the rows, and encode a sample of them to measure the rate.

    Raises:
        TableError: The table differs from the configuration, or cannot have the vector column.
    """
    column = open_column(database, spec, encoder)
    reasons = pending_reasons(column)
    sample = sample_inputs(column, SAMPLE_ROWS)
    rate, chunks_per_row, read_tokens = _measure_rate(encoder, sample)
    measured = measure_inputs(encoder, sample, spec.checks.unknown_tokens) if sample else None
    tokens = measured.tokens if measured else read_tokens
    paid_tokens = _total(tokens if read_tokens is None else read_tokens, reasons.distinct)
    rows = reasons.embedded + reasons.pending + reasons.deferred
    vectors = round(rows * chunks_per_row)
    row_bytes = _BYTES_PER_DIMENSION * encoder.dim + _VECTOR_HEADER_BYTES
    if spec.chunking is not None:
        row_bytes += _CHUNK_BYTES
    fingerprint_bytes = rows * _FINGERPRINT_BYTES if spec.fingerprint_column else 0
    return Estimate(
        reasons=reasons,
        sampled=len(sample),
        tokens=_total(tokens, reasons.pending),
        tokens_encoded=_total(measured.encoded_tokens, reasons.pending) if measured else None,
        truncated=measured.truncated if measured else None,
        unknown_tokens=measured.unknown_tokens if measured else None,
        unreadable=measured.unreadable if measured else None,
        cost=None if paid_tokens is None else spec.price_of(paid_tokens),
        rows_per_second=rate,
        seconds=reasons.distinct / rate if rate else None,
        column_bytes=vectors * row_bytes + fingerprint_bytes,
        chunks_per_row=None if spec.chunking is None else chunks_per_row,
        index_bytes=round(vectors * database.dialect.index_bytes_per_row(encoder.dim)),
        statements=(*(statement.text for statement in required_statements(column)), _write(column).text),
    )


def _write(column: BoundColumn) -> Statement:
    """Return the statement that writes a row; that of a row with one chunk."""
    return write_vector(column) if column.spec.chunking is None else replace_chunks(column, chunks=1)


def _total(mean: float | None, rows: int) -> int | None:
    return None if mean is None else round(mean * rows)


def _measure_rate(encoder: Encoder, sample: list[object]) -> tuple[float | None, float, float | None]:
    """Return the rows encoded per second, the vectors per row, and the mean tokens of a row that the model reports.

    Failed rows of the sample are bisected, as the refresh does.
    """

    def attempt(positions: list[int]) -> EncodedBatch:
        return encoder.encode([(position, sample[position]) for position in positions])

    try:
        # The first call loads the weights, so it is not measured.
        encode_parts([0] if sample else [], attempt)
        started = time.perf_counter()
        result = encode_parts(list(range(len(sample))), attempt)
    except EncoderUnavailable:
        return None, 1.0, None
    seconds = time.perf_counter() - started
    rows = sum(len(positions) for positions, _ in result.results)
    chunks = [len(each.spans) for _, encoded in result.results for each in encoded.chunks or ()]
    tokens = sum(encoded.tokens for _, encoded in result.results)
    return rows / seconds or None, sum(chunks) / len(chunks) if chunks else 1.0, tokens / rows if tokens else None
