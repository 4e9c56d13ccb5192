"""The daemon that launches retries reads the failure of a run only after the run is stored as failed."""

import logging
from unittest import mock

import dagster as dg
import pytest
from dagster._daemon.auto_run_reexecution.auto_run_reexecution import filter_runs_to_should_retry
from dagster._daemon.auto_run_reexecution.event_log_consumer import EventLogConsumerDaemon

from crdbvec_pipelines.orchestration.instance import event_log_storage


@dg.job
def job() -> None:
    """A job without ops."""


def seen_by_the_daemon(instance: dg.DagsterInstance) -> list[str]:
    """Let the daemon read new events once, and return the runs that it retries."""
    retried: list[str] = []

    def retry(_: object, records: list[dg.RunRecord], __: logging.Logger) -> list[None]:
        runs = [record.dagster_run for record in records]
        retried.extend(run.run_id for run in filter_runs_to_should_retry(runs, instance))
        return []

    daemon = EventLogConsumerDaemon()
    with mock.patch.object(EventLogConsumerDaemon, "handle_updated_runs_fns", [retry]):
        list(daemon.run_iteration(mock.Mock(instance=instance)))
    return retried


# Dagster's daemon logs by a deprecated method if it starts for the first time.
@pytest.mark.filterwarnings("ignore:The 'warn' method is deprecated:DeprecationWarning")
def test_failure_is_read_after_the_run_is_failed(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(instance), "run_retries_enabled", True)
    monkeypatch.setattr(type(instance), "run_retries_max_retries", 2)
    seen_by_the_daemon(instance)
    run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    other = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    stored = []
    # The event is stored, and the process that stores it has not stored the status yet.
    with monkeypatch.context() as patch:
        patch.setattr(instance.run_storage, "handle_run_event", lambda *event: stored.append(event))
        instance.report_run_failed(run)
    # A later failure does not make the daemon forget the earlier one.
    instance.report_run_failed(other)
    assert seen_by_the_daemon(instance) == []
    for event in stored:
        instance.run_storage.handle_run_event(*event)
    instance.add_run_tags(run.run_id, {"dagster/will_retry": "true"})
    assert set(seen_by_the_daemon(instance)) == {run.run_id, other.run_id}


def test_process_that_was_killed_before_it_stored_the_status_does_not_block_others(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_log_storage, "_DECISION_TIMEOUT", -event_log_storage._DECISION_TIMEOUT)
    run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    monkeypatch.setattr(instance.run_storage, "handle_run_event", lambda *_: None)
    instance.report_run_failed(run)
    found = instance.event_log_storage.get_logs_for_all_runs_by_log_id(
        dagster_event_type={dg.DagsterEventType.RUN_FAILURE}
    )
    assert [entry.run_id for entry in found.values()] == [run.run_id]
