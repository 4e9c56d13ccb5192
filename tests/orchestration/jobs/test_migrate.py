"""The job of a model migration: each action, and what Dagster shows of it."""

from pathlib import Path

import dagster as dg
import psycopg
import pytest

from crdbvec_pipelines.config import load_config
from crdbvec_pipelines.orchestration.build import build_definitions
from tests.support.processes import run_crdbvec
from tests.support.projects import write_config
from tests.support.servers import Server
from tests.support.tables import create_table


def test_each_action_of_the_job_is_an_observation_of_the_asset(
    postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with postgres.new_database() as url, psycopg.connect(url, autocommit=True) as connection:
        monkeypatch.setenv("CRDBVEC_URL", url)
        create_table(connection, texts=[f"text {number}" for number in range(60)])
        file = write_config(tmp_path, {"model": "stub_hash"})
        for arguments in (["embed"], ["migrate", "start", "-m", "stub_wide"], ["embed"]):
            assert run_crdbvec(arguments, tmp_path).returncode == 0
        job = build_definitions(load_config(file)).resolve_job_def("passage_vector__migrate")
        with dg.instance_for_test() as instance:
            for action, phase in (("compare", "started"), ("switch", "switched"), ("finish", "finished")):
                run = job.execute_in_process(
                    instance=instance, run_config={"ops": {job.nodes[0].name: {"config": {"action": action}}}}
                )
                (observed,) = [
                    event.asset_observation_data.asset_observation
                    for event in run.all_events
                    if event.event_type_value == "ASSET_OBSERVATION"
                ]
                assert observed.metadata["phase"].value == phase
                assert ("overlap_at_10" in observed.metadata) == (action == "compare")
