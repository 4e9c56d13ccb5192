"""The alerts of the example project: a failed run, and a check that fails, are each reported once."""

import importlib
import importlib.util
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType

import dagster as dg
import psycopg
import pytest

from tests.documentation.documents import blocks
from tests.orchestration.evaluations import evaluate
from tests.orchestration.project import BuildProject, Project
from tests.support.processes import ROOT
from tests.support.tables import INT_SHAPE, create_table, insert_rows

pytestmark = pytest.mark.usefixtures("calls")

ALERTS = ROOT / "examples" / "dg_project" / "src" / "articles" / "defs" / "alerts" / "alerts.py"


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The messages that a channel has received."""
    received: list[str] = []

    class Channel(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with HTTPServer(("127.0.0.1", 0), Channel) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("ALERTS_URL", f"http://127.0.0.1:{server.server_port}")
        yield received
        server.shutdown()


@pytest.fixture
def alerts() -> ModuleType:
    spec = importlib.util.spec_from_file_location("alerts", ALERTS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_definitions_of_the_page_load_with_the_file_next_to_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (block,) = [each for each in blocks(ROOT / "docs" / "dagster.md") if each.text.startswith("import alerts\n")]
    entry = {"table": "article", "input": "body", "output": "body_vector", "model": "color_histogram"}
    (tmp_path / "crdbvec.yaml").write_text(json.dumps({"vectors": [entry]}), encoding="utf-8")
    (tmp_path / "definitions_of_the_page.py").write_text(block.text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend(ALERTS.parent)
    definitions = importlib.import_module("definitions_of_the_page").defs
    sensors = {sensor.name for sensor in definitions.get_repository_def().sensor_defs}
    assert {"body_vector__follow_sensor", "vector_run_failed", "vector_check_failed"} <= sensors


@pytest.fixture
def project(url: str, connection: psycopg.Connection, build_project: BuildProject) -> Project:
    create_table(connection, INT_SHAPE, ["a", "b"])
    return build_project(url)


def test_check_is_reported_once_until_it_passes(
    alerts: ModuleType, project: Project, connection: psycopg.Connection, messages: list[str]
) -> None:
    alerts.CHECKS[:] = [dg.AssetCheckKey(project.asset, "coverage")]
    cursor: str | None = None

    def tick() -> None:
        nonlocal cursor
        context = dg.build_sensor_context(instance=project.instance, cursor=cursor)
        alerts.vector_check_failed(context)
        cursor = context.cursor

    tick()
    project.run("follow")
    evaluate(project, "coverage")
    tick()
    assert messages == []
    insert_rows(connection, INT_SHAPE, {2: "c"})
    evaluate(project, "coverage")
    tick()
    tick()
    assert messages == ["The check public/passage/passage_vector:coverage fails."]
    for change in (lambda: project.run("follow"), lambda: insert_rows(connection, INT_SHAPE, {3: "d"})):
        change()
        evaluate(project, "coverage")
        tick()
    assert len(messages) == 2


def test_failed_run_is_reported_with_its_column(
    alerts: ModuleType, project: Project, connection: psycopg.Connection, messages: list[str]
) -> None:
    connection.execute("DROP TABLE passage")
    job = project.definitions.resolve_job_def("passage_vector__follow")
    failed = job.execute_in_process(instance=project.instance, raise_on_error=False)
    assert not failed.success
    (event,) = [event for event in failed.all_events if event.event_type == dg.DagsterEventType.PIPELINE_FAILURE]
    context = dg.build_run_status_sensor_context(
        sensor_name="vector_run_failed",
        dagster_instance=project.instance,
        dagster_run=failed.dagster_run,
        dagster_event=event,
    )
    alerts.vector_run_failed(context.for_run_failure())
    assert messages == [
        f"public__passage__passage_vector: the run {failed.run_id} of passage_vector__follow has failed."
    ]
