"""The signals that ask `crdbvec ui` to stop."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass
class StopSignals:
    """What the signals that this process has received ask for.

    Plain values, because a handler that sets a `threading.Event` may block if it interrupts the main thread while that
    waits for the event, or if it interrupts another handler.

    Attributes:
        stop: Set by the first signal.
        stop_at_once: Set by Ctrl-C after an earlier signal. SIGTERM and SIGHUP do not set it, because process managers
            and shells may send them twice.
    """

    stop: bool = False
    stop_at_once: bool = False

    def handle(self, number: int, _frame: FrameType | None) -> None:
        """Handle a signal."""
        if self.stop and number == signal.SIGINT:
            self.stop_at_once = True
        self.stop = True


@contextmanager
def received_stop_signals() -> Iterator[StopSignals]:
    """Yield what SIGINT, SIGTERM and SIGHUP ask for until the end of the context; `nohup` keeps SIGHUP ignored."""
    signals = StopSignals()
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    earlier = {number: signal.signal(number, signals.handle) for number in numbers}
    try:
        yield signals
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
