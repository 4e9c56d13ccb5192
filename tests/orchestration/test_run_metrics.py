"""The textfile of Dagster's runs agrees with the metadata of their materializations; suspending from Dagster."""

from pathlib import Path

import psycopg
import pytest

from crdbvec_pipelines.telemetry.textfile import DIRECTORY_VARIABLE
from tests.orchestration.project import BuildProject
from tests.support.tables import INT_SHAPE, create_table, insert_rows
from tests.telemetry.test_metrics import samples


def test_the_textfile_agrees_with_the_metadata_of_the_runs(
    url: str,
    connection: psycopg.Connection,
    build_project: BuildProject,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(DIRECTORY_VARIABLE, str(tmp_path / "metrics"))
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
    # A tick writes its state; a further run adds to the counters.
    insert_rows(connection, INT_SHAPE, {100: "new", 101: "newer"})
    tick = project.tick()
    assert samples(file.read_text(encoding="utf-8"))["crdbvec_rows_pending"] == 2
    project.run_requests(tick)
    found = samples(file.read_text(encoding="utf-8"))
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
