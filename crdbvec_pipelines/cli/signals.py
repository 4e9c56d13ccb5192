"""The signals that end a command: the first asks it to end, the second ends it at once, in every state.

Python runs a signal handler in the main thread and between two of its instructions, so no handler runs while that
thread is in a C function, such as the resolution of a host name or the code of a model. Two mechanisms do not need it:

- The interpreter writes the number of each signal into a pipe. A thread reads it, and ends the process.
- On systems with glibc, the first delivery of a signal restores the default action. With it, the second one ends the
  process also while C code holds the interpreter lock, when no thread of Python runs.
"""

import atexit
import ctypes
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

from crdbvec_pipelines.shutdown import shutdown_requested

# `timeout` sends its signal to the process and, within microseconds, to the group of the process; when a terminal is
# closed, the system and the shell both send SIGHUP.
_DUPLICATE_SECONDS = 0.3
# Most commands have ended by then; the others wait for a batch of the model or for a statement.
_HINT_SECONDS = 2.0
# How long `crdbvec ui` may take after the second signal until it kills its processes, and until it has done so on a
# busy machine. What it leaves when it is ended before stops by itself or at the next start.
_REACTION_SECONDS, _KILL_SECONDS = 4.0, 30.0
_POLL_SECONDS = 0.1


class Interrupted(KeyboardInterrupt):
    """A signal asks the command to end. Libraries treat it as Ctrl-C; psycopg cancels the statement on the server.

    Attributes:
        number: The signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@dataclass
class StopSignals:
    """What the signals that this process has received ask for.

    Attributes:
        stop: Set by the first signal.
        stop_at_once: Set by the second one.
        number: The last signal.
        is_killing: Set by the command while it kills its processes.
    """

    stop: bool = False
    stop_at_once: bool = False
    number: int = 0
    is_killing: bool = False


def exit_code_of(number: int) -> int:
    """Return the exit code of a process that a signal ended, as shells report it."""
    return 128 + number


class _ProcessSignals:
    """The signals of this process, from its start as a command until the command has ended."""

    def __init__(self) -> None:
        self._handled: list[int] = []
        self._write_end = -1
        self._received = 0
        self._counted = 0
        self._interrupts = True
        self._event: threading.Event | None = None
        self._stop_signals: StopSignals | None = None

    @property
    def received(self) -> int:
        """The first signal, 0 before it. A library may have replaced the handler, but the thread counts all signals."""
        return self._received or self._counted

    @contextmanager
    def ending_this_process(self) -> Iterator[None]:
        """Handle SIGINT and SIGTERM. After a signal, the process does not wait for its threads to end."""
        read_end, self._write_end = os.pipe()
        os.set_blocking(self._write_end, False)
        signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        # Its signals are not those of this process.
        os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))
        threading.Thread(target=self._watch, args=(read_end,), name="crdbvec-signals", daemon=True).start()
        for handled in (signal.SIGINT, signal.SIGTERM):
            # A shell without job control ignores SIGINT for the processes that it starts in the background.
            if signal.getsignal(handled) != signal.SIG_IGN:
                self._handle(handled)
                _restore_default_action_at_delivery(handled)
        try:
            yield
        except SystemExit as end:
            if number := self.received:
                _exit_without_threads(exit_code_of(number) if end.code else 0)
            raise
        finally:
            # An interpreter that ends waits for threads, which another signal must not prevent.
            for each in self._handled:
                signal.signal(each, signal.SIG_DFL)
            signal.set_wakeup_fd(-1)
            os.close(self._write_end)
            self._write_end = -1

    @contextmanager
    def setting(self, event: threading.Event) -> Iterator[None]:
        """Let the first signal set an event instead of interrupting the main thread."""
        self._event = event
        try:
            with self._not_interrupting(signal.SIGTERM):
                yield
        finally:
            self._event = None

    @contextmanager
    def reported_to(self, stop_signals: StopSignals) -> Iterator[None]:
        """Let the signals change values instead of interrupting the main thread; `nohup` keeps SIGHUP ignored."""
        self._stop_signals = stop_signals
        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            numbers.append(signal.SIGHUP)
        try:
            with self._not_interrupting(*numbers):
                yield
        finally:
            self._stop_signals = None

    @contextmanager
    def _not_interrupting(self, *numbers: int) -> Iterator[None]:
        self._interrupts = False
        if self._write_end >= 0:
            for number in numbers:
                # The default action is not restored, because the work that ends in order is worth a repeated signal.
                self._handle(number)
        try:
            yield
        finally:
            self._interrupts = True

    def _handle(self, number: int) -> None:
        signal.signal(number, self._on_signal)
        if number not in self._handled:
            self._handled.append(number)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        is_first, self._received = not self._received, self._received or number
        if is_first and self._interrupts:
            raise Interrupted(number)

    def _watch(self, read_end: int) -> None:
        """Count signals in a thread. A handler that sets an event can block, because it may interrupt its lock."""
        first, first_at, is_waiting = 0, 0.0, False
        while True:
            if is_waiting and not select.select([read_end], [], [], _HINT_SECONDS)[0]:
                is_waiting = False
                _say("Waiting until the current batch or statement ends. Another Ctrl-C ends the process at once.")
            numbers = os.read(read_end, 64)
            if not numbers:
                os.close(read_end)
                return
            for number in numbers:
                if number not in self._handled:
                    continue
                if not first:
                    first, first_at, is_waiting = number, time.monotonic(), self._stop_signals is None
                    self._counted = number
                    self._request_end(number)
                elif number == signal.SIGINT or time.monotonic() - first_at > _DUPLICATE_SECONDS:
                    self._end_at_once(number)

    def _request_end(self, number: int) -> None:
        shutdown_requested.set()
        if self._event is not None:
            self._event.set()
        if self._stop_signals is not None:
            self._stop_signals.number, self._stop_signals.stop = number, True

    def _end_at_once(self, number: int) -> None:
        stop_signals = self._stop_signals
        if stop_signals is not None:
            stop_signals.number, stop_signals.stop_at_once = number, True
            started = time.monotonic()
            while time.monotonic() - started < (_KILL_SECONDS if stop_signals.is_killing else _REACTION_SECONDS):
                time.sleep(_POLL_SECONDS)
        else:
            _say("Ended at once. What was written before is kept.")
        os._exit(exit_code_of(number))


_process_signals = _ProcessSignals()


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGINT and SIGTERM end this process, which runs one command.

    The first signal raises `Interrupted` in the main thread, except in `stop_event` and `received_stop_signals`.
    """
    if threading.current_thread() is not threading.main_thread():
        # Only the main thread can handle signals.
        yield
        return
    with _process_signals.ending_this_process():
        yield


def raise_if_interrupted() -> None:
    """Raise an error after a signal whose exception a library has turned into a result.

    Raises:
        Interrupted: The process has received a signal.
    """
    if number := _process_signals.received:
        raise Interrupted(number)


@contextmanager
def stop_event() -> Iterator[threading.Event]:
    """Yield an event that the first signal sets, so that the command can finish its current work."""
    event = threading.Event()
    with _process_signals.setting(event):
        yield event


@contextmanager
def received_stop_signals() -> Iterator[StopSignals]:
    """Yield what SIGINT, SIGTERM and SIGHUP ask for until the end of the context.

    After the second signal, the process has a few seconds to end.
    """
    stop_signals = StopSignals()
    with _process_signals.reported_to(stop_signals):
        yield stop_signals


def _restore_default_action_at_delivery(number: int) -> None:
    """Let the delivery of a signal restore its default action, if the C library can."""
    library = ctypes.CDLL(None)
    if not hasattr(library, "sysv_signal"):
        return
    for function in (library.signal, library.sysv_signal):
        function.argtypes, function.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
    # `signal` returns the handler of the interpreter, which `sysv_signal` installs again.
    library.sysv_signal(number, library.signal(number, None))


def _exit_without_threads(code: int) -> None:
    """End the process as at its normal end, but do not wait for threads, which may wait for a model."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    atexit._run_exitfuncs()
    os._exit(code)


def _say(sentence: str) -> None:
    # The streams of Python may be locked by a thread that does not run any more.
    with suppress(OSError):
        os.write(2, f"[INFO] {sentence}\n".encode())
