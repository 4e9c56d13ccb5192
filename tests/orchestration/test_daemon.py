"""End to end: Dagster's daemon and code server, the follow sensor switched on, and rows embedded without a person."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import dagster as dg
import psycopg
import pytest

from crdbvec_pipelines.config import load_config
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.keyspace import parse_partition_key
from crdbvec_pipelines.naming import TableName
from crdbvec_pipelines.orchestration.asset_names import asset_names
from tests.orchestration.daemon import prepare_home, running_daemon, start_sensor
from tests.support.models import CallLog, stub_vector
from tests.support.projects import write_config
from tests.support.servers import Server
from tests.support.statements import probe

SENSOR = "passage_vector__follow_sensor"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres: Server, url: str, calls: CallLog) -> Iterator[Path]:
    """$DAGSTER_HOME with the project's dagster.yaml, an empty storage, and a configuration with frequent ticks."""
    config = write_config(tmp_path, {"follow": {"interval_seconds": 5}, "partitions": {"target_rows": 10}})
    with postgres.new_database() as storage:
        for name, value in prepare_home(tmp_path, config, url, storage).items():
            monkeypatch.setenv(name, value)
        yield tmp_path


def insert(connection: psycopg.Connection, prefix: str, rows: int) -> None:
    connection.execute("INSERT INTO passage (passage) SELECT %s || n FROM generate_series(1, %s) AS n", (prefix, rows))


def touched(connection: psycopg.Connection, partitions: Iterable[str], table: TableName) -> set[str]:
    """Return the partitions that contain a row with a vector."""
    found = set()
    embedded = connection.execute("SELECT id FROM passage WHERE passage_vector IS NOT NULL").fetchall()
    for key in partitions:
        part = parse_partition_key(key, table)
        if any((not part.lower or row >= part.lower) and (not part.upper or row < part.upper) for row in embedded):
            found.add(key)
    return found


def skip_reasons(instance: dg.DagsterInstance) -> list[str]:
    """Return the reasons in the tick history."""
    (state,) = (found for found in instance.all_instigator_state() if found.name == SENSOR)
    return [str(tick.skip_reason) for tick in instance.get_ticks(state.instigator_origin_id, state.selector_id)]


@pytest.mark.timeout(900)
def test_daemon_embeds_inserted_rows(home: Path, url: str, connection: psycopg.Connection, calls: CallLog) -> None:
    connection.execute("CREATE TABLE passage (id UUID PRIMARY KEY DEFAULT gen_random_uuid(), passage TEXT)")
    insert(connection, "first ", 20)
    start_sensor(SENSOR, home)
    config = load_config(home / "crdbvec.yaml")
    names, table = asset_names(config)["public.passage.passage_vector"], config.vectors[0].table
    with (
        running_daemon(home) as daemon,
        dg.DagsterInstance.get() as instance,
        Database(url, max_connections=1) as database,
    ):

        def is_followed(rows: int) -> bool:
            """Return whether this many rows are embedded, and exactly their partitions are materialized."""
            partitions = instance.get_dynamic_partitions(names.partitions)
            if not partitions or len(calls.inputs()) < rows:
                return False
            return instance.get_materialized_partitions(dg.AssetKey(names.asset)) == touched(
                connection, partitions, table
            )

        daemon.wait_until(lambda: is_followed(20))
        # The table is prepared now. The keys are random, so the new rows are in any of the partitions.
        insert(connection, "later ", 5)
        daemon.wait_until(lambda: is_followed(25))
        nearest = database.fetch(
            probe(
                "SELECT passage FROM public.passage "
                "ORDER BY passage_vector OPERATOR(public.<->) %(near)s::public.vector LIMIT 1"
            ),
            {"near": stub_vector("later 3")},
        )
        assert nearest == [("later 3",)]

        def observed() -> list[int]:
            """Return the observed backlogs, the last one first."""
            return [
                int(str(record.asset_observation.metadata["rows_pending"].value))
                for record in instance.fetch_observations(dg.AssetKey(names.asset), limit=100).records
                if record.asset_observation
            ]

        # First twenty rows, in the end none. A tick between the two inserts may have observed none, too.
        daemon.wait_until(lambda: observed()[0] == 0)
        daemon.wait_until(lambda: "0 pending rows in public.passage" in skip_reasons(instance))
        assert 20 in observed()
        # No row was embedded twice, in any of the runs.
        assert len(calls.inputs()) == len(set(calls.inputs())) == 25
        assert {run.tags["crdbvec/trigger"] for run in instance.get_runs()} == {"follow"}
        assert {run.status for run in instance.get_runs()} == {dg.DagsterRunStatus.SUCCESS}
