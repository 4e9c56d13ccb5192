"""What a refresh would do and cost, before any of it is done. Writes nothing."""

import time
from dataclasses import dataclass

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.introspect import check_column, read_table
from crdbvec_pipelines.database.plan import PendingReasons, pending_reasons, sample_inputs
from crdbvec_pipelines.database.row_statements import write_vector
from crdbvec_pipelines.database.schema import needed_statements
from crdbvec_pipelines.encoding.encoder import EncodedBatch, Encoder
from crdbvec_pipelines.encoding.errors import EncoderUnavailable
from crdbvec_pipelines.isolation import encoding_fault, take_apart

_SAMPLE = 256
# float4 each, and pgvector's and CockroachDB's header of two int16 and the value's length.
_VECTOR_HEADER_BYTES = 8
_FINGERPRINT_BYTES = 33


@dataclass(frozen=True)
class Plan:
    """What embedding a column's pending rows would mean.

    Attributes:
        reasons: how many rows are pending, and why.
        sampled: rows that the estimates below come from.
        tokens: tokens of all pending rows, from the sample; None where the model does not count tokens.
        rows_per_second: measured by encoding the sample here and now; None if nothing is pending, or the model does not
            answer or refuses all.
        seconds: how long encoding would take at that rate.
        column_bytes: what the vectors and fingerprints of all embedded and pending rows take.
        index_bytes: about what a vector index over them takes.
        statements: the statements that would change the schema, and the one that writes a row.
    """

    reasons: PendingReasons
    sampled: int
    tokens: int | None
    rows_per_second: float | None
    seconds: float | None
    column_bytes: int
    index_bytes: int
    statements: tuple[str, ...]


def make_plan(database: Database, spec: VectorColumn, encoder: Encoder) -> Plan:
    """Plans a refresh: counts, samples, and encodes the sample to measure the rate.

    Raises:
        TableError: the table cannot carry the column.
    """
    table = read_table(database, spec.table)
    check_column(table, spec, encoder.dim)
    reasons = pending_reasons(database, table, spec, encoder.model_id)
    sample = sample_inputs(database, table, spec, encoder.model_id, _SAMPLE)
    rate = _measured_rate(encoder, sample)
    tokens = encoder.count_tokens(sample)
    vectors = reasons.embedded + reasons.pending
    per_row = 4 * encoder.dim + _VECTOR_HEADER_BYTES + (_FINGERPRINT_BYTES if spec.fingerprint_column else 0)
    return Plan(
        reasons,
        len(sample),
        None if tokens is None or not sample else round(sum(tokens) / len(sample) * reasons.pending),
        rate,
        reasons.distinct / rate if rate else None,
        vectors * per_row,
        round(vectors * database.dialect.index_bytes_per_row(encoder.dim)),
        (
            *(statement.text for statement in needed_statements(database, table, spec, encoder.dim)),
            write_vector(table, spec).text,
        ),
    )


def _measured_rate(encoder: Encoder, sample: list[object]) -> float | None:
    """Rows a second; a bad row in the sample costs the time that it will cost the refresh."""

    def attempt(places: list[int]) -> EncodedBatch:
        return encoder.encode([(place, sample[place]) for place in places])

    try:
        # The first call of all loads the weights.
        take_apart([0] if sample else [], attempt, encoding_fault)
        started = time.perf_counter()
        apart = take_apart(list(range(len(sample))), attempt, encoding_fault)
    except EncoderUnavailable:
        return None
    return sum(len(places) for places, _ in apart.results) / (time.perf_counter() - started) or None
