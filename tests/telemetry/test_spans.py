"""Spans of OpenTelemetry: what is a part of what, with which numbers, and without text of a row."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import psycopg
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.encoding.encoder import EncodedBatch
from crdbvec_pipelines.encoding.errors import EncoderUnavailable
from crdbvec_pipelines.refresh.spans import RunSpan
from tests.chaos.deployment import free_port
from tests.support.http_servers import serving
from tests.support.models import stub
from tests.support.processes import ROOT, run_crdbvec, run_python
from tests.support.projects import write_config
from tests.support.spans import numbers, recorded_spans, span_id
from tests.support.tables import INT_SHAPE, column, create_table
from tests.support.work import embed

SECRET = "text-of-a-row"


def test_spans_show_how_each_batch_was_read_encoded_and_written(
    database: Database, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_table(connection, INT_SHAPE, [f"{SECRET} {number}" for number in range(25)])
    spec = column(model="stub_hash")
    with recorded_spans(monkeypatch) as recorded:
        with RunSpan(spec, "embed"):
            report = embed(database, spec, batch_size=10)
            # Nothing is pending, so this refresh has no span.
            embed(database, spec, batch_size=10)
        (run,), (refresh,) = recorded.named("run"), recorded.named("refresh")
        assert recorded.children(run) == ["refresh"]
        assert recorded.children(refresh) == ["batch"] * 3
        assert [recorded.children(batch) for batch in recorded.named("batch")] == [["read", "encode", "write"]] * 3
        sums = {
            "rows_read": report.rows_read,
            "rows_embedded": report.rows_embedded,
            "rows_failed": 0,
            "tokens": report.tokens_encoded,
            "bytes": sum(len(f"{SECRET} {number}") for number in range(25)),
            "retries": report.retries,
        }
        assert report.rows_embedded == 25
        assert numbers(refresh) == sums
        assert numbers(run) == {**sums, "operation": "embed"}
        assert [numbers(batch)["rows_embedded"] for batch in recorded.named("batch")] == [10, 10, 5]
        assert sum(int(str(numbers(read)["rows_read"])) for read in recorded.named("read")) == 25
        assert sum(int(str(numbers(encode)["rows_encoded"])) for encode in recorded.named("encode")) == 25
        assert sum(int(str(numbers(write)["rows_embedded"])) for write in recorded.named("write")) == 25
        for span in recorded.all():
            assert span.status.is_unset
            assert span.attributes is not None
            assert (span.attributes["crdbvec.table"], span.attributes["crdbvec.column"]) == (
                "public.passage",
                "passage_vector",
            )
            assert SECRET not in span.to_json()
            assert span.start_time is not None
            assert span.end_time is not None
            assert span.start_time <= span.end_time


class Unavailable:
    """A model that encodes one batch, and then fails with an error that quotes a row."""

    def __init__(self) -> None:
        self._calls = 0

    def encode(self, batch: Sequence[tuple[object, object]], batch_index: int = 0) -> EncodedBatch:
        self._calls += 1
        if self._calls > 1:
            raise EncoderUnavailable(f"no answer for {batch[0][1]}")
        return stub("stub_hash").encode(batch, batch_index)


def test_an_error_is_its_class_without_its_message(
    database: Database, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_table(connection, INT_SHAPE, [f"{SECRET} {number}" for number in range(25)])
    spec = column(model="stub_hash")
    with recorded_spans(monkeypatch) as recorded:
        with pytest.raises(EncoderUnavailable), RunSpan(spec, "embed"):
            embed(database, spec, Unavailable(), batch_size=10)
        failed = {span.name for span in recorded.all() if not span.status.is_ok and not span.status.is_unset}
        assert failed == {"crdbvec.run", "crdbvec.refresh", "crdbvec.batch", "crdbvec.encode"}
        for span in recorded.all():
            assert SECRET not in span.to_json()
            assert span.events == ()
            assert span.status.description is None
            if span.name in failed and not span.status.is_unset:
                assert (span.attributes or {})["error.type"] == "EncoderUnavailable"
        # Each part that was recorded belongs to a recorded span.
        known = {span_id(span) for span in recorded.all()}
        assert {span.parent.span_id for span in recorded.all() if span.parent} <= known


def test_a_read_that_fails_is_a_failed_batch(
    database: Database, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_table(connection, INT_SHAPE, [SECRET])

    def fail(*_: object, **__: object) -> None:
        raise EncoderUnavailable(SECRET)

    monkeypatch.setattr("crdbvec_pipelines.database.rows.vector_rows.VectorRows.read", fail)
    with recorded_spans(monkeypatch) as recorded:
        with pytest.raises(EncoderUnavailable):
            embed(database, column(model="stub_hash"))
        assert recorded.counts() == {"read": 1, "batch": 1, "refresh": 1}
        assert {(span.attributes or {})["error.type"] for span in recorded.all()} == {"EncoderUnavailable"}
        assert all(SECRET not in span.to_json() for span in recorded.all())


class Collector(HTTPServer):
    """A receiver of OTLP by HTTP."""

    def __init__(self) -> None:
        self.received: list[tuple[str, ExportTraceServiceRequest]] = []
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Collector)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((self.path, ExportTraceServiceRequest.FromString(body)))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Write nothing."""


@contextmanager
def collector() -> Iterator[Collector]:
    server = Collector()
    with serving(server):
        yield server


@pytest.mark.parametrize("arguments", [["embed"], ["embed", "-F", "--max-idle", "0"]], ids=" ".join)
def test_the_command_line_exports_its_spans_before_it_ends(
    url: str, connection: psycopg.Connection, tmp_path: Path, arguments: list[str]
) -> None:
    create_table(connection, INT_SHAPE, [f"{SECRET} {number}" for number in range(25)])
    write_config(tmp_path, {"model": "stub_hash", "batch_size": 10})
    with collector() as server:
        endpoint = f"http://127.0.0.1:{server.server_port}"
        done = run_crdbvec(arguments, tmp_path, CRDBVEC_URL=url, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)
    assert done.returncode == 0, done.stderr
    assert {path for path, _ in server.received} == {"/v1/traces"}
    resources = [spans for _, request in server.received for spans in request.resource_spans]
    spans = [span for resource in resources for scope in resource.scope_spans for span in scope.spans]
    named = [span.name.removeprefix("crdbvec.") for span in spans]
    assert {name: named.count(name) for name in named} == {
        **({} if "-F" in arguments else {"run": 1}),
        "refresh": 1,
        "batch": 3,
        "read": 3,
        "encode": 3,
        "write": 3,
    }
    attributes = {each.key: each.value.string_value for each in resources[0].resource.attributes}
    assert attributes["service.name"] == "crdbvec_pipelines"
    # Neither the text of a row, nor the URL of the database.
    everything = str(server.received)
    assert SECRET not in everything
    assert url not in everything


def test_an_unavailable_collector_does_not_fail_the_command(
    url: str, connection: psycopg.Connection, tmp_path: Path
) -> None:
    create_table(connection, INT_SHAPE, ["one"])
    write_config(tmp_path, {"model": "stub_hash"})
    endpoint = f"http://127.0.0.1:{free_port()}"
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
    done = run_crdbvec(["embed"], tmp_path, CRDBVEC_URL=url, **variables)
    assert done.returncode == 0, done.stderr
    assert connection.execute("SELECT count(passage_vector) FROM passage").fetchone() == (1,)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "False"),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, "False"),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "otlp"}, "False"),
        ({"OTEL_TRACES_EXPORTER": "console"}, "True"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1/v1/traces"}, "True"),
    ],
    ids=["nothing", "none", "disabled", "console", "endpoint"],
)
def test_nothing_is_imported_unless_the_environment_asks_for_it(variables: dict[str, str], expected: str) -> None:
    code = (
        "from crdbvec_pipelines.telemetry.tracing import _start; import sys; _start(); "
        "print('opentelemetry.sdk.trace' in sys.modules)"
    )
    assert run_python(code, ROOT, **variables).strip() == expected


@pytest.mark.parametrize(
    ("setup", "expected"),
    [
        ("import sys; sys.modules['opentelemetry'] = None", "Run `pip install 'crdbvec-pipelines[opentelemetry]'`"),
        ("import os; os.environ['OTEL_TRACES_EXPORTER'] = 'zipkin'", "Use otlp with http/protobuf, console, or none."),
    ],
    ids=["not-installed", "unknown-exporter"],
)
def test_what_prevents_an_export_is_one_warning(setup: str, expected: str) -> None:
    code = (
        f"{setup}; import logging, sys; logging.basicConfig(stream=sys.stdout); "
        "from crdbvec_pipelines.telemetry.tracing import _start; _start(); _start()"
    )
    output = run_python(code, ROOT, OTEL_TRACES_EXPORTER="otlp")
    assert expected in output
    assert output.count("WARNING") == 1


def test_the_page_documents_each_span_with_its_attributes(
    database: Database, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(crdbvec\.[a-z]+)` \| .* \| (.*) \|$", page, re.MULTILINE)
    documented = {name: set(re.findall(r"`([a-z_]+)`", attributes)) for name, attributes in rows}
    # "The sums" are those that the run names.
    sums = documented["crdbvec.run"] - {"operation", "dagster_run_id"}
    documented["crdbvec.refresh"] |= sums
    create_table(connection, INT_SHAPE, ["one"])
    spec = column(model="stub_hash")
    with recorded_spans(monkeypatch) as recorded:
        with RunSpan(spec, "embed") as run:
            run.set(dagster_run_id="id")
            embed(database, spec)
        assert {span.name: set(numbers(span)) for span in recorded.all()} == documented
