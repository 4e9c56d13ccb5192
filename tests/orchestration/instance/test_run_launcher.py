"""The run launcher on a real instance: runs of real processes that are killed, and a real code server.

`tests/orchestration/test_recovery.py` has the same with the daemon and its run monitoring.
"""

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.events import EngineEventData
from dagster._core.launcher import LaunchRunContext, WorkerStatus
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import GrpcServerTarget
from dagster._grpc.client import DagsterGrpcClient
from dagster_postgres import PostgresRunStorage

from crdbvec_pipelines.bundled import bundled
from crdbvec_pipelines.orchestration.instance import run_launcher
from crdbvec_pipelines.orchestration.instance.run_launcher import PROCESS_TAG, MonitoredRunLauncher
from crdbvec_pipelines.orchestration.instance.storage import URL_VARIABLE
from crdbvec_pipelines.process_identity import ProcessIdentity
from tests.support.servers import Server
from tests.support.waiting import wait_until

SOCKET = {"host": "localhost", "socket": "/nonexistent/code-server"}
SPAWN = multiprocessing.get_context("spawn")
# The longest time that a run may be in progress without a process, after a restart of everything.
RECOVERY_SECONDS = 120

DEFINITIONS = """
import time
import dagster as dg

@dg.op
def sleep():
    time.sleep(600)

@dg.job
def sleeping():
    sleep()

defs = dg.Definitions(jobs=[sleeping], executor=dg.in_process_executor)
"""


@dg.op
def nothing() -> None:
    """Do nothing; the runs of these tests are created and not executed."""


@dg.job
def job() -> None:
    nothing()


def work(folder: str) -> None:
    """Write a file when the process is ready, and another one when it is interrupted."""
    path = Path(folder)
    try:
        (path / "ready").touch()
        time.sleep(600)
    except KeyboardInterrupt:
        (path / "interrupted").touch()


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[multiprocessing.process.BaseProcess]:
    """A process as a code server starts it for a run."""
    process = SPAWN.Process(target=work, args=[str(tmp_path)])
    process.start()
    wait_until((tmp_path / "ready").exists)
    yield process
    kill(process)


def kill(process: multiprocessing.process.BaseProcess) -> None:
    process.kill()
    process.join()


@pytest.fixture
def launcher(instance: dg.DagsterInstance) -> MonitoredRunLauncher:
    """The launcher on the test's instance."""
    built = MonitoredRunLauncher()
    built.register_instance(instance)
    return built


def make_run(
    instance: dg.DagsterInstance,
    identity: ProcessIdentity | None = None,
    address: Mapping[str, object] | None = None,
    status: dg.DagsterRunStatus = dg.DagsterRunStatus.STARTED,
    origin: RemoteJobOrigin | None = None,
) -> dg.DagsterRun:
    """Create a run that was launched at the address of a code server, with the identity of its process if given."""
    tags = {".dagster/grpc_info": json.dumps(address or SOCKET)}
    run = instance.create_run_for_job(job, status=status, tags=tags, remote_job_origin=origin)
    if identity is not None:
        instance.add_run_tags(run.run_id, {PROCESS_TAG: f"{run.run_id}/{identity}"})
    return reload(instance, run)


def reload(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRun:
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found


def identity_of(process: multiprocessing.process.BaseProcess) -> ProcessIdentity:
    assert process.pid is not None
    identity = ProcessIdentity.of(process.pid)
    assert identity is not None
    return identity


def report_start(instance: dg.DagsterInstance, run: dg.DagsterRun, pid: int | None) -> None:
    """Log the event that the process of a run logs first."""
    assert pid is not None
    instance.report_engine_event(f"Started process for run (pid: {pid}).", run, EngineEventData.in_process(pid))


def state_of(launcher: MonitoredRunLauncher, run: dg.DagsterRun) -> WorkerStatus:
    return launcher.check_run_worker_health(run).status


def test_shipped_configuration_uses_the_launcher_and_recovers_in_time(
    postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dagster.yaml").write_text(bundled("dagster.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    with postgres.new_database() as url:
        monkeypatch.setenv("DAGSTER_PG_URL", url)
        with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
            assert isinstance(instance.run_launcher, MonitoredRunLauncher)
            assert instance.run_launcher.supports_check_run_worker_health
            assert instance.run_monitoring_enabled
            poll = instance.run_monitoring_poll_interval_seconds
            assert poll + instance.run_monitoring_start_timeout_seconds <= RECOVERY_SECONDS
            assert poll + instance.run_monitoring_cancel_timeout_seconds <= RECOVERY_SECONDS
            queue = instance.get_concurrency_config().run_queue_config
            assert queue is not None
            assert queue.max_concurrent_runs == 4
            # Deploying new code may take minutes.
            assert queue.max_user_code_failure_retries * queue.user_code_failure_retry_delay >= 1_800


def test_run_is_dead_as_soon_as_its_process_is(
    instance: dg.DagsterInstance, launcher: MonitoredRunLauncher, worker: multiprocessing.process.BaseProcess
) -> None:
    run = make_run(instance, identity_of(worker))
    assert state_of(launcher, run) == WorkerStatus.RUNNING
    kill(worker)
    health = launcher.check_run_worker_health(run)
    assert health.status == WorkerStatus.NOT_FOUND
    assert health.msg == f"The process of the run, {worker.pid} on {socket.gethostname()}, no longer exists."


def test_run_of_an_earlier_boot_of_this_host_is_dead(
    instance: dg.DagsterInstance, launcher: MonitoredRunLauncher
) -> None:
    run = make_run(instance, replace(ProcessIdentity.current(), boot="earlier"))
    assert state_of(launcher, run) == WorkerStatus.NOT_FOUND


def test_run_of_another_host_is_never_dead(instance: dg.DagsterInstance, launcher: MonitoredRunLauncher) -> None:
    run = make_run(instance, ProcessIdentity("elsewhere", "boot", 4_000_000, "1"))
    assert state_of(launcher, run) == WorkerStatus.RUNNING


def test_run_of_another_launcher_is_never_dead(instance: dg.DagsterInstance, launcher: MonitoredRunLauncher) -> None:
    assert state_of(launcher, make_run(instance)) == WorkerStatus.RUNNING


def test_retried_run_does_not_inherit_the_process_of_its_parent(
    instance: dg.DagsterInstance, launcher: MonitoredRunLauncher
) -> None:
    dead = make_run(instance, replace(ProcessIdentity.current(), boot="earlier"))
    assert state_of(launcher, dead) == WorkerStatus.NOT_FOUND
    retried = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags=dead.tags)
    assert state_of(launcher, retried) == WorkerStatus.RUNNING


def test_run_that_was_not_tagged_at_its_launch_is_tagged_while_its_process_is_seen(
    instance: dg.DagsterInstance, launcher: MonitoredRunLauncher, worker: multiprocessing.process.BaseProcess
) -> None:
    run = make_run(instance)
    report_start(instance, run, worker.pid)
    assert state_of(launcher, run) == WorkerStatus.RUNNING
    tagged = reload(instance, run)
    assert tagged.tags[PROCESS_TAG] == f"{run.run_id}/{identity_of(worker)}"
    kill(worker)
    assert state_of(launcher, tagged) == WorkerStatus.NOT_FOUND


def test_process_that_was_never_seen_is_not_taken_for_dead(
    instance: dg.DagsterInstance, launcher: MonitoredRunLauncher, worker: multiprocessing.process.BaseProcess
) -> None:
    run = make_run(instance)
    report_start(instance, run, worker.pid)
    kill(worker)
    assert state_of(launcher, run) == WorkerStatus.RUNNING


@pytest.mark.parametrize("reason", ["address", "program", "age"])
def test_unrelated_process_with_the_logged_id_is_not_the_process_of_the_run(
    instance: dg.DagsterInstance,
    launcher: MonitoredRunLauncher,
    worker: multiprocessing.process.BaseProcess,
    monkeypatch: pytest.MonkeyPatch,
    reason: str,
) -> None:
    address = {"host": "elsewhere.example", "port": 4000} if reason == "address" else SOCKET
    run = make_run(instance, address=address)
    report_start(instance, run, os.getpid() if reason == "program" else worker.pid)
    if reason == "age":
        # As if the event had been logged an hour earlier, by another process that had the same id then.
        monkeypatch.setattr(run_launcher, "_CLOCK_SECONDS", -3_600)
    assert state_of(launcher, run) == WorkerStatus.RUNNING
    assert PROCESS_TAG not in reload(instance, run).tags


def test_run_whose_code_server_is_gone_is_terminated_by_a_signal(
    instance: dg.DagsterInstance,
    launcher: MonitoredRunLauncher,
    worker: multiprocessing.process.BaseProcess,
    tmp_path: Path,
) -> None:
    run = make_run(instance, identity_of(worker))
    assert launcher.terminate(run.run_id)
    worker.join()
    assert (tmp_path / "interrupted").exists()
    # The process reports the end itself.
    assert reload(instance, run).status == dg.DagsterRunStatus.CANCELING


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED])
def test_terminating_a_dead_run_marks_it_as_canceled(
    instance: dg.DagsterInstance, launcher: MonitoredRunLauncher, status: dg.DagsterRunStatus
) -> None:
    run = make_run(instance, replace(ProcessIdentity.current(), boot="earlier"), status=status)
    assert launcher.terminate(run.run_id)
    assert reload(instance, run).status == dg.DagsterRunStatus.CANCELED
    assert not launcher.terminate(run.run_id)


@pytest.mark.parametrize("identity", [None, ProcessIdentity("elsewhere", "boot", os.getpid(), "1")])
def test_terminating_a_run_that_is_not_on_this_host_fails_as_with_the_default_launcher(
    instance: dg.DagsterInstance, launcher: MonitoredRunLauncher, identity: ProcessIdentity | None
) -> None:
    run = make_run(instance, identity)
    with pytest.raises(DagsterUserCodeUnreachableError):
        launcher.terminate(run.run_id)
    assert reload(instance, run).status == dg.DagsterRunStatus.CANCELING


@pytest.fixture
def code_server(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[DagsterGrpcClient]:
    """The client of a running code server with a job whose runs sleep."""
    assert isinstance(instance.run_storage, PostgresRunStorage)
    monkeypatch.setenv(URL_VARIABLE, instance.run_storage.postgres_url)
    (tmp_path / "sleeping_definitions.py").write_text(DEFINITIONS, encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (tmp_path / "code_server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "dagster", "api", "grpc", "-p", str(port), "-f", "sleeping_definitions.py"],
            cwd=tmp_path,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    client = DagsterGrpcClient(port=port)
    try:
        wait_until(lambda: process.poll() is not None or answers(client))
        assert process.poll() is None, (tmp_path / "code_server.log").read_text()
        yield client
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answers(client: DagsterGrpcClient) -> bool:
    try:
        client.ping("")
    except DagsterUserCodeUnreachableError:
        return False
    return True


@pytest.fixture
def context(instance: dg.DagsterInstance, code_server: DagsterGrpcClient) -> Iterator[WorkspaceProcessContext]:
    """The workspace of the code server, as the daemon has it."""
    target = GrpcServerTarget(
        host="localhost", port=code_server.port, socket=None, location_name="sleeping", use_ssl=False
    )
    with WorkspaceProcessContext(instance, target) as built:
        yield built


def make_launchable_run(instance: dg.DagsterInstance, context: WorkspaceProcessContext) -> dg.DagsterRun:
    """Create a run of the job on the code server."""
    location = context.create_request_context().get_code_location("sleeping")
    (repository,) = location.get_repositories().values()
    remote = repository.get_full_job("sleeping")
    return instance.create_run(
        job_name="sleeping",
        run_id=None,
        run_config=None,
        status=dg.DagsterRunStatus.STARTING,
        tags=None,
        root_run_id=None,
        parent_run_id=None,
        step_keys_to_execute=None,
        execution_plan_snapshot=None,
        job_snapshot=remote.job_snapshot,
        parent_job_snapshot=None,
        asset_selection=None,
        asset_check_selection=None,
        resolved_op_selection=None,
        op_selection=None,
        remote_job_origin=remote.get_remote_origin(),
        job_code_origin=remote.get_python_origin(),
        asset_graph=repository.asset_graph,
    )


@pytest.mark.timeout(240)
def test_launched_run_is_tagged_with_its_process_and_put_back_if_the_code_server_shuts_down(
    instance: dg.DagsterInstance,
    launcher: MonitoredRunLauncher,
    code_server: DagsterGrpcClient,
    context: WorkspaceProcessContext,
) -> None:
    run = make_launchable_run(instance, context)
    launcher.launch_run(LaunchRunContext(run, context.create_request_context()))
    tagged = reload(instance, run)
    run_id, _, text = tagged.tags[PROCESS_TAG].partition("/")
    identity = ProcessIdentity.parse(text)
    assert run_id == run.run_id
    assert identity is not None
    assert identity.is_on_this_host
    assert not identity.has_ended()
    assert state_of(launcher, tagged) == WorkerStatus.RUNNING
    # A code server that shuts down continues its runs and starts no others.
    code_server.shutdown_server()
    with pytest.raises(DagsterUserCodeUnreachableError):
        launcher.launch_run(LaunchRunContext(make_launchable_run(instance, context), context.create_request_context()))
    assert not identity.has_ended()
    os.kill(identity.pid, signal.SIGKILL)
    wait_until(lambda: identity.has_ended())
    # The code server, which is still running, has noticed it too.
    wait_until(lambda: reload(instance, run).status == dg.DagsterRunStatus.FAILURE)


@pytest.mark.timeout(240)
def test_dead_run_is_not_failed_while_its_code_server_is_absent(
    instance: dg.DagsterInstance,
    launcher: MonitoredRunLauncher,
    code_server: DagsterGrpcClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dead = replace(ProcessIdentity.current(), boot="earlier")
    with socket.socket() as unused:
        # Bound, but not listening, so that no other process can use the port.
        unused.bind(("127.0.0.1", 0))
        absent = make_run(instance, dead, origin=origin_at(unused.getsockname()[1]))
        assert state_of(launcher, absent) == WorkerStatus.RUNNING
        assert state_of(launcher, make_run(instance, dead, origin=origin_at(code_server.port))) == (
            WorkerStatus.NOT_FOUND
        )
        # A code server that never comes back does not keep the run permanently.
        monkeypatch.setattr(run_launcher, "_CODE_SERVER_WAIT_SECONDS", 0.0)
        assert state_of(launcher, absent) == WorkerStatus.NOT_FOUND


def origin_at(port: int | None) -> RemoteJobOrigin:
    location = GrpcServerCodeLocationOrigin(host="localhost", port=port, location_name="sleeping")
    return RemoteJobOrigin(RemoteRepositoryOrigin(location, "__repository__"), "sleeping")
