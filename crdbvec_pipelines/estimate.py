"""The estimate of the work and the cost of a refresh, for `crdbvec plan`. Writes nothing."""

import time
from dataclasses import dataclass

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.column import open_column
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.rows.pending_reasons import PendingReasons, pending_reasons, sample_inputs
from crdbvec_pipelines.database.rows.statements import write_vector
from crdbvec_pipelines.database.schema.prepare import required_statements
from crdbvec_pipelines.encoding.encoder import EncodedBatch, Encoder
from crdbvec_pipelines.encoding.errors import EncoderUnavailable
from crdbvec_pipelines.refresh.bisect import bisect_batch, classify_encoding_error

# The standard error of a mean over 256 rows is 1/16 of the standard deviation, and a small model encodes them on a CPU
# in seconds.
_SAMPLE_ROWS = 256
_BYTES_PER_DIMENSION = 4
# The length of the value and two int16, in pgvector and in CockroachDB.
_VECTOR_HEADER_BYTES = 8
# The 32 characters of an md5, and the length of the value.
_FINGERPRINT_BYTES = 33


@dataclass(frozen=True)
class Estimate:
    """The work and the cost of embedding a column's pending rows.

    Attributes:
        reasons: How many rows are pending, and why.
        sampled: The number of rows from which tokens and rate are estimated.
        tokens: The tokens of all pending rows; None if the model does not count tokens or no row is pending.
        rows_per_second: The rate measured by encoding the sample; None if no row is pending, or if the model is
            unavailable or rejects the whole sample.
        seconds: The duration of encoding at that rate.
        column_bytes: The size of the vectors and fingerprints of all embedded and pending rows.
        index_bytes: The approximate size of a vector index over them.
        statements: The statements that change the schema, and the one that writes a row.
    """

    reasons: PendingReasons
    sampled: int
    tokens: int | None
    rows_per_second: float | None
    seconds: float | None
    column_bytes: int
    index_bytes: int
    statements: tuple[str, ...]


def estimate_refresh(database: Database, spec: VectorColumn, encoder: Encoder) -> Estimate:
    """Return the estimate for a column: count the rows, and encode a sample of them to measure the rate.

    Raises:
        TableError: The table differs from the configuration, or cannot have the vector column.
    """
    column = open_column(database, spec, encoder)
    reasons = pending_reasons(column)
    sample = sample_inputs(column, _SAMPLE_ROWS)
    rate = _measure_rate(encoder, sample)
    tokens = encoder.count_tokens(sample)
    vectors = reasons.embedded + reasons.pending
    row_bytes = _BYTES_PER_DIMENSION * encoder.dim + _VECTOR_HEADER_BYTES
    if spec.fingerprint_column:
        row_bytes += _FINGERPRINT_BYTES
    return Estimate(
        reasons=reasons,
        sampled=len(sample),
        tokens=None if tokens is None or not sample else round(sum(tokens) / len(sample) * reasons.pending),
        rows_per_second=rate,
        seconds=reasons.distinct / rate if rate else None,
        column_bytes=vectors * row_bytes,
        index_bytes=round(vectors * database.dialect.index_bytes_per_row(encoder.dim)),
        statements=(*(statement.text for statement in required_statements(column)), write_vector(column).text),
    )


def _measure_rate(encoder: Encoder, sample: list[object]) -> float | None:
    """Return the rows encoded per second. Failed rows of the sample are bisected, as the refresh does."""

    def attempt(positions: list[int]) -> EncodedBatch:
        return encoder.encode([(position, sample[position]) for position in positions])

    try:
        # The first call loads the weights, so it is not measured.
        bisect_batch([0] if sample else [], attempt, classify_encoding_error)
        started = time.perf_counter()
        result = bisect_batch(list(range(len(sample))), attempt, classify_encoding_error)
    except EncoderUnavailable:
        return None
    return sum(len(positions) for positions, _ in result.results) / (time.perf_counter() - started) or None
