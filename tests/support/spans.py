"""The spans that a test makes in its own process, by the SDK of OpenTelemetry with its exporter in memory."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


class Recorded:
    """The spans that have ended."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self._exporter = exporter

    def all(self) -> list[ReadableSpan]:
        """Return them in the order in which they ended."""
        return list(self._exporter.get_finished_spans())

    def named(self, name: str) -> list[ReadableSpan]:
        """Return those with a name, without the prefix."""
        return [span for span in self.all() if span.name == f"crdbvec.{name}"]

    def counts(self) -> Counter[str]:
        """Return how many there are of each name, without the prefix."""
        return Counter(span.name.removeprefix("crdbvec.") for span in self.all())

    def children(self, parent: ReadableSpan) -> list[str]:
        """Return the names of the direct parts of a span, without the prefix, in the order of their starts."""
        found = [span for span in self.all() if span.parent and span.parent.span_id == span_id(parent)]
        return [span.name.removeprefix("crdbvec.") for span in sorted(found, key=lambda span: span.start_time or 0)]


def span_id(span: ReadableSpan) -> int:
    """Return the id of a span."""
    context = span.get_span_context()
    assert context is not None
    return context.span_id


@contextmanager
def recorded_spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorded]:
    """Record the spans of the block. A process can set its tracer provider only once, so it is not set."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with monkeypatch.context() as patch:
        patch.setattr(trace, "get_tracer", provider.get_tracer)
        yield Recorded(exporter)


def numbers(span: ReadableSpan) -> dict[str, object]:
    """Return the attributes of a span without the prefix and without the names that all spans have."""
    names = {"table", "column", "model", "database"}
    values = {key.removeprefix("crdbvec."): value for key, value in (span.attributes or {}).items()}
    return {key: value for key, value in values.items() if key not in names}
