"""The metrics of runs in a Pushgateway: added up, one group per column and machine, never the reason of a failure."""

import logging
from concurrent.futures import ThreadPoolExecutor

import pytest

from crdbvec_pipelines.refresh.report import RefreshReport
from crdbvec_pipelines.telemetry.pushgateway import INSTANCE_VARIABLE, URL_VARIABLE
from crdbvec_pipelines.telemetry.runs import run_metrics
from tests.support.pushgateway import Pushgateway, pushgateway
from tests.support.tables import column
from tests.telemetry.test_metrics import samples

SPEC = column(model="stub_hash")


def run(retries: int, pending: float | None = None, output: str = "passage_vector") -> None:
    """Do what a run does, with counts in place of its work."""
    spec = column(model="stub_hash", output=output)
    with run_metrics(spec) as metrics:
        assert metrics is not None
        metrics.add_report(spec, RefreshReport(retries=retries))
        metrics.set(spec, "crdbvec_rows_pending", pending)


def pushed(server: Pushgateway, output: str = "passage_vector") -> dict[str, float]:
    """Return the samples of the only group of a column."""
    (text,) = (text for group, text in server.groups.items() if dict(group)["output"] == output)
    return samples(text)


def test_runs_add_to_the_counters_of_their_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    with pushgateway() as server:
        monkeypatch.setenv(URL_VARIABLE, server.url)
        monkeypatch.setenv(INSTANCE_VARIABLE, "host-1")
        run(2, pending=7)
        run(3)
        run(10, pending=1, output="other_vector")
        found = pushed(server)
        assert found["crdbvec_statement_retries_total"] == 5
        # A gauge that a run does not set stays.
        assert found["crdbvec_rows_pending"] == 7
        assert pushed(server, "other_vector")["crdbvec_statement_retries_total"] == 10
        monkeypatch.setenv(INSTANCE_VARIABLE, "host-2")
        run(1)
        assert [dict(group) for group in server.groups] == [
            {"job": "crdbvec", "instance": host, **labels, "output": output}
            for labels in ({"database": "", "table": "public.passage", "model": "stub_hash"},)
            for host, output in (("host-1", "passage_vector"), ("host-1", "other_vector"), ("host-2", "passage_vector"))
        ]


def test_runs_that_end_at_the_same_time_are_all_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    with pushgateway() as server:
        monkeypatch.setenv(URL_VARIABLE, server.url)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(run, [1] * 16))
        assert pushed(server)["crdbvec_statement_retries_total"] == 16


@pytest.mark.parametrize("fault", ["rejected", "unavailable", "invalid-url"])
def test_a_push_that_fails_is_one_warning_without_the_url(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    # Whatever a library that other tests use has done to the loggers of this process.
    logger = logging.getLogger("crdbvec_pipelines.telemetry.pushgateway")
    for name, value in (("disabled", False), ("propagate", False), ("handlers", [caplog.handler])):
        monkeypatch.setattr(logger, name, value)
    caplog.set_level(logging.WARNING, logger.name)
    with pushgateway() as server:
        server.status = 500
        url = server.url.replace("//", "//user:secret@") if fault != "invalid-url" else "secret://["
        monkeypatch.setenv(URL_VARIABLE, url)
        if fault == "rejected":
            run(1)
    if fault != "rejected":
        run(1)
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "The metrics of public.passage.passage_vector were not pushed" in record.getMessage()
    assert "secret" not in caplog.text


def test_the_user_of_the_url_is_authenticated(monkeypatch: pytest.MonkeyPatch) -> None:
    with pushgateway() as server:
        monkeypatch.setenv(URL_VARIABLE, server.url.replace("//", "//user:secret@"))
        run(1)
        assert server.authorizations == ["Basic dXNlcjpzZWNyZXQ="]
