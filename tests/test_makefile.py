"""The Makefile: the list of targets, and the choice of the Python interpreter."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import ROOT

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")

PHONY = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)[0].split()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a folder with the Makefile and the files from which it creates the virtual environment."""
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def make(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHON", "MAKEFLAGS", "MAKELEVEL")}
    return subprocess.run(
        ["make", *arguments],
        cwd=folder,
        env={**environment, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("arguments", [(), ("help",)], ids=["no target", "help"])
def test_help_lists_every_target_with_a_sentence(checkout: Path, arguments: tuple[str, ...]) -> None:
    done = make(checkout, *arguments)
    assert done.returncode == 0, done.stderr
    usage, *lines = done.stdout.splitlines()
    assert usage == "Usage: make <target> [PYTHON=/path/to/python] [TORCH=cpu|auto|pypi]"
    assert [line.split()[0] for line in lines] == PHONY
    assert [line for line in lines if not line.endswith(".")] == []


def link(folder: Path, name: str, target: str) -> None:
    path = shutil.which(target)
    assert path is not None
    (folder / name).symlink_to(path)


def test_first_supported_python_on_the_path_is_used(checkout: Path) -> None:
    programs = checkout / "bin"
    programs.mkdir()
    for program in ("make", "sh"):
        link(programs, program, program)
    link(programs, "python3.11", "false")
    (programs / "python3.13").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
    (programs / "python3.13").chmod(0o755)
    done = make(checkout, "--dry-run", "ui", PATH=str(programs))
    assert done.returncode == 0, done.stderr
    assert '"python3.13" -m venv .venv' in done.stdout


def test_installation_says_what_it_does_and_takes_the_cpu_build_of_torch(checkout: Path) -> None:
    done = make(checkout, "--dry-run", "demo", f"PYTHON={sys.executable}")
    assert done.returncode == 0, done.stderr
    announced = [line for line in done.stdout.splitlines() if line.startswith("echo ")]
    assert [line.split()[1] for line in announced] == ['"Installing', '"1', '"2', '"3', '"4']
    (version,) = re.findall(r"^torch==([\d.]+)", (checkout / "requirements.lock").read_text("utf-8"), re.MULTILINE)
    assert f"install 'torch=={version}+cpu'" in done.stdout
    assert "--torch-backend 'cpu'" in done.stdout
    assert done.stdout.rstrip().endswith(".venv/bin/crdbvec demo")
    other = make(checkout, "--dry-run", "demo", f"PYTHON={sys.executable}", "TORCH=cu130")
    assert "--torch-backend 'cu130'" in other.stdout


@pytest.mark.parametrize(
    ("python", "sentence"),
    [
        ("", "No supported Python was found on PATH."),
        ("false", "false is not a supported Python."),
    ],
)
def test_without_a_supported_python_the_error_says_what_to_do(checkout: Path, python: str, sentence: str) -> None:
    done = make(checkout, "demo", f"PYTHON={python}")
    assert done.returncode != 0
    remedy = "Install Python 3.11 to 3.14, or run: make PYTHON=/path/to/python"
    assert done.stderr.splitlines()[0] == f"{sentence} {remedy}"
    assert not (checkout / ".venv").exists()


def test_supported_versions_are_those_of_the_package() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    lowest, above = re.findall(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', project)[0]
    assert f"(3, {lowest}) <= sys.version_info[:2] <= (3, {int(above) - 1})" in makefile
    assert f"Install Python 3.{lowest} to 3.{int(above) - 1}" in makefile
