"""The Celery run launcher on a real instance: what it sends, and what it concludes from the answers of workers."""

from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import LaunchRunContext, WorkerStatus

from crdbvec_pipelines.errors import ConfigurationError
from crdbvec_pipelines.orchestration.asset_names import QUEUE_TAG
from crdbvec_pipelines.orchestration.celery import launcher as module
from crdbvec_pipelines.orchestration.celery.launcher import MonitoredCeleryRunLauncher
from crdbvec_pipelines.orchestration.celery.settings import check_settings, merged_settings
from crdbvec_pipelines.orchestration.celery.tasks import execute_run
from crdbvec_pipelines.orchestration.celery.versions import own_versions, stored_versions
from crdbvec_pipelines.orchestration.celery.workers import WORKER_TAG, Answer, MissedPings, ask, tag_of, worker_of

WORKER = "crdbvec@first"
# Bound by no server.
ABSENT = "redis://127.0.0.1:1/0"


@dg.op
def nothing() -> None:
    """Do nothing."""


@dg.job
def job() -> None:
    nothing()


@pytest.fixture
def launcher(instance: dg.DagsterInstance) -> MonitoredCeleryRunLauncher:
    built = MonitoredCeleryRunLauncher(broker="memory://")
    built.register_instance(instance)
    return built


@pytest.fixture
def sent(launcher: MonitoredCeleryRunLauncher, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What was sent to the broker."""
    messages: list[dict[str, Any]] = []
    monkeypatch.setattr(launcher.celery, "send_task", lambda name, **options: messages.append(options))
    return messages


def make_run(
    instance: dg.DagsterInstance,
    status: dg.DagsterRunStatus = dg.DagsterRunStatus.STARTED,
    tags: Mapping[str, str] | None = None,
) -> dg.DagsterRun:
    return instance.create_run_for_job(job, status=status, tags=tags)


def reload(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRun:
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found


@pytest.fixture
def started(instance: dg.DagsterInstance) -> dg.DagsterRun:
    """A run that a worker has started."""
    run = make_run(instance)
    instance.add_run_tags(run.run_id, tag_of(run.run_id, WORKER))
    return reload(instance, run)


def answering(monkeypatch: pytest.MonkeyPatch, *answers: Answer) -> Iterator[Answer]:
    """Let the workers answer; the last answer is repeated."""
    remaining = list(answers)
    monkeypatch.setattr(module, "ask", lambda *_: remaining.pop(0) if len(remaining) > 1 else remaining[0])
    return iter(answers)


def state(launcher: MonitoredCeleryRunLauncher, run: dg.DagsterRun) -> WorkerStatus:
    return launcher.check_run_worker_health(run).status


def test_run_is_sent_with_its_own_id_and_retried_as_a_whole(
    instance: dg.DagsterInstance, launcher: MonitoredCeleryRunLauncher, sent: list[dict[str, Any]]
) -> None:
    run = make_run(instance, dg.DagsterRunStatus.STARTING)
    launcher.launch_run(LaunchRunContext(run, None))
    (message,) = sent
    assert message["task_id"] == run.run_id
    assert message["kwargs"] == {"run_id": run.run_id, "versions": own_versions()}
    assert (message["queue"], message["priority"]) == ("dagster", 0)
    assert reload(instance, run).tags["dagster/retry_strategy"] == "ALL_STEPS"
    assert stored_versions(instance) == own_versions()


@pytest.mark.parametrize("tag", [QUEUE_TAG, "dagster-celery/queue"])
def test_queue_is_that_of_the_tag_of_the_run(
    instance: dg.DagsterInstance, launcher: MonitoredCeleryRunLauncher, sent: list[dict[str, Any]], tag: str
) -> None:
    launcher.launch_run(LaunchRunContext(make_run(instance, tags={tag: "gpu"}), None))
    assert sent[0]["queue"] == "gpu"


def test_queue_of_a_backfill_is_that_of_the_tag_of_its_asset(
    instance: dg.DagsterInstance, launcher: MonitoredCeleryRunLauncher, sent: list[dict[str, Any]]
) -> None:
    @dg.asset(tags={QUEUE_TAG: "gpu"})
    def vectors() -> None: ...

    defs = dg.Definitions(assets=[vectors])
    run = instance.create_run_for_job(defs.resolve_implicit_global_asset_job_def(), asset_selection={vectors.key})
    workspace = SimpleNamespace(asset_graph=defs.resolve_asset_graph())
    launcher.launch_run(LaunchRunContext(run, workspace))  # type: ignore[arg-type]
    assert sent[0]["queue"] == "gpu"


def test_run_is_put_back_into_the_queue_if_the_broker_is_unavailable(instance: dg.DagsterInstance) -> None:
    launcher = MonitoredCeleryRunLauncher(broker=ABSENT)
    launcher.register_instance(instance)
    with pytest.raises(DagsterUserCodeUnreachableError, match="broker is unavailable"):
        launcher.launch_run(LaunchRunContext(make_run(instance), None))


def test_unavailable_broker_is_not_a_dead_worker(instance: dg.DagsterInstance, started: dg.DagsterRun) -> None:
    launcher = MonitoredCeleryRunLauncher(broker=ABSENT, dead_after_seconds=0)
    launcher.register_instance(instance)
    assert ask(launcher.celery, started.run_id, WORKER) is Answer.BROKER_UNAVAILABLE
    assert {state(launcher, started) for _ in range(7)} == {WorkerStatus.RUNNING}


def test_run_whose_worker_holds_it_is_running(
    launcher: MonitoredCeleryRunLauncher, started: dg.DagsterRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, Answer.HELD)
    assert state(launcher, started) == WorkerStatus.RUNNING


def test_run_whose_task_is_over_has_died_unless_it_is_finished(
    instance: dg.DagsterInstance,
    launcher: MonitoredCeleryRunLauncher,
    started: dg.DagsterRun,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answering(monkeypatch, Answer.NOT_HELD)
    health = launcher.check_run_worker_health(started)
    assert health.status == WorkerStatus.NOT_FOUND
    assert (
        health.msg == f"The Celery worker {WORKER} has no task for the run any more: the process of the run has died."
    )
    instance.report_run_failed(started)
    assert state(launcher, started) == WorkerStatus.SUCCESS


def test_worker_is_dead_after_six_missed_pings(
    launcher: MonitoredCeleryRunLauncher, started: dg.DagsterRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher, "_missed", MissedPings(0))
    answering(monkeypatch, Answer.NO_REPLY)
    assert [state(launcher, started) for _ in range(5)] == [WorkerStatus.RUNNING] * 5
    assert state(launcher, started) == WorkerStatus.NOT_FOUND


def test_worker_that_answers_again_or_whose_run_logs_events_is_not_dead(
    instance: dg.DagsterInstance,
    launcher: MonitoredCeleryRunLauncher,
    started: dg.DagsterRun,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(launcher, "_missed", MissedPings(0))
    answering(monkeypatch, *[Answer.NO_REPLY] * 5, Answer.HELD, Answer.NO_REPLY)
    assert {state(launcher, started) for _ in range(11)} == {WorkerStatus.RUNNING}
    instance.report_engine_event("12,000 rows embedded", started)
    assert {state(launcher, started) for _ in range(5)} == {WorkerStatus.RUNNING}
    assert state(launcher, started) == WorkerStatus.NOT_FOUND


def test_six_missed_pings_are_not_enough_before_the_time_has_passed() -> None:
    now = 0.0
    pings = MissedPings(60, lambda: now)
    assert [pings.missed("run", 1) for _ in range(20)] == [None] * 20
    now = 60.0
    assert pings.missed("run", 1) == 21


def test_retry_does_not_inherit_the_worker_of_its_parent(instance: dg.DagsterInstance, started: dg.DagsterRun) -> None:
    assert worker_of(started) == WORKER
    assert worker_of(make_run(instance, tags={WORKER_TAG: started.tags[WORKER_TAG]})) is None


def test_terminating_a_run_interrupts_its_process(
    instance: dg.DagsterInstance,
    launcher: MonitoredCeleryRunLauncher,
    started: dg.DagsterRun,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    revoked = []
    monkeypatch.setattr(launcher.celery.control, "revoke", lambda *task, **options: revoked.append((task, options)))
    assert launcher.terminate(started.run_id)
    assert revoked == [((started.run_id,), {"terminate": True, "signal": "SIGTERM"})]
    assert reload(instance, started).status == dg.DagsterRunStatus.CANCELING


def test_terminating_a_run_that_no_worker_has_started_cancels_it(
    instance: dg.DagsterInstance, launcher: MonitoredCeleryRunLauncher
) -> None:
    run = make_run(instance, dg.DagsterRunStatus.STARTING)
    assert launcher.terminate(run.run_id)
    assert reload(instance, run).status == dg.DagsterRunStatus.CANCELED
    assert not launcher.terminate(run.run_id)


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELED])
def test_task_that_is_delivered_twice_or_after_a_cancellation_does_nothing(
    instance: dg.DagsterInstance, status: dg.DagsterRunStatus
) -> None:
    run = make_run(instance, status)
    execute_run(instance, run.run_id, own_versions(), WORKER)
    assert reload(instance, run).status == status
    assert WORKER_TAG not in reload(instance, run).tags


def test_run_of_a_daemon_of_another_version_fails_before_it_starts(instance: dg.DagsterInstance) -> None:
    run = make_run(instance, dg.DagsterRunStatus.STARTING)
    execute_run(instance, run.run_id, {**own_versions(), "dagster": "1.99.0"}, WORKER)
    assert reload(instance, run).status == dg.DagsterRunStatus.FAILURE
    assert "the daemon has 1.99.0" in instance.all_logs(run.run_id)[-1].message


def test_result_backend_that_cannot_work_is_rejected() -> None:
    with pytest.raises(ConfigurationError, match="rpc://"):
        MonitoredCeleryRunLauncher(broker="memory://", backend="rpc://")


def test_settings_that_would_lose_or_repeat_runs_are_rejected() -> None:
    check_settings(merged_settings(None), 86_400)
    with pytest.raises(ConfigurationError, match="task_acks_late: true"):
        check_settings(merged_settings({"task_acks_late": False}), 0)
    short = merged_settings({"broker_transport_options": {"visibility_timeout": 3_600}})
    assert short["broker_transport_options"]["socket_timeout"] == 30
    with pytest.raises(ConfigurationError, match=r"visibility_timeout of the broker \(3,600 s\)"):
        check_settings(short, 86_400)
