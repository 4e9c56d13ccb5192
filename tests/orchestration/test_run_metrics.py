"""Textfile, Pushgateway and spans of Dagster's runs agree with their materializations; suspending from Dagster."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from crdbvec_pipelines.telemetry.pushgateway import URL_VARIABLE
from crdbvec_pipelines.telemetry.textfile import DIRECTORY_VARIABLE
from tests.orchestration.project import BuildProject
from tests.support.pushgateway import Pushgateway, pushgateway
from tests.support.spans import numbers, recorded_spans
from tests.support.tables import INT_SHAPE, create_table, insert_rows
from tests.telemetry.test_metrics import samples


@pytest.fixture
def gateway() -> Iterator[Pushgateway]:
    with pushgateway() as server:
        yield server


def pushed(server: Pushgateway) -> dict[str, float]:
    """Return what Prometheus scrapes from the only group."""
    return samples(server.text())


def test_the_textfile_agrees_with_the_metadata_of_the_runs(
    url: str,
    connection: psycopg.Connection,
    build_project: BuildProject,
    gateway: Pushgateway,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(DIRECTORY_VARIABLE, str(tmp_path / "metrics"))
    monkeypatch.setenv(URL_VARIABLE, gateway.url)
    create_table(connection, INT_SHAPE, [f"text {number}" for number in range(30)])
    project = build_project(url, model="stub_hash")
    project.prepare()
    (partition,) = project.partitions
    project.run("encode_in_process", partition_key=partition)
    (file,) = (tmp_path / "metrics").glob("*.prom")
    found = samples(file.read_text(encoding="utf-8"))
    embedded = project.materialized()[partition]
    assert found["crdbvec_rows_embedded_total"] == embedded["rows_embedded"] == 30
    assert found["crdbvec_rows_pending"] == embedded["rows_pending"] == 0
    assert found["crdbvec_rows_failed_total"] == embedded["rows_failed"] == 0
    assert found["crdbvec_encode_seconds_count"] == embedded["batches"]
    assert found["crdbvec_statement_retries_total"] == embedded["retries"]
    assert pushed(gateway) == found
    # A tick writes its state; a further run adds to the counters.
    insert_rows(connection, INT_SHAPE, {100: "new", 101: "newer"})
    tick = project.tick()
    assert samples(file.read_text(encoding="utf-8"))["crdbvec_rows_pending"] == 2
    project.run_requests(tick)
    found = samples(file.read_text(encoding="utf-8"))
    assert pushed(gateway) == found
    assert found["crdbvec_rows_embedded_total"] == 30 + project.rows_embedded()[partition] == 32
    # Suspended from Dagster: the sensor says so, and a run fails without a further attempt.
    project.run("suspend")
    insert_rows(connection, INT_SHAPE, {200: "newest"})
    skipped = project.tick().skipped
    assert skipped is not None
    assert skipped.startswith("1 pending row in public.passage; suspended since ")
    assert samples(file.read_text(encoding="utf-8"))["crdbvec_suspended"] == 1
    failed = project.run("encode_in_process", partition_key=partition, raise_on_error=False)
    assert not failed.success
    assert connection.execute("SELECT count(*) FROM passage WHERE passage_vector IS NULL").fetchone() == (1,)
    project.run("resume")
    assert project.tick().jobs == ["passage_vector__follow"]


def test_the_spans_of_the_runs_agree_with_their_metadata(
    url: str, connection: psycopg.Connection, build_project: BuildProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_table(connection, INT_SHAPE, [f"text {number}" for number in range(30)])
    project = build_project(url, model="stub_hash", partitions={"target_rows": 10}, batch_size=5)
    project.prepare()
    with recorded_spans(monkeypatch) as recorded:
        keys = project.partitions
        assert len(keys) > 1
        for key in keys:
            project.run("encode_in_process", partition_key=key)
        insert_rows(connection, INT_SHAPE, {100: "new"})
        project.run("follow")
        project.run("maintain")
    runs = recorded.named("run")
    assert [numbers(run)["operation"] for run in runs] == [*["partitions"] * len(keys), "follow", "maintain"]
    assert len({numbers(run)["dagster_run_id"] for run in runs}) == len(runs)
    embedded = project.rows_embedded()
    partitions = [numbers(run)["rows_embedded"] for run in runs[: len(keys)]]
    # The last event of the last partition is that of the follow run.
    assert partitions[:-1] == [embedded[key] for key in keys[:-1]]
    assert sum(map(int, map(str, partitions))) == 30
    assert numbers(runs[-2])["rows_embedded"] == 1
    # The refreshes are parts of their runs, although they are made by other threads.
    assert recorded.children(runs[0]) == ["refresh"]
    assert recorded.counts()["batch"] == recorded.counts()["write"]
