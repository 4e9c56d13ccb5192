"""The metrics: names, kinds and meanings. docs/monitoring.md, the alert rules and the dashboard use these names."""

from dataclasses import dataclass
from typing import Literal

LABELS = ("database", "table", "output", "model")
"""The labels of every metric. They identify a vector column, and contain no text of a row."""

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: Its name in Prometheus.
        kind: Its kind.
        meaning: What it is, as a sentence.
        buckets: The upper bounds of a histogram, in seconds.
    """

    name: str
    kind: Kind
    meaning: str
    buckets: tuple[float, ...] = ()


# From the batch of a small model on a GPU to that of a large one on a CPU; a write that takes more than 0.1 s is slow.
_ENCODE_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_WRITE_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

METRICS = (
    Metric("crdbvec_rows_embedded_total", "counter", "Rows that were given a vector."),
    Metric("crdbvec_rows_failed_total", "counter", "Rows that the model or the database rejected."),
    Metric("crdbvec_input_bytes_total", "counter", "Bytes of the inputs that were read."),
    Metric("crdbvec_tokens_total", "counter", "Tokens that the model has read, if it counts them."),
    Metric("crdbvec_cost_total", "counter", "The price of these tokens by `price_per_million_tokens`."),
    Metric("crdbvec_statement_retries_total", "counter", "Statements that were sent again after an error."),
    Metric("crdbvec_encode_seconds", "histogram", "Seconds in which a batch was encoded.", _ENCODE_BUCKETS),
    Metric("crdbvec_write_seconds", "histogram", "Seconds in which a batch was written.", _WRITE_BUCKETS),
    Metric("crdbvec_rows_pending", "gauge", "Pending rows that the pending index finds, counted up to 100,000."),
    Metric("crdbvec_rows_failed_recorded", "gauge", "Failed rows that are recorded."),
    Metric("crdbvec_oldest_pending_seconds", "gauge", "The age of the oldest pending row; needs `updated_at`."),
    Metric("crdbvec_target_lag_seconds", "gauge", "The `target_lag` of the entry."),
    Metric("crdbvec_recall", "gauge", "The recall that the last check `recall_at_k` measured, from 0 to 1."),
    Metric("crdbvec_suspended", "gauge", "1 while the vector column is suspended, otherwise 0."),
    Metric(
        "crdbvec_last_round_timestamp_seconds",
        "gauge",
        "When the last round of a follower, tick of the sensor, or run has ended; its age is the tick age.",
    ),
)
