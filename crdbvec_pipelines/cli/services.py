"""The processes of `crdbvec ui`: starting them, finding them, and ending them in order."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import click
import dagster as dg
import psutil

from crdbvec_pipelines.bundled import bundled
from crdbvec_pipelines.cli.signals import StopSignals
from crdbvec_pipelines.orchestration.instance.shutdown import (
    RunInterrupter,
    end_dead_runs,
    runs_of,
    work_to_continue,
)

FOLDER_VARIABLE = "CRDBVEC_UI_FOLDER"
"""In the environment of each process that `crdbvec ui` starts, and of their child processes."""

# A batch of the demo takes less than a second; a slow model on a busy machine takes many seconds per batch.
LIMIT_SECONDS = 60
_POLL_SECONDS = 0.3
_KILL_SECONDS = 5


@dataclass(frozen=True)
class Services:
    """Dagster's webserver, daemon, code servers and run workers for one folder.

    The processes are found by a variable in their environment. Their parents do not show to which folder they belong,
    because a process whose parent was killed gets another one.

    Attributes:
        folder: The absolute path of the folder with the data of Dagster, or of the demo.
        instance: Its Dagster instance.
        working_directory: The working directory of the processes, to which paths in the URL of a database are relative.
    """

    folder: Path
    instance: dg.DagsterInstance
    working_directory: Path

    def start(self, host: str, port: int) -> "subprocess.Popen[bytes]":
        """Start Dagster; it stops if this process is killed."""
        # Dagster emits deprecation warnings about its own command, which a user of the demo cannot act on.
        command = [sys.executable, "-W", "ignore", "-m", "crdbvec_pipelines.cli.dagster_dev", "dev"]
        return subprocess.Popen(  # noqa: S603
            [*command, "-w", str(bundled("workspace.yaml")), "-p", str(port), "-h", host],
            cwd=self.working_directory,
            env={**os.environ, FOLDER_VARIABLE: str(self.folder)},
            # The child reads the end of this pipe, which the system closes when this process ends.
            stdin=subprocess.PIPE,
            # Ctrl-C in the terminal must not reach the processes of Dagster, whose order of stopping matters.
            start_new_session=True,
        )

    def processes(self) -> list[psutil.Process]:
        """Return the running processes, without this one."""
        return [process for process in psutil.process_iter() if process.pid != os.getpid() and self._has(process)]

    def _has(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get(FOLDER_VARIABLE) == str(self.folder)
        except (psutil.Error, OSError):
            # It has ended, or it belongs to another user.
            return False

    def stop(self, signals: StopSignals) -> RunInterrupter:
        """End all processes, and return which runs were interrupted.

        The daemon and the webserver end first, so that no run is launched any more. Runs end after their current
        batches, and code servers when they have no run. What has not ended after a minute is killed.

        Args:
            signals: The signals of this process; if they ask to stop at once, the processes are killed.
        """
        runs = RunInterrupter(self.instance)
        deadline = time.monotonic() + LIMIT_SECONDS
        try:
            awaited = self._interrupt_services()
            runs.interrupt(self.processes())
            say(f"Waiting at most {LIMIT_SECONDS} s until {awaited}. Ctrl-C kills all processes at once.")
            while (processes := self.processes()) and time.monotonic() < deadline and not signals.stop_at_once:
                runs.interrupt(processes)
                time.sleep(_POLL_SECONDS)
        finally:
            signals.is_killing = True
            self.kill()
        if not signals.stop_at_once:
            end_dead_runs(self.instance)
        return runs

    def _interrupt_services(self) -> str:
        """Interrupt the processes that no other one of them will stop, except run workers; return what to wait for."""
        processes = {process.pid: process for process in self.processes()}
        workers = {worker.pid for _, worker in runs_of(self.instance, processes.values())}
        awaited = "Dagster has ended"
        if workers:
            count = "1 run" if len(workers) == 1 else f"{len(workers)} runs"
            awaited = f"{count} in progress and Dagster have ended"
        for process in processes.values():
            with suppress(psutil.NoSuchProcess):
                if process.ppid() not in processes and process.pid not in workers:
                    # SIGINT is the only signal on which `dagster dev` stops its webserver, daemon and code servers.
                    process.send_signal(signal.SIGINT)
        return awaited

    def kill(self) -> None:
        """Kill the processes, including those that they start until they end."""
        deadline = time.monotonic() + _KILL_SECONDS
        while (processes := self.processes()) and time.monotonic() < deadline:
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(processes, timeout=_KILL_SECONDS)

    def report_stopped(self, runs: RunInterrupter) -> None:
        """Print what was interrupted, and what continues at the next start."""
        sentences = ["Stopped."]
        if runs.canceled:
            sentences.append(f"{runs.canceled} {'run was' if runs.canceled == 1 else 'runs were'} canceled.")
        if runs.to_be_retried:
            noun = "run of a backfill was" if runs.to_be_retried == 1 else "runs of backfills were"
            sentences.append(f"{runs.to_be_retried} {noun} interrupted.")
        if work := work_to_continue(self.instance):
            sentences.append(f"The next start continues {work}.")
        say(" ".join(sentences))


def say(message: str) -> None:
    """Print a message unless the terminal has been closed."""
    with suppress(OSError):
        click.echo(message)
