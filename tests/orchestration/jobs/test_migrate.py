"""The jobs of a model migration: the second column as an asset, what each step shows, and the assets after it."""

import json
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest

from crdbvec_pipelines.config import ChunksSpec, load_config
from crdbvec_pipelines.orchestration.instance.dagster_internals import current_partitions
from tests.orchestration.project import Project
from tests.support.processes import run_crdbvec
from tests.support.projects import write_config
from tests.support.tables import INT_SHAPE, create_table, insert_rows
from tests.support.vectors import preferring_indexes

SECOND = "passage_vector_second"
STEPS = {f"passage_vector__migrate_{step}" for step in ("compare", "switch", "rollback", "finish")}


@pytest.fixture
def entry() -> dict[str, Any]:
    """Further values of the entry."""
    return {}


@pytest.fixture
def file(
    url: str, connection: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: dict[str, Any]
) -> Path:
    """The configuration of a table of sixty rows, in three partitions."""
    monkeypatch.setenv("CRDBVEC_URL", preferring_indexes(url))
    create_table(connection, texts=[f"text {number}" for number in range(60)])
    return write_config(tmp_path, {"model": "stub_hash", "index": {}, "partitions": {"target_rows": 20}, **entry})


class CodeLocation:
    """The definitions of a file, as a reload makes them, and runs of them."""

    def __init__(self, file: Path, instance: dg.DagsterInstance) -> None:
        config = load_config(file).with_second_columns()
        self.first = Project(config, instance)
        self.second = Project(config, instance, SECOND) if len(config.vectors) > 1 else None
        self.jobs = {job.name for job in self.first.definitions.resolve_all_job_defs()}
        self.graph = self.first.definitions.resolve_asset_graph()
        self.assets = {key.path[-1] for key in self.graph.get_all_asset_keys()}

    def step(self, step: str, **config: object) -> dict[str, Any]:
        """Run a step of the migration, and return what it shows on the page of the asset."""
        op = self.first.names.op(f"migrate_{step}")
        run = self.first.run(f"migrate_{step}", {"ops": {op: {"config": config}}})
        shown = [
            event.asset_observation_data.asset_observation
            for event in run.all_events
            if event.event_type_value == "ASSET_OBSERVATION"
        ]
        assert [each.asset_key for each in shown] == [each.asset for each in (self.first, self.second) if each]
        return {name: value.value for name, value in shown[0].metadata.items()}

    def run_tick(self, cursor: str | None = None) -> tuple[list[str | None], str | None]:
        """Run what the one sensor of the two columns requests, and return the jobs and the cursor."""
        tick = self.first.tick(cursor)
        for request in tick.requests:
            column = self.second if self.second and str(request.job_name).startswith(SECOND) else self.first
            column.run(str(request.job_name).rpartition("__")[2], request.run_config, tags=request.tags)
        return tick.jobs, tick.cursor


@pytest.mark.parametrize("entry", [{}, {"long_inputs": "chunks"}], ids=["vectors", "chunks"])
def test_second_column_is_an_asset_from_start_to_finish(
    file: Path, connection: psycopg.Connection, instance: dg.DagsterInstance, entry: dict[str, Any]
) -> None:
    size = {"chunk_size": 12, "chunk_overlap": 2} if entry else {}
    before = CodeLocation(file, instance)
    before.first.prepare()
    before.first.run("follow")
    started = before.step("start", model="stub_wide", **size)
    assert (started["second"], started["partitions"], started["phase"]) == (SECOND, 3, "started")
    assert (SECOND in before.assets, before.jobs & STEPS) == (False, set())

    during = CodeLocation(file, instance)
    assert {SECOND, f"{SECOND}_index"} <= during.assets
    assert during.jobs >= STEPS
    assert during.second is not None
    first, second = (during.graph.get(each.asset) for each in (during.first, during.second))
    assert second.parent_keys == first.parent_keys
    assert second.partitions_def is not None
    assert {sensor.name for sensor in during.first.definitions.sensors or ()} == {"passage_vector__follow_sensor"}
    jobs, cursor = during.run_tick()
    assert jobs == [f"{SECOND}__follow"]
    assert during.second.instance.get_materialized_partitions(during.second.asset) == set(during.second.partitions)
    assert during.run_tick(cursor)[0] == []
    insert_rows(connection, INT_SHAPE, {900: "a new text"})
    assert during.run_tick(cursor)[0] == ["passage_vector__follow", f"{SECOND}__follow"]

    compared = during.step("compare", queries=20)
    assert (compared["phase"], 2 <= compared["queries"] <= 20) == ("started", True)
    assert 0 <= compared["overlap_at_10"] < 1
    assert compared["plot"].startswith("![overlap and latency](data:image/png;base64,")
    assert [record.data["model"] for record in compared["columns"].records] == ["stub_hash", "stub_wide"]
    questions = file.parent / "questions.jsonl"
    key = INT_SHAPE.key(7)
    questions.write_text(json.dumps({"query": "text 7", "relevant": [key]}), encoding="utf-8")
    judged = during.step("compare", questions=str(questions))
    assert (judged["queries"], judged["questions"], judged["ndcg_difference"]) == (1, 1, 0)
    assert {record.data["ndcg"] for record in judged["columns"].records} == {"1.000 (1.00-1.00)"}
    assert during.step("switch")["phase"] == "switched"
    assert during.step("rollback")["phase"] == "started"
    assert during.step("switch")["phase"] == "switched"
    insert_rows(connection, INT_SHAPE, {901: "a newer text"})
    assert during.run_tick(cursor)[0] == ["passage_vector__follow", f"{SECOND}__follow"]
    assert during.step("finish")["phase"] == "finished"

    # Until the reload, nothing creates the second column again, and the first one is followed.
    assert not during.second.run("follow", raise_on_error=False).success
    assert not during.second.run("sync_partitions", raise_on_error=False).success
    insert_rows(connection, INT_SHAPE, {902: "the newest text"})
    assert during.run_tick(cursor)[0] == ["passage_vector__follow"]
    assert "is not being migrated with the second column" in str(during.first.tick(cursor).skipped)
    columns = connection.execute("SELECT * FROM passage LIMIT 0").description or ()
    assert [each.name for each in columns if SECOND in each.name] == []

    after = CodeLocation(file, instance)
    assert (SECOND in after.assets, after.jobs & STEPS, after.first.spec.model) == (False, set(), "stub_wide")
    assert after.first.spec.chunks == (ChunksSpec(size=12, overlap=2) if entry else None)
    assert current_partitions(instance, after.first.names, after.first.partitions) == frozenset()
    after.first.run("maintain")
    assert current_partitions(instance, after.first.names, after.first.partitions) == set(after.first.partitions)
    assert {each["rows_embedded"] for each in after.first.materialized().values()} == {0}


def test_second_column_of_a_later_migration_has_no_history(file: Path, instance: dg.DagsterInstance) -> None:
    """Also if the command line has finished the earlier one, of which Dagster then knows nothing."""
    before = CodeLocation(file, instance)
    before.first.prepare()
    before.first.run("follow")
    before.step("start", model="stub_wide")
    during = CodeLocation(file, instance)
    assert during.second is not None
    during.second.run("follow")
    assert instance.get_materialized_partitions(during.second.asset)
    assert run_crdbvec(["migrate", "finish", "--abandon"], file.parent).returncode == 0
    assert CodeLocation(file, instance).second is None
    assert run_crdbvec(["migrate", "start", "-m", "stub_other"], file.parent).returncode == 0
    later = CodeLocation(file, instance)
    assert later.second is not None
    later.second.run("sync_partitions")
    assert not instance.get_materialized_partitions(later.second.asset)
