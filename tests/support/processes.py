"""The command line and Python in child processes, with default signal handling and a time limit."""

import os
import pty
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parents[2]
LIMIT_SECONDS = 240
"""A child process is killed before pytest-timeout ends the test, which then fails with the output of the child."""

CRDBVEC = (sys.executable, "-c", "from crdbvec_pipelines.cli import main; main()")
"""The command `crdbvec`, without the script that pip installs."""

_started: list[subprocess.Popen[str]] = []


def restore_default_signals() -> None:
    """Stop ignoring the signals that a shell ignores in background jobs: child processes would ignore them, too."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def start_crdbvec(
    arguments: Sequence[str],
    folder: Path,
    *,
    limit_seconds: float = LIMIT_SECONDS,
    output: IO[Any] | None = None,
    **variables: str,
) -> subprocess.Popen[str]:
    """Start `crdbvec` in a working directory and return without waiting; it is killed after the time limit.

    Args:
        arguments: Its arguments.
        folder: The working directory.
        limit_seconds: The time limit.
        output: The file to which it writes; by default its output can be read from the process.
        variables: Further environment variables.
    """
    return start([*CRDBVEC, *arguments], folder, variables, limit_seconds=limit_seconds, output=output)


def start(
    command: Sequence[str],
    folder: Path,
    variables: Mapping[str, str] | None = None,
    *,
    limit_seconds: float = LIMIT_SECONDS,
    output: IO[Any] | None = None,
) -> subprocess.Popen[str]:
    """Start a command and return without waiting; it is killed after the time limit. See `start_crdbvec`."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, **(variables or {})},
        stdin=subprocess.DEVNULL,
        stdout=output or subprocess.PIPE,
        stderr=output or subprocess.PIPE,
        text=True,
    )
    # `kill` does nothing if the process has ended.
    timer = threading.Timer(limit_seconds, process.kill)
    timer.daemon = True
    timer.start()
    _started.append(process)
    return process


def close_pipes() -> None:
    """Close the pipes of the started processes that have ended: if they were left, a later test would be warned."""
    for process in [each for each in _started if each.poll() is not None]:
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        _started.remove(process)


def run_crdbvec(arguments: Sequence[str], folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `crdbvec` in a working directory and return its exit code and output."""
    return run([*CRDBVEC, *arguments], folder, variables)


def run_python(source: str, folder: Path, **variables: str) -> str:
    """Run Python source in a child process and return what it prints."""
    completed = run([sys.executable, "-c", source], folder, variables)
    assert completed.returncode == 0, completed.stderr
    return completed.stdout


def run_on_terminal(command: Sequence[str], typed: bytes = b"", *, columns: int = 80) -> str:
    """Run a command on a terminal of 40 lines with typed answers, and return all that the terminal shows."""
    terminal, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, columns))
    os.write(terminal, typed)
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=_without_size())
    os.close(theirs)
    shown = b""
    # On Linux, reading fails when no process has the terminal any more.
    with suppress(OSError):
        while part := os.read(terminal, 65_536):
            shown += part
    os.close(terminal)
    assert process.wait(LIMIT_SECONDS) == 0, shown
    return shown.decode()


def _without_size() -> Mapping[str, str]:
    return {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}


def run(
    command: Sequence[str],
    folder: Path,
    variables: Mapping[str, str] | None = None,
    *,
    limit_seconds: float = LIMIT_SECONDS,
) -> subprocess.CompletedProcess[str]:
    """Run a command and return its exit code and output.

    Raises:
        TimeoutExpired: The command did not end within the time limit, and was killed.
    """
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **(variables or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=limit_seconds,
    )
