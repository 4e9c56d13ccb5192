"""Ending the runs of an instance on one machine: before its processes stop, and after they died."""

import signal
from collections.abc import Iterable, Sequence
from contextlib import suppress

import dagster as dg
import psutil

from crdbvec_pipelines.orchestration.instance.dagster_internals import all_unfinished_backfills

# The statuses of runs that occupy a run slot. Dagster itself ends runs that are NOT_STARTED for too long.
_OCCUPYING_STATUSES = [
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
_BACKFILL_TAG = "dagster/backfill"
_MAX_RETRIES_TAG = "dagster/max_retries"
# The resolution of the start times of processes, and small corrections of the clock.
_CLOCK_TOLERANCE_SECONDS = 1.0


class RunInterrupter:
    """Interrupts the runs in progress, each of them once.

    A run of an unfinished backfill ends as failed and is retried when Dagster's daemon starts again, so that the
    backfill continues. Dagster counts the partitions of a canceled run as failed. Any other run is canceled. In both
    cases the process of the run ends after its current batches, and the rows that it has written are kept.

    Attributes:
        canceled: The number of runs that were canceled.
        to_be_retried: The number of runs that will be retried.
    """

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._instance = instance
        self._interrupted: set[str] = set()
        self.canceled = 0
        self.to_be_retried = 0

    def interrupt(self, processes: Iterable[psutil.Process]) -> None:
        """Interrupt the runs of processes that were not interrupted yet."""
        continued = {
            backfill.backfill_id
            for backfill in all_unfinished_backfills(self._instance)
            if backfill.status.value == "REQUESTED"
        }
        for run, process in runs_of(self._instance, processes):
            if run.run_id in self._interrupted:
                continue
            self._interrupted.add(run.run_id)
            if run.status == dg.DagsterRunStatus.CANCELING:
                # Its process has been interrupted. Another interrupt would end the wait for the current batches.
                self.canceled += 1
                continue
            if run.tags.get(_BACKFILL_TAG) in continued:
                self._allow_another_retry(run)
                self.to_be_retried += 1
            else:
                self._instance.report_run_canceling(run, message="Canceled because Dagster is being stopped.")
                self.canceled += 1
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGINT)

    def _allow_another_retry(self, run: dg.DagsterRun) -> None:
        """Do not count the interruption as one of the retries after failures."""
        allowed = run.tags.get(_MAX_RETRIES_TAG, str(self._instance.run_retries_max_retries))
        if allowed.isdecimal():
            self._instance.add_run_tags(run.run_id, {_MAX_RETRIES_TAG: str(int(allowed) + 1)})


def runs_of(
    instance: dg.DagsterInstance, processes: Iterable[psutil.Process]
) -> Sequence[tuple[dg.DagsterRun, psutil.Process]]:
    """Return the runs in progress that are executed by one of the processes, with their process."""
    pids = {process.pid for process in processes}
    found = ((run, _run_process(instance, run)) for run in _runs_in_progress(instance))
    return [(run, process) for run, process in found if process is not None and process.pid in pids]


def _runs_in_progress(instance: dg.DagsterInstance) -> Sequence[dg.DagsterRun]:
    return instance.get_runs(dg.RunsFilter(statuses=_OCCUPYING_STATUSES))


def _run_process(instance: dg.DagsterInstance, run: dg.DagsterRun) -> psutil.Process | None:
    """Return the process of a run; None if it has ended or has not logged its id yet."""
    types = {dg.DagsterEventType.ENGINE_EVENT, dg.DagsterEventType.RUN_START, dg.DagsterEventType.STEP_START}
    for entry in instance.all_logs(run.run_id, of_type=types):
        event = entry.get_dagster_event()
        logged = event.engine_event_data.metadata.get("pid") if event.is_engine_event else None
        pid = int(str(logged.value)) if logged is not None else event.pid
        if pid is None:
            continue
        try:
            process = psutil.Process(pid)
            # A later process may have got the id of one that has ended.
            if process.create_time() <= entry.timestamp + _CLOCK_TOLERANCE_SECONDS and _is_running(process):
                return process
        except psutil.NoSuchProcess:
            continue
    return None


def _is_running(process: psutil.Process) -> bool:
    # A process that has ended is a zombie until its parent waits for it.
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def end_dead_runs(instance: dg.DagsterInstance) -> int:
    """End the runs in progress that have no process on this machine, and return their number.

    They end as failed, and Dagster's daemon retries them; runs whose cancellation was requested end as canceled.

    Args:
        instance: An instance whose runs were all launched on this machine, while no process can launch another one.
    """
    ended = 0
    for run in _runs_in_progress(instance):
        if _run_process(instance, run) is not None:
            continue
        if run.status == dg.DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, message="The process of the run has ended after it was canceled.")
        else:
            instance.report_run_failed(run, message="The process of the run has ended without a result.")
        ended += 1
    return ended


def work_to_continue(instance: dg.DagsterInstance) -> str | None:
    """Return the queued runs and unfinished backfills as the subject of a sentence; None if there are none."""
    queued = instance.get_runs_count(dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED]))
    parts = [_plural(queued, "queued run"), _plural(len(all_unfinished_backfills(instance)), "unfinished backfill")]
    return " and ".join(part for part in parts if part) or None


def _plural(count: int, noun: str) -> str | None:
    if count == 0:
        return None
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
