"""The command line and Python in processes of their own."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]

_CRDBVEC = (sys.executable, "-c", "from crdbvec_pipelines.cli import main; main()")


def start_crdbvec(arguments: Sequence[str], folder: Path, **variables: str) -> subprocess.Popen[str]:
    """Starts `crdbvec` in a working directory, and does not wait for it."""
    return subprocess.Popen(
        [*_CRDBVEC, *arguments],
        cwd=folder,
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_crdbvec(arguments: Sequence[str], folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs `crdbvec` in a working directory to its end, whatever that is."""
    return run([*_CRDBVEC, *arguments], folder, variables)


def run_python(source: str, folder: Path, **variables: str) -> str:
    """What Python source prints, in a process of its own."""
    done = run([sys.executable, "-c", source], folder, variables)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run(command: Sequence[str], folder: Path, variables: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end."""
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
