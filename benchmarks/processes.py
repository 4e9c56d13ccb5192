"""Child processes of the benchmarks: default signal handling, a time limit for each, and an orderly end."""

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.pool import Pool
from pathlib import Path
from types import FrameType
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

# A child that takes longer hangs: the longest, one refresh of 1,000,000 rows, takes under two minutes.
CHILD_LIMIT_SECONDS = 900
# Dagster's daemon ends its threads within a few seconds.
_STOP_LIMIT_SECONDS = 60


def _exit_on_sigterm(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


def set_signal_handlers() -> None:
    """Let SIGINT and SIGTERM end this process through its `finally` blocks, and end its children.

    A process that a shell starts in the background may inherit ignored signals, and passes them on to its children.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _exit_on_sigterm)


def _initialize_worker(initializer: Callable[[], None]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    initializer()


@dataclass(frozen=True)
class WorkerPool:
    """Worker processes, each of which gets one part of a batch at a time."""

    _pool: Pool

    def map(self, function: Callable[[T], R], parts: Sequence[T]) -> list[R]:
        """Return the results of all parts, in their order.

        Raises:
            multiprocessing.TimeoutError: A worker takes longer than `CHILD_LIMIT_SECONDS`.
        """
        return self._pool.map_async(function, parts, chunksize=1).get(CHILD_LIMIT_SECONDS)


@contextmanager
def worker_pool(workers: int, initializer: Callable[[], None]) -> Iterator[WorkerPool]:
    """Start worker processes, and end them: after their last task, or at once if an error occurred."""
    pool = multiprocessing.get_context("spawn").Pool(workers, _initialize_worker, (initializer,))
    try:
        yield WorkerPool(pool)
        pool.close()
    except BaseException:
        pool.terminate()
        raise
    finally:
        pool.join()


def run_child(command: Sequence[str], folder: Path | None = None, environment: Mapping[str, str] | None = None) -> str:
    """Run a command to its end and return what it prints on stdout.

    Raises:
        RuntimeError: It fails; the message contains the end of its stderr.
        subprocess.TimeoutExpired: It takes longer than `CHILD_LIMIT_SECONDS`.
    """
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=CHILD_LIMIT_SECONDS,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} exited with {done.returncode}:\n{done.stderr[-3_000:]}")
    return done.stdout


@contextmanager
def running_child(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a command in the background; at the end, stop it with SIGINT and kill what is left of its process group."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_STOP_LIMIT_SECONDS)
        finally:
            # A code server may outlive its daemon.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
