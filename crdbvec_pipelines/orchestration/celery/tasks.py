"""The task that executes a run in a process of a worker."""

import signal
import socket
from collections.abc import Mapping
from functools import cache
from typing import Any

import dagster as dg
from celery import Celery

from crdbvec_pipelines.orchestration.celery.settings import EXECUTE_RUN_TASK
from crdbvec_pipelines.orchestration.celery.versions import difference
from crdbvec_pipelines.orchestration.celery.workers import tag_of
from crdbvec_pipelines.orchestration.instance.dagster_internals import execute_run_in_process

_STARTABLE = (dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.NOT_STARTED)


def register_tasks(app: Celery) -> None:
    """Add the task to the Celery app of a worker."""

    @app.task(bind=True, name=EXECUTE_RUN_TASK, ignore_result=True)  # type: ignore[untyped-decorator]
    def execute(self: Any, run_id: str, versions: Mapping[str, str]) -> None:
        # Dagster maps SIGTERM to the handler of SIGINT, which workers ignore. Celery needs its own again.
        handler = signal.getsignal(signal.SIGTERM)
        try:
            execute_run(_instance(), run_id, versions, self.request.hostname or socket.gethostname())
        finally:
            signal.signal(signal.SIGTERM, handler)


@cache
def _instance() -> dg.DagsterInstance:
    """Return the instance of this process. To open one costs as much as the rest of a run's start, so it stays open."""
    return dg.DagsterInstance.get()


def execute_run(instance: dg.DagsterInstance, run_id: str, versions: Mapping[str, str], worker: str) -> None:
    """Execute a run, unless its task was delivered a second time or the run was canceled in the queue.

    Args:
        instance: The instance of the run.
        run_id: The run.
        versions: The versions of the launcher.
        worker: The name of this worker.
    """
    run = instance.get_run_by_id(run_id)
    if run is None or run.status not in _STARTABLE:
        return
    different = difference(versions)
    if different:
        instance.report_run_failed(
            run, f"The versions differ: {different}. Install the same version on all hosts, and restart them."
        )
        return
    instance.add_run_tags(run_id, tag_of(run_id, worker))
    instance.report_engine_event(f"Executing the run on the Celery worker {worker}.", run)
    execute_run_in_process(instance, run_id)
