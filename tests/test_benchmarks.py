"""Each benchmark runs to its end, on next to nothing; what it would measure so is of no interest."""

import subprocess
import sys

import pytest

from tests.support.processes import ROOT

_SHORT = {
    "encode": ("--rows", "32", "--batch", "16", "--rounds", "1"),
    "end_to_end": ("--rows", "60", "--long-rows", "8", "--rounds", "1"),
    "nearest": ("--rows", "3000"),
    "retrieval": ("--rows", "100", "--queries", "10"),
    "scale": ("--rows", "1000", "2000"),
    "sensor_tick": ("--rows", "1000", "2000"),
    "startup": ("--times", "1"),
    "workers": ("--rows", "60", "--rounds", "1"),
}


def test_every_benchmark_has_a_short_form_here() -> None:
    runnable = {file.stem for file in (ROOT / "benchmarks").glob("*.py") if "__main__" in file.read_text()}
    assert runnable == _SHORT.keys()


@pytest.mark.parametrize("name", _SHORT)
def test_it_runs_to_its_end_and_prints_figures(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", *_SHORT[name]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    assert any(character.isdigit() for character in done.stdout)
