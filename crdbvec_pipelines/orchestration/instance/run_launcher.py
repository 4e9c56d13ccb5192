"""Dagster's default run launcher, with the knowledge of which process executes a run.

The default launcher knows a run only through the code server that started it. After the end of that server it cannot
tell whether the run has a process, and cannot terminate it. A run whose process has died then stays started, and
occupies one of the instance's run slots, until `max_runtime_seconds`.
"""

import json
import logging
import socket
import time
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg
import psutil

from crdbvec_pipelines.orchestration.instance.dagster_internals import (
    GRPC_INFO_TAG,
    CheckRunHealthResult,
    ConfigurableClassData,
    DagsterCodeLocationLoadError,
    DagsterLaunchFailedError,
    DagsterUserCodeUnreachableError,
    LaunchRunContext,
    WorkerStart,
    WorkerStatus,
    ping_code_server,
    worker_starts,
)
from crdbvec_pipelines.process_identity import ProcessIdentity

if TYPE_CHECKING:
    from crdbvec_pipelines.orchestration.instance.dagster_internals import IWorkspaceProcessContext

logger = logging.getLogger(__name__)

PROCESS_TAG = "crdbvec/run_process"
"""The tag with the identity of a run's process, after the id of the run: a retry inherits the tags of its parent."""

_LOCAL_HOSTS = {"localhost", "127.0.0.1", "::1"}
# The argument of every process that multiprocessing starts, as the code server does with the processes of runs.
_WORKER_ARGUMENT = "--multiprocessing-fork"
# A process logs its start after it has started; the difference allows for the resolution of the clock.
_CLOCK_SECONDS = 1.0
# A launched run has a process, which logs its id at once: in a tenth of a second, on a busy machine in some seconds.
_START_EVENT_SECONDS = 20.0
_START_EVENT_POLL_SECONDS = 0.1
# Dagster retries a failed run immediately and once: if the code server does not answer then, the run is not retried.
_CODE_SERVER_WAIT_SECONDS = 180.0
_SHUTTING_DOWN = "after telling it to shut down"


class MonitoredRunLauncher(dg.DefaultRunLauncher):
    """`run_launcher` of dagster.yaml: launches runs on code servers and tags each with the identity of its process.

    Run monitoring uses it to fail a run whose process has died, which run retries then retry. A run that is not tagged
    is never taken for dead: it was launched by another launcher, or on a code server on another host.
    """

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(inst_data)
        self._context: weakref.ReferenceType[IWorkspaceProcessContext[Any]] | None = None
        # When the code server of a dead run was first found not to answer, by run.
        self._waiting_since: dict[str, float] = {}

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Whether run monitoring may ask for the state of a run's process."""
        return True

    def launch_run(self, context: LaunchRunContext) -> None:
        """Launch a run, and tag it with the identity of its process.

        Raises:
            DagsterLaunchFailedError: The code server could not start the run.
            DagsterUserCodeUnreachableError: The code server does not answer or is shutting down; a run from the queue
                is put back into it.
        """
        run_id = context.dagster_run.run_id
        if context.workspace is not None:
            self._context = weakref.ref(context.workspace.process_context)
        earlier = worker_starts(self._instance, run_id)
        try:
            super().launch_run(context)
        except DagsterLaunchFailedError as error:
            if _SHUTTING_DOWN in str(error):
                raise DagsterUserCodeUnreachableError("The code server is shutting down.") from error
            raise
        try:
            self._tag_when_started(run_id, len(earlier))
        except Exception:
            # The run has been launched, so it must not seem to have failed. Run monitoring tags it later.
            logger.warning("Run %s was launched, but not tagged with its process.", run_id, exc_info=True)

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Return whether the process of a started run still exists, as far as this host can know it.

        While the code server does not answer, a dead run is reported as running, because its retry would fail; for some
        minutes only.
        """
        identity = self._identity(run)
        if identity is None:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "The process of the run is not known on this host.")
        if not identity.has_ended():
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        if self._is_waiting_for_code_server(run):
            return CheckRunHealthResult(WorkerStatus.RUNNING, "The process has ended; waiting for the code server.")
        return CheckRunHealthResult(WorkerStatus.NOT_FOUND, _ended(identity))

    def terminate(self, run_id: str) -> bool:
        """Terminate a run through its code server, otherwise by a signal to its process.

        Returns:
            Whether the run is being terminated, or has been marked as canceled because its process no longer exists.

        Raises:
            DagsterUserCodeUnreachableError: The code server does not answer, and the process is not known on this host.
        """
        unreachable = None
        try:
            if super().terminate(run_id):  # type: ignore[no-untyped-call]
                return True
        except DagsterUserCodeUnreachableError as error:
            unreachable = error
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        identity = self._identity(run)
        if identity is None or not identity.is_on_this_host:
            if unreachable:
                raise unreachable
            return False
        if identity.has_ended():
            self._instance.report_run_canceled(run, _ended(identity))
            return True
        return identity.interrupt()

    def _identity(self, run: dg.DagsterRun) -> ProcessIdentity | None:
        """Return the identity of a run's process; None if it is not known."""
        # A process that was not seen alive may be one of another host, or of a container with its own process ids.
        return _stored_identity(run) or self._tag(run, worker_starts(self._instance, run.run_id))

    def _tag_when_started(self, run_id: str, earlier: int) -> None:
        """Wait until the process of a launched run has logged its id, and tag the run.

        Dagster stores the tags of a run together with its status, without a lock: if the process logs its next event
        while the run is tagged, the tag is lost. It is therefore read again at the next poll.
        """
        deadline = time.monotonic() + _START_EVENT_SECONDS
        while time.monotonic() < deadline:
            run = self._instance.get_run_by_id(run_id)
            if run is None or run.is_finished or not _has_local_code_server(run):
                return
            starts = worker_starts(self._instance, run_id)
            if len(starts) > earlier:
                stored = _stored_identity(run)
                if stored is not None and stored.pid == starts[-1].pid:
                    return
                if self._tag(run, starts) is None:
                    return
            time.sleep(_START_EVENT_POLL_SECONDS)

    def _tag(self, run: dg.DagsterRun, starts: Sequence[WorkerStart]) -> ProcessIdentity | None:
        """Tag a run with the identity of the process that logged the last start, if this host still has it."""
        if not starts or not _has_local_code_server(run):
            return None
        identity = ProcessIdentity.of(starts[-1].pid)
        if identity is None or not _is_worker(starts[-1]):
            return None
        self._instance.add_run_tags(run.run_id, {PROCESS_TAG: f"{run.run_id}/{identity}"})
        return identity

    def _is_waiting_for_code_server(self, run: dg.DagsterRun) -> bool:
        """Return whether the code server of a dead run does not answer, but may within the time limit."""
        try:
            ping_code_server(run, self._context() if self._context else None)
        except (DagsterCodeLocationLoadError, DagsterUserCodeUnreachableError):
            since = self._waiting_since.setdefault(run.run_id, time.monotonic())
            return time.monotonic() - since < _CODE_SERVER_WAIT_SECONDS
        return False


def _stored_identity(run: dg.DagsterRun) -> ProcessIdentity | None:
    """Return the identity of a run's process according to its tags; None for the tag of its parent."""
    run_id, _, text = run.tags.get(PROCESS_TAG, "").partition("/")
    return ProcessIdentity.parse(text) if run_id == run.run_id else None


def _ended(identity: ProcessIdentity) -> str:
    return f"The process of the run, {identity.pid} on {identity.host.partition(':')[0]}, no longer exists."


def _has_local_code_server(run: dg.DagsterRun) -> bool:
    """Return whether the code server that started a run is on this host, according to its address."""
    address = json.loads(run.tags.get(GRPC_INFO_TAG, "{}"))
    return "socket" in address or address.get("host") in {*_LOCAL_HOSTS, socket.gethostname()}


def _is_worker(start: WorkerStart) -> bool:
    """Return whether the process with a logged id is the one that logged it, and not a later or an unrelated one."""
    try:
        process = psutil.Process(start.pid)
        return process.create_time() < start.logged_at + _CLOCK_SECONDS and _WORKER_ARGUMENT in process.cmdline()
    except psutil.Error:
        return False
