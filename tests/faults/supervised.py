"""Processes that a supervisor starts again after each end, and what is required of each of these ends."""

import re
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.canaries import found_in

# Done; failed, but the same command can succeed later; done, but rows have failed. 2 would be an error that is to be
# corrected first, and no fault of this suite is one.
_EXIT_CODES = {0, 1, 3}
# The last line of a command that ends with 1.
_SENTENCE = re.compile(r"Error: [A-Z].*\.")
# Between the end of a process and the next start.
_RESTART_SECONDS = 0.2
_STOP_SECONDS = 120


@dataclass
class End:
    """One process from its start to its end.

    Attributes:
        name: What it was started as.
        code: Its exit code, as a shell shows it: 128 and the number for a signal.
        output: What it has written to stdout and stderr.
        signals: The signals that were sent to it.
    """

    name: str
    code: int
    output: str
    signals: Sequence[signal.Signals] = ()

    def check(self, *, is_dagster: bool = False) -> None:
        """Assert that the exit code is a documented one, and that the output is a sentence without secrets.

        Args:
            is_dagster: Whether Dagster writes the output, which then contains tracebacks.
        """
        description = f"{self.name} ended with {self.code} after {list(self.signals)}:\n{self.output}"
        assert self.code in _EXIT_CODES | {128 + number for number in self.signals}, description
        assert found_in(self.output) == [], description
        if is_dagster:
            # The run has failed, not the command that starts it.
            assert self.code != 1 or self.signals or "RUN_FAILURE" in self.output, description
            return
        assert "Traceback" not in self.output, description
        if self.code == 1:
            assert _SENTENCE.fullmatch(self.output.strip().splitlines()[-1]), description


@dataclass
class Supervised:
    """A process that is started again as soon as it has ended, in a thread.

    Attributes:
        name: What it is started as.
        start: Starts it with a file for its output.
        folder: The folder for its outputs.
        ends: The ends so far.
    """

    name: str
    start: Callable[[Path], "subprocess.Popen[str]"]
    folder: Path
    ends: list[End] = field(default_factory=list)
    _process: "subprocess.Popen[str] | None" = None
    _signals: list[signal.Signals] = field(default_factory=list)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _thread: threading.Thread | None = None

    def begin(self) -> None:
        """Start the process for the first time."""
        self._thread = threading.Thread(target=self._supervise, daemon=True)
        self._thread.start()

    def send(self, number: signal.Signals) -> bool:
        """Send a signal to the process; return whether one is running."""
        with self._lock:
            process = self._process
            if process is None or process.poll() is not None:
                return False
            self._signals.append(number)
            process.send_signal(number)
            return True

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Stop the process for good, by a signal."""
        self._stopping.set()
        self.send(number)
        assert self._thread is not None
        self._thread.join(_STOP_SECONDS)
        assert not self._thread.is_alive(), f"{self.name} did not end after {number.name}"

    def codes(self) -> Counter[int]:
        """Return how often it has ended with each exit code."""
        return Counter(end.code for end in self.ends)

    def _supervise(self) -> None:
        while not self._stopping.is_set():
            output = self.folder / f"{self.name}.{len(self.ends)}.txt"
            with self._lock:
                self._signals = []
                self._process = process = self.start(output)
            code = process.wait()
            with suppress(OSError):
                text = output.read_text(encoding="utf-8", errors="replace")
            shown = code if code >= 0 else 128 - code
            self.ends.append(End(self.name, shown, text, tuple(self._signals)))
            self._stopping.wait(_RESTART_SECONDS)
