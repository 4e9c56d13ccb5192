"""OpenTelemetry: the exporter of spans, configured by the standard variables, and flushed at the end of each run.

Nothing is imported unless the environment names an exporter or an endpoint. A program that has set a tracer provider of
its own, such as `opentelemetry-instrument`, keeps it. What the spans are is in `refresh.spans`.
"""

import contextlib
import logging
import os
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.refresh.spans import RunSpan

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

logger = logging.getLogger(__name__)

EXPORTER_VARIABLE = "OTEL_TRACES_EXPORTER"
_ENDPOINT_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOL_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_SERVICE = "crdbvec_pipelines"
# A collector that is unavailable must not hold up the end of a run; the spans that it does not get are lost.
_FLUSH_SECONDS = 5.0

_lock = threading.Lock()
_has_started = False


@contextlib.contextmanager
def tracing() -> Iterator[None]:
    """Export the spans of the block if the environment asks for it; they are sent before the block ends."""
    _start()
    try:
        yield
    finally:
        _flush()


@contextlib.contextmanager
def traced_run(spec: VectorColumn, operation: str, run_id: str | None = None) -> Iterator[None]:
    """Make the block the span of a run.

    Args:
        spec: The vector column.
        operation: What the run does, such as `embed`.
        run_id: The id of the run in Dagster.
    """
    with tracing(), RunSpan(spec, operation) as span:
        if run_id is not None:
            span.set(dagster_run_id=run_id)
        yield


def _is_asked_for() -> bool:
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporter = os.environ.get(EXPORTER_VARIABLE, "").strip()
    if exporter:
        return exporter != "none"
    return any(os.environ.get(variable) for variable in _ENDPOINT_VARIABLES)


def _start() -> None:
    """Set the tracer provider of this process, once."""
    global _has_started
    with _lock:
        if _has_started or not _is_asked_for():
            return
        _has_started = True
        try:
            from opentelemetry import trace
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor

            if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
                return
            exporter = _exporter()
        except ImportError as error:
            logger.warning(
                "No spans are exported, because the package %s is not installed. "
                "Run `pip install 'crdbvec-pipelines[opentelemetry]'`, or unset the variables OTEL_*.",
                error.name,
            )
            return
        if exporter is None:
            return
        # Flushed by each run; at the exit of the interpreter, an unavailable collector would hold up the process.
        provider = TracerProvider(resource=Resource.create(_resource()), shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(exporter))
        trace.set_tracer_provider(provider)


def _resource() -> dict[str, str]:
    is_named = os.environ.get("OTEL_SERVICE_NAME") or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    return {} if is_named else {"service.name": _SERVICE}


def _exporter() -> "SpanExporter | None":
    name = os.environ.get(EXPORTER_VARIABLE, "").strip() or "otlp"
    if name == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        # stdout is for results.
        return ConsoleSpanExporter(out=sys.stderr)
    protocol = next((found for variable in _PROTOCOL_VARIABLES if (found := os.environ.get(variable))), "http/protobuf")
    if name != "otlp" or protocol != "http/protobuf":
        logger.warning(
            "No spans are exported: %s=%s with the protocol %s is not supported. Use otlp with http/protobuf, console, "
            "or none.",
            EXPORTER_VARIABLE,
            name,
            protocol,
        )
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()


def _flush() -> None:
    """Send the spans that have ended, with a time limit."""
    trace = sys.modules.get("opentelemetry.trace")
    flush = None if trace is None else getattr(trace.get_tracer_provider(), "force_flush", None)
    if flush is None:
        return
    # The exporter repeats a failed request for longer, and its own time limit does not apply to all of them.
    thread = threading.Thread(target=flush, name="crdbvec-spans", daemon=True)
    thread.start()
    thread.join(_FLUSH_SECONDS)
