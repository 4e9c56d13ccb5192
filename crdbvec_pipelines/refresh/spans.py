"""Spans of OpenTelemetry: a run, its refreshes, their batches, and how each batch was read, encoded and written.

The package is never imported here. Spans are made if the process has imported it: `telemetry.tracing` does so if the
environment asks for traces, and a program that uses this project as a library may have done it. They contain names and
numbers, but no text of a row, no key, and no message of an error, which can quote a row.
"""

import sys
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Self

from crdbvec_pipelines.config import VectorColumn

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span

RUN, REFRESH, BATCH, READ, ENCODE, WRITE = (
    "crdbvec.run",
    "crdbvec.refresh",
    "crdbvec.batch",
    "crdbvec.read",
    "crdbvec.encode",
    "crdbvec.write",
)
"""The names of the spans. docs/monitoring.md lists them with their attributes."""

_PREFIX = "crdbvec."
_run: ContextVar["WorkSpan | None"] = ContextVar("crdbvec_run", default=None)


class WorkSpan:
    """One piece of work as a span; without OpenTelemetry, an object that does nothing. Thread-safe.

    As a context manager it is the current span of the thread, and ends with the block.

    Args:
        name: Its name.
        labels: Attributes that its children have, too.
        parent: The work that it is a part of.
        started_ns: When it started, as `time.time_ns`; None for now.
    """

    def __init__(
        self,
        name: str,
        labels: dict[str, str],
        parent: "WorkSpan | None" = None,
        started_ns: int | None = None,
    ) -> None:
        self._labels = labels
        self._parent = parent
        self._open: set[WorkSpan] = set()
        self._sums: dict[str, int] = {}
        self._lock = threading.Lock()
        self._entered: Any = None
        self._span: Span | None = None
        api = _api()
        if api is None or (parent is not None and parent._span is None):
            return
        context: Context | None = None
        if parent is not None and parent._span is not None:
            context = api.set_span_in_context(parent._span)
            parent._open.add(self)
        span = api.get_tracer("crdbvec_pipelines").start_span(name, context, start_time=started_ns)
        span.set_attributes({_PREFIX + key: value for key, value in labels.items()})
        self._span = span

    def child(self, name: str, started_ns: int | None = None) -> "WorkSpan":
        """Return the span of a part of this work."""
        return self if self._span is None else WorkSpan(name, self._labels, self, started_ns)

    def set(self, **values: str | int) -> Self:
        """Set attributes."""
        if self._span is not None:
            self._span.set_attributes({_PREFIX + key: value for key, value in values.items()})
        return self

    def count(self, **counts: int) -> None:
        """Add counts to the attributes of this work, and to those of the work that it is a part of."""
        if self._span is None:
            return
        with self._lock:
            for key, count in counts.items():
                self._sums[key] = self._sums.get(key, 0) + count
            self.set(**self._sums)
        if self._parent is not None:
            self._parent.count(**counts)

    def fail(self, error: BaseException) -> None:
        """Give this work, and that which it is a part of, the status of an error, with the class of the error only."""
        if self._span is None:
            return
        trace = _api()
        self._span.set_attribute("error.type", type(error).__name__)
        self._span.set_status(trace.Status(trace.StatusCode.ERROR))
        if self._parent is not None:
            self._parent.fail(error)

    def end(self) -> None:
        """End the span, and before it those of its parts that have not ended."""
        if self._span is None:
            return
        while self._open:
            self._open.pop().end()
        self._span.end()
        if self._parent is not None:
            self._parent._open.discard(self)

    def __enter__(self) -> Self:
        if self._span is not None:
            self._entered = _api().use_span(self._span, record_exception=False, set_status_on_exception=False)
            self._entered.__enter__()
        return self

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if self._entered is not None:
            self._entered.__exit__(None, None, None)
        if error is not None:
            self.fail(error)
        self.end()


class RunSpan(WorkSpan):
    """The span of a run, to which the refreshes within the block belong, also those in threads with its context.

    Args:
        spec: The vector column.
        operation: What the run does, such as `embed`.
    """

    def __init__(self, spec: VectorColumn, operation: str) -> None:
        super().__init__(RUN, _labels(spec))
        self.set(operation=operation)

    def __enter__(self) -> Self:
        self._token = _run.set(self)
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        _run.reset(self._token)
        super().__exit__(*error)


class RefreshSpan(WorkSpan):
    """The span of a refresh. It is only recorded if there was a batch or an error: a follower looks for rows often."""

    def __init__(self, spec: VectorColumn) -> None:
        super().__init__(REFRESH, _labels(spec), _run.get())
        self._has_parts = False

    def batch(self, index: int, rows: int, size: int, read_since_ns: int) -> WorkSpan:
        """Return the span of a batch that has been read."""
        self._has_parts = True
        batch = self.child(BATCH, read_since_ns).set(batch=index)
        batch.child(READ, read_since_ns).set(rows_read=rows, bytes=size).end()
        return batch

    def read_failed(self, read_since_ns: int, error: BaseException) -> None:
        """Record that the reading of a batch has failed."""
        batch = self.child(BATCH, read_since_ns)
        batch.child(READ, read_since_ns).fail(error)
        batch.end()

    def fail(self, error: BaseException) -> None:
        """As `WorkSpan.fail`."""
        self._has_parts = True
        super().fail(error)

    def end(self) -> None:
        """As `WorkSpan.end`. A span that is not ended is not recorded."""
        if self._has_parts:
            super().end()
        elif self._parent is not None:
            self._parent._open.discard(self)


def _labels(spec: VectorColumn) -> dict[str, str]:
    labels = {"table": str(spec.table), "column": spec.output, "model": spec.model}
    return labels if spec.database is None else {"database": spec.database, **labels}


def _api() -> Any:
    return sys.modules.get("opentelemetry.trace")
