"""dagster-celery's run launcher, which notices when the worker of a run has died.

The launcher of dagster-celery reads the state of a run's task from Celery's result backend, where it stays "started"
after the end of the worker: the run stays STARTED until `max_runtime_seconds`. This one asks the worker.
"""

import logging
from collections.abc import Mapping
from typing import Any, Self

import dagster as dg
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tags import DAGSTER_CELERY_QUEUE_TAG, DAGSTER_CELERY_RUN_PRIORITY_TAG, DAGSTER_CELERY_TASK_ID_TAG
from kombu.exceptions import OperationalError

from crdbvec_pipelines.errors import ConfigurationError
from crdbvec_pipelines.orchestration.asset_names import QUEUE_TAG
from crdbvec_pipelines.orchestration.celery.settings import DEFAULT_QUEUE, EXECUTE_RUN_TASK, merged_settings
from crdbvec_pipelines.orchestration.celery.versions import own_versions, store_versions
from crdbvec_pipelines.orchestration.celery.workers import DEAD_AFTER_SECONDS, Answer, MissedPings, ask, worker_of
from crdbvec_pipelines.orchestration.instance.dagster_internals import (
    CheckRunHealthResult,
    ConfigurableClassData,
    DagsterUserCodeUnreachableError,
    LaunchRunContext,
    UserConfigSchema,
    WorkerStatus,
    last_event_id,
)

logger = logging.getLogger(__name__)

_WHOLE_RUN_RETRY = {"dagster/retry_strategy": "ALL_STEPS"}


class MonitoredCeleryRunLauncher(CeleryRunLauncher):
    """`run_launcher` of dagster.yaml: sends each run to the workers that `crdbvec worker` starts.

    Run monitoring uses it to fail a run whose worker has died, which run retries then retry on another worker. The id
    of a run is also that of its task, so that no tag has to be read to find one by the other.

    Args:
        default_queue: The queue of a run without the tag `crdbvec/queue`.
        broker: The URL of the broker.
        backend: The URL of a result backend, which is not needed.
        include: Modules that workers import.
        config_source: Celery settings that replace those of `settings.SETTINGS`.
        dead_after_seconds: How long a worker may be silent before its run is taken for dead.
        inst_data: The configuration as Dagster has read it.
    """

    def __init__(
        self,
        default_queue: str = DEFAULT_QUEUE,
        broker: str | None = None,
        backend: str | None = None,
        include: list[str] | None = None,
        config_source: dict[str, Any] | None = None,
        dead_after_seconds: float = DEAD_AFTER_SECONDS,
        inst_data: ConfigurableClassData | None = None,
    ) -> None:
        if (backend or "").startswith("rpc"):
            raise ConfigurationError(
                "The Celery result backend rpc:// keeps results in the process that has asked for them. Remove "
                "`backend` from run_launcher.config of dagster.yaml; this launcher needs none."
            )
        super().__init__(default_queue, broker, backend, include, merged_settings(config_source), inst_data)
        self._missed = MissedPings(dead_after_seconds)
        self._has_stored_versions = False

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """Return the configuration schema: that of dagster-celery, without a default for the result backend."""
        fields: Mapping[str, Any] = dict(super().config_type())  # type: ignore[arg-type]
        description = "Seconds without an answer, and without an event of the run, after which a worker is dead."
        return {
            **fields,
            "backend": dg.Field(dg.Noneable(dg.StringSource), is_required=False, description="Not needed."),
            "dead_after_seconds": dg.Field(dg.Float, default_value=DEAD_AFTER_SECONDS, description=description),
        }

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        """Return the launcher."""
        return cls(inst_data=inst_data, **config_value)

    @property
    def supports_resume_run(self) -> bool:
        """Runs are retried as a whole and never resumed: a resumed run would execute the work of a dead one twice."""
        return False

    def launch_run(self, context: LaunchRunContext) -> None:
        """Send a run to its queue.

        Raises:
            DagsterUserCodeUnreachableError: The broker is unavailable; a run from the queue is put back into it.
        """
        run = context.dagster_run
        queue = self._queue_of(context)
        # Before the task is sent: Dagster stores tags and status of a run together without a lock, so that a tag that
        # is added while the worker starts the run can be lost. The tags of a retry are those of its parent.
        tags = {**_WHOLE_RUN_RETRY, **run.tags, DAGSTER_CELERY_TASK_ID_TAG: run.run_id}
        self._instance.add_run_tags(run.run_id, tags)
        if not self._has_stored_versions:
            store_versions(self._instance)
            self._has_stored_versions = True
        try:
            self.celery.send_task(
                EXECUTE_RUN_TASK,
                kwargs={"run_id": run.run_id, "versions": own_versions()},
                task_id=run.run_id,
                queue=queue,
                priority=_priority(run),
                ignore_result=True,
            )
        except (OperationalError, OSError) as error:
            raise DagsterUserCodeUnreachableError(
                f"The Celery broker is unavailable: {type(error).__name__}."
            ) from None
        self._instance.report_engine_event(f"The run is in the Celery queue {queue}.", run, cls=self.__class__)

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Return whether a started run is still executed by its worker."""
        worker = worker_of(run)
        answer = ask(self.celery, run.run_id, worker)
        if answer is Answer.BROKER_UNAVAILABLE:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "The Celery broker is unavailable.")
        if answer is Answer.NO_REPLY:
            missed = self._missed.missed(run.run_id, last_event_id(self._instance, run.run_id))
            if missed is None:
                return CheckRunHealthResult(WorkerStatus.RUNNING, "The Celery worker has not answered.")
            message = f"The Celery worker {worker or 'of the run'} has not answered {missed} pings."
            return CheckRunHealthResult(WorkerStatus.NOT_FOUND, message)
        self._missed.answered(run.run_id)
        if answer is Answer.HELD:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        current = self._instance.get_run_by_id(run.run_id)
        if current is None or current.is_finished:
            return CheckRunHealthResult(WorkerStatus.SUCCESS)
        message = f"The Celery worker {worker} has no task for the run any more: the process of the run has died."
        return CheckRunHealthResult(WorkerStatus.NOT_FOUND, message)

    def terminate(self, run_id: str) -> bool:
        """Interrupt a run, which ends after its current batches; cancel one that no worker has started.

        Returns:
            Whether the run is being terminated.
        """
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        self._instance.report_run_canceling(run)
        if worker_of(run) is None:
            # The task stays in the queue; the worker that receives it finds a finished run and does nothing.
            self._instance.report_run_canceled(run, "The run was canceled before a Celery worker started it.")
            return True
        self.celery.control.revoke(run_id, terminate=True, signal="SIGTERM")
        return True

    def get_run_worker_debug_info(self, run: dg.DagsterRun, include_container_logs: bool | None = True) -> str | None:
        """Return which worker executes a run."""
        return f"Celery task {run.run_id}, worker: {worker_of(run) or 'none yet'}."

    def _queue_of(self, context: LaunchRunContext) -> str:
        """Return the queue of a run: that of its tags, otherwise that of the tags of its first asset."""
        run = context.dagster_run
        for tag in (QUEUE_TAG, DAGSTER_CELERY_QUEUE_TAG):
            if tag in run.tags:
                return run.tags[tag]
        if context.workspace is not None:
            graph = context.workspace.asset_graph
            for key in sorted(run.asset_selection or ()):
                if graph.has(key) and QUEUE_TAG in graph.get(key).tags:
                    return str(graph.get(key).tags[QUEUE_TAG])
        return self.default_queue


def _priority(run: dg.DagsterRun) -> int:
    text = run.tags.get(DAGSTER_CELERY_RUN_PRIORITY_TAG, "0")
    return int(text) if text.isdecimal() else 0
