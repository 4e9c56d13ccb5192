"""A backfill waits until it is stored whether its failed runs will be retried."""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.events import DagsterEvent, DagsterEventType
from dagster._core.execution.asset_backfill import backfill_runs_are_complete
from dagster._core.storage.dagster_run import DagsterRunStatus

from crdbvec_pipelines.bundled import bundled
from crdbvec_pipelines.orchestration.instance.storage import URL_VARIABLE
from tests.support.servers import Server

BACKFILL = "abcdefgh"
logger = logging.getLogger(__name__)


@dg.job
def job() -> None:
    """A job without ops."""


@pytest.fixture
def storage_url(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with postgres.new_database() as url:
        monkeypatch.setenv(URL_VARIABLE, url)
        yield url


@pytest.fixture
def instance(storage_url: str, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with open_instance(tmp_path) as opened:
        yield opened


def open_instance(home: Path, **sections: object) -> dg.DagsterInstance:
    settings = yaml.safe_load(bundled("dagster.yaml").read_text(encoding="utf-8"))
    (home / "dagster.yaml").write_text(yaml.safe_dump({**settings, **sections}), encoding="utf-8")
    return dg.DagsterInstance.from_config(str(home))


def fail_run(instance: dg.DagsterInstance, ago: timedelta = timedelta(0), **tags: str) -> None:
    """Store the failure of a run as Dagster does first, without the decision about its retry."""
    tags = {"dagster/backfill": BACKFILL, **{f"dagster/{name}": value for name, value in tags.items()}}
    run = instance.create_run_for_job(job, status=DagsterRunStatus.STARTED, tags=tags)
    event = DagsterEvent(DagsterEventType.PIPELINE_FAILURE.value, job.name, message="killed")
    instance.run_storage.handle_run_event(run.run_id, event, datetime.now(UTC) - ago)


def is_complete(instance: dg.DagsterInstance) -> bool:
    """Return what the daemon concludes about the backfill."""
    return backfill_runs_are_complete(BACKFILL, instance, logger)


def test_failed_run_without_a_decision_is_unfinished(instance: dg.DagsterInstance) -> None:
    fail_run(instance)
    assert not is_complete(instance)


@pytest.mark.parametrize(("will_retry", "complete"), [("true", False), ("false", True)])
def test_decision_ends_the_wait(instance: dg.DagsterInstance, will_retry: str, complete: bool) -> None:
    fail_run(instance, will_retry=will_retry)
    assert is_complete(instance) == complete


def test_decision_that_never_comes_is_not_waited_for(instance: dg.DagsterInstance) -> None:
    fail_run(instance, ago=timedelta(hours=1))
    assert is_complete(instance)


def test_run_is_not_waited_for_if_retries_are_disabled(storage_url: str, tmp_path: Path) -> None:
    with open_instance(tmp_path, run_retries={"enabled": False}) as instance:
        fail_run(instance)
        assert is_complete(instance)


def test_failed_run_of_another_backfill_or_of_none_is_not_waited_for(instance: dg.DagsterInstance) -> None:
    fail_run(instance, backfill="ijklmnop")
    assert is_complete(instance)
    assert instance.get_run_ids(dg.RunsFilter(statuses=[DagsterRunStatus.STARTED])) == []


def test_processes_that_dagster_starts_use_the_storage_too(instance: dg.DagsterInstance) -> None:
    fail_run(instance)
    with dg.DagsterInstance.from_ref(instance.get_ref()) as given:
        assert not is_complete(given)


def test_dagster_still_has_the_issue(storage_url: str, tmp_path: Path) -> None:
    # If this fails, Dagster has solved the issue, and the storage of runs can be removed.
    with open_instance(tmp_path, storage={"postgres": {"postgres_url": storage_url}}) as instance:
        fail_run(instance)
        assert is_complete(instance)
