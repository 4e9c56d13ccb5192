"""The gauges of a vector column that are read from its database: through indexes, without a scan of the table."""

from crdbvec_pipelines.database.rows.lag import measure_lag, unembedded_lag_seconds
from crdbvec_pipelines.database.rows.vector_rows import VectorRows
from crdbvec_pipelines.database.suspension import suspended_since
from crdbvec_pipelines.telemetry.metrics import Metrics

_MAX_COUNTED_ROWS = 100_000


def read_gauges(metrics: Metrics, rows: VectorRows) -> None:
    """Read the pending and failed rows and the lag, which is recorded if the entry has a target lag."""
    spec = rows.spec
    metrics.set(spec, "crdbvec_rows_pending", rows.count_unembedded(_MAX_COUNTED_ROWS))
    metrics.set(spec, "crdbvec_suspended", float(suspended_since(rows.column) is not None))
    metrics.set(spec, "crdbvec_rows_failed_recorded", rows.errors.count().total)
    if spec.updated_at is not None:
        lag = measure_lag(rows.column, with_edited=False)
        seconds = unembedded_lag_seconds(rows.column) if lag is None else lag.seconds
        metrics.set(spec, "crdbvec_oldest_pending_seconds", seconds)
