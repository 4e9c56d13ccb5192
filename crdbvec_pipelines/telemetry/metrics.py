"""The metrics of one process, in a registry of `prometheus_client`, which is imported when metrics are asked for."""

import time
from collections.abc import Callable

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.refresh.report import RefreshReport, WrittenBatch
from crdbvec_pipelines.telemetry.catalog import LABELS, METRICS


class Metrics:
    """The metrics of the vector columns that a process works on. Thread-safe.

    Attributes:
        registry: The registry, for an HTTP server or a textfile.
    """

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self.registry: CollectorRegistry = CollectorRegistry()
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._histograms: dict[str, Histogram] = {}
        for metric in METRICS:
            given = (metric.name, metric.meaning, LABELS)
            if metric.kind == "counter":
                self._counters[metric.name] = Counter(*given, registry=self.registry)
            elif metric.kind == "gauge":
                self._gauges[metric.name] = Gauge(*given, registry=self.registry)
            else:
                self._histograms[metric.name] = Histogram(*given, registry=self.registry, buckets=metric.buckets)

    def text(self) -> str:
        """Return the metrics in Prometheus's text format."""
        from prometheus_client import generate_latest

        return generate_latest(self.registry).decode()

    def start(self, spec: VectorColumn) -> None:
        """Show the counters of a vector column as 0, so that their first increase is visible."""
        for counter in self._counters.values():
            counter.labels(*_labels(spec))
        for histogram in self._histograms.values():
            histogram.labels(*_labels(spec))
        if spec.target_lag_seconds is not None:
            self.set(spec, "crdbvec_target_lag_seconds", spec.target_lag_seconds)

    def on_batch(self, spec: VectorColumn) -> Callable[[WrittenBatch], None]:
        """Return a callback for the batches of a vector column."""

        def add(batch: WrittenBatch) -> None:
            self._add(spec, "crdbvec_rows_embedded_total", batch.embedded)
            self._add(spec, "crdbvec_rows_failed_total", len(batch.failed))
            self._add(spec, "crdbvec_input_bytes_total", batch.input_bytes)
            self._add(spec, "crdbvec_tokens_total", batch.tokens)
            self._add(spec, "crdbvec_cost_total", spec.price_of(batch.tokens) or 0.0)
            if not batch.is_late:
                self._histograms["crdbvec_encode_seconds"].labels(*_labels(spec)).observe(batch.encode_seconds)
                self._histograms["crdbvec_write_seconds"].labels(*_labels(spec)).observe(batch.write_seconds)

        return add

    def add_report(self, spec: VectorColumn, report: RefreshReport) -> None:
        """Add what is only known of a whole refresh: the statements that were sent again, and its end."""
        self._add(spec, "crdbvec_statement_retries_total", report.retries)
        self.round_ended(spec)

    def round_ended(self, spec: VectorColumn) -> None:
        """Record that a round, tick or run has ended now."""
        self.set(spec, "crdbvec_last_round_timestamp_seconds", time.time())

    def set(self, spec: VectorColumn, name: str, value: float | None) -> None:
        """Set a gauge of a vector column; None leaves it as it is."""
        if value is not None:
            self._gauges[name].labels(*_labels(spec)).set(value)

    def _add(self, spec: VectorColumn, name: str, value: float) -> None:
        self._counters[name].labels(*_labels(spec)).inc(value)


def labels_of(spec: VectorColumn) -> dict[str, str]:
    """Return the labels of a vector column."""
    return dict(zip(LABELS, _labels(spec), strict=True))


def _labels(spec: VectorColumn) -> tuple[str, str, str, str]:
    return spec.database or "", str(spec.table), spec.output, spec.model
