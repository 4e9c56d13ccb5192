"""Child processes of tests: default signal handling and time limits."""

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.processes import ROOT, restore_default_signals, run, run_python, start_crdbvec

_PRINT_HANDLERS = (
    "import signal; "
    "print(signal.getsignal(signal.SIGINT) is signal.default_int_handler, "
    "*(signal.getsignal(n) is signal.SIG_DFL for n in (signal.SIGQUIT, signal.SIGTERM)))"
)
SIGNALS = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)


@pytest.fixture
def _ignored_signals() -> Iterator[None]:
    """Signals that are ignored, as in a background job."""
    handlers = {number: signal.signal(number, signal.SIG_IGN) for number in SIGNALS}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("_ignored_signals")
def test_children_do_not_ignore_signals_after_the_defaults_are_restored() -> None:
    assert run_python(_PRINT_HANDLERS, ROOT).split() == ["False"] * 3
    restore_default_signals()
    assert run_python(_PRINT_HANDLERS, ROOT).split() == ["True"] * 3


def test_child_is_killed_after_the_time_limit() -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        run([sys.executable, "-c", "import time; time.sleep(600)"], ROOT, limit_seconds=0.2)


def test_background_child_is_killed_after_the_time_limit() -> None:
    with start_crdbvec(["--help"], ROOT, limit_seconds=0) as process:
        process.communicate()
    assert process.returncode == -signal.SIGKILL
