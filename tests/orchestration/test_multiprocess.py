"""A run as Dagster's launcher starts it: one process with one step, and worker processes for a wrapper in Python."""

import json
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest

from crdbvec_pipelines.bundled import bundled
from tests.support.models import CallLog
from tests.support.processes import run
from tests.support.projects import write_config
from tests.support.servers import Server
from tests.support.tables import UUID_SHAPE, create_table, vectors

PARTITION = "public:passage::min::max"


def test_run_is_one_process_with_two_workers(
    postgres: Server,
    url: str,
    connection: psycopg.Connection,
    calls: CallLog,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    create_table(connection, UUID_SHAPE, [f"text {number}" for number in range(200)])
    config = write_config(tmp_path, {"workers": 2, "batch_size": 20})
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text(bundled("dagster.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    with postgres.new_database() as storage:
        variables = {
            "CRDBVEC_CONFIG": str(config),
            "CRDBVEC_URL": url,
            "DAGSTER_HOME": str(home),
            "DAGSTER_PG_URL": storage,
        }
        monkeypatch.setenv("DAGSTER_PG_URL", storage)
        with dg.DagsterInstance.from_config(str(home)) as instance:
            instance.add_dynamic_partitions("crdbvec/public/passage/passage_vector", [PARTITION])
            command = [sys.executable, "-m", "dagster", "job", "execute", "-m", "crdbvec_pipelines.definitions"]
            command += ["-j", "passage_vector__encode", "--tags", json.dumps({"dagster/partition": PARTITION})]
            done = run(command, tmp_path, variables)
            assert done.returncode == 0, done.stdout + done.stderr
            process = check_run(instance)
    # The counting stub is neither an engine nor thread-safe, so worker processes have called it. The first one that is
    # ready may have encoded all batches.
    assert 1 <= len(calls.processes() - {process}) <= 2
    assert process not in calls.processes()
    assert sorted(calls.inputs()) == sorted(f"text {number}" for number in range(200))
    assert all(vector is not None for vector in vectors(connection, UUID_SHAPE).values())


def check_run(instance: dg.DagsterInstance) -> int | None:
    """Check the events of the run, and return the id of its process."""
    (record_of_run,) = instance.get_runs()
    events = [entry.dagster_event for entry in instance.all_logs(record_of_run.run_id) if entry.dagster_event]
    started = {event.step_key: event.pid for event in events if event.event_type_value == "STEP_START"}
    assert list(started) == ["public__passage__passage_vector"]
    (record,) = instance.fetch_materializations(dg.AssetKey(["public", "passage", "passage_vector"]), limit=10).records
    event = record.asset_materialization
    assert event is not None
    assert event.partition == PARTITION
    numbers: dict[str, Any] = {name: value.value for name, value in event.metadata.items()}
    assert (numbers["rows_embedded"], numbers["rows_pending"], numbers["counts"]["batches"]) == (200, 0, 10)
    return started["public__passage__passage_vector"]
