"""`crdbvec embed --follow` as a process: killed, stopped, idle, and reporting to Dagster."""

import json
import signal
from collections import Counter
from pathlib import Path

import dagster as dg
import psycopg
import pytest

from crdbvec_pipelines.config import load_config
from crdbvec_pipelines.orchestration.asset_names import asset_names
from crdbvec_pipelines.orchestration.assets.metadata import COUNTS
from tests.chaos.deployment import free_port
from tests.cli.conftest import Invoke, Json
from tests.support.models import CallLog, stub_vector
from tests.support.processes import run_crdbvec, start_crdbvec
from tests.support.projects import write_config
from tests.support.tables import INT_SHAPE, create_table, insert_rows, vectors
from tests.support.waiting import wait_until
from tests.telemetry.test_metrics import scrape

ROWS = 300
BATCH = 10
SLOW = {"model": "stub_slow", "batch_size": BATCH}
TEXTS = [f"text {number}" for number in range(ROWS)]


def check_vectors(connection: psycopg.Connection) -> None:
    """Check that every row has the vector of its text."""
    found = vectors(connection)
    expected = {INT_SHAPE.key(number): stub_vector(text).tolist() for number, text in enumerate(TEXTS)}
    assert {key: None if vector is None else vector.tolist() for key, vector in found.items()} == expected


def test_killed_process_loses_no_row_and_repeats_only_unwritten_batches(
    url: str, connection: psycopg.Connection, project: Path, calls: CallLog
) -> None:
    create_table(connection, texts=TEXTS)
    write_config(project, SLOW)
    for after in (5, 10, 15):
        process = start_crdbvec(["embed", "-F"], project, CRDBVEC_URL=url)
        wait_until(lambda: len(calls.batches()) >= after)  # noqa: B023
        process.kill()
        process.communicate()
    assert any(vector is None for vector in vectors(connection).values())
    done = run_crdbvec(["embed", "-F", "--max-idle", "0.2"], project, CRDBVEC_URL=url)
    assert done.returncode == 0, done.stderr
    check_vectors(connection)
    repeated = Counter(calls.inputs()) - Counter(TEXTS)
    # At each of the three kills, one batch was being encoded and at most one was being written.
    assert repeated.total() <= 3 * 2 * BATCH


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_stopped_process_exits_with_0_and_encodes_no_row_twice(
    url: str, connection: psycopg.Connection, project: Path, calls: CallLog, number: signal.Signals
) -> None:
    create_table(connection, texts=TEXTS)
    write_config(project, SLOW)
    process = start_crdbvec(["embed", "-F", "--json"], project, CRDBVEC_URL=url)
    wait_until(lambda: len(calls.batches()) >= 5)
    process.send_signal(number)
    stdout, stderr = process.communicate()
    assert process.returncode == 0, stderr
    assert "Following public.passage.passage_vector. Ctrl-C stops after the current batch." in stderr
    embedded = sum(vector is not None for vector in vectors(connection).values())
    assert json.loads(stdout)["rows_embedded"] == embedded == len(calls.inputs()) < ROWS
    run_crdbvec(["embed"], project, CRDBVEC_URL=url)
    check_vectors(connection)
    assert sorted(calls.inputs()) == sorted(TEXTS)


def test_metrics_are_served_and_log_lines_are_json_on_request(
    url: str, connection: psycopg.Connection, project: Path
) -> None:
    create_table(connection, texts=TEXTS[:25])
    write_config(project, {"model": "stub_hash"})
    port = free_port()
    arguments = ["--log-format", "json", "embed", "-F", "--metrics-port", str(port)]
    process = start_crdbvec(arguments, project, CRDBVEC_URL=url)

    def embedded() -> float:
        try:
            return scrape(port)["crdbvec_rows_embedded_total"]
        except OSError:
            return 0

    wait_until(lambda: embedded() == 25)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate()
    assert process.returncode == 0, stderr
    following, *logged = stderr.splitlines()
    assert following.startswith("Following public.passage.passage_vector.")
    records = [json.loads(line) for line in logged]
    assert {"level": "WARNING", "message": f"Metrics are served on port {port}."}.items() <= records[0].items()
    assert all(record.keys() >= {"time", "level", "logger", "message", "thread"} for record in records)


def test_an_invalid_use_of_these_options_is_a_usage_error(invoke: Invoke) -> None:
    for arguments, expected in (
        (["embed", "--metrics-port", "0"], "--metrics-port requires -F."),
        (["--log-format", "xml", "embed"], "'xml' is not one of 'text', 'json'"),
    ):
        result = invoke(*arguments)
        assert result.exit_code == 2
        assert expected in result.stderr


def test_idle_process_exits_and_prints_only_its_counts_on_stdout(
    url: str, connection: psycopg.Connection, project: Path, read_json: Json
) -> None:
    create_table(connection, texts=["a", "b", ""])
    write_config(project, {"model": "stub_counting"})
    report = read_json("embed", "-u", url, "-F", "--max-idle", "0.1")
    assert (report["rows_embedded"], report["rows_failed"]) == (2, 0)
    text = run_crdbvec(["embed", "-F", "--max-idle", "0.1"], project, CRDBVEC_URL=url)
    assert text.stdout.startswith("0 rows embedded in ")


def test_touched_partitions_are_reported_to_dagster_if_dagster_home_is_set(
    url: str, connection: psycopg.Connection, project: Path, calls: CallLog, invoke: Invoke
) -> None:
    create_table(connection, texts=TEXTS[:20])
    write_config(project, {"partitions": {"target_rows": 5}})
    with dg.instance_for_test(set_dagster_home=True) as instance:
        names = asset_names(load_config(project / "crdbvec.yaml"))["public.passage.passage_vector"]
        low, high = "public:passage::min::i0", "public:passage::i0::max"
        instance.add_dynamic_partitions(names.partitions, [low, high])
        result = invoke("embed", "-u", url, "-F", "--max-idle", "0.1")
        assert result.exit_code == 0, result.output
        assert instance.get_materialized_partitions(dg.AssetKey(names.asset)) == {low, high}
        key = next(number for number in range(1_000) if INT_SHAPE.key(number)[0] > 0)  # type: ignore[operator]
        insert_rows(connection, INT_SHAPE, {key + 100: "new"})
        invoke("embed", "-u", url, "-F", "--max-idle", "0.1")
        events = instance.fetch_materializations(dg.AssetKey(names.asset), limit=10).records
        latest, *earlier = [record.asset_materialization for record in events]
        assert latest is not None
        assert (latest.partition, latest.metadata["rows_embedded"].value) == (high, 1)
        assert latest.metadata.keys() >= {COUNTS, "rows_per_second", "rows_pending", "server", "dagster/column_schema"}
        assert len(earlier) == 2
