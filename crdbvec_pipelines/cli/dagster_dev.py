"""`dagster dev` as a child process of `crdbvec ui`; if that process is killed, it stops all processes in order.

Not all systems can signal a child process when its parent ends. The end of a pipe works on all of them.
"""

import os
import runpy
import signal
import sys
import threading
from pathlib import Path


def main() -> None:
    """Run `dagster` with the arguments of this process until it ends."""
    # A process that a shell started in the background ignores SIGINT, and so would the processes of Dagster.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    parent_has_ended = threading.Event()
    threading.Thread(target=_watch_parent, args=(parent_has_ended,), daemon=True).start()
    try:
        runpy.run_module("dagster", run_name="__main__", alter_sys=True)
    finally:
        if parent_has_ended.is_set():
            _stop_in_place_of_parent()


def _watch_parent(has_ended: threading.Event) -> None:
    # The parent writes nothing. Python's own reader has a lock, which would be held when this process ends.
    os.read(sys.stdin.fileno(), 1)
    has_ended.set()
    os.kill(os.getpid(), signal.SIGINT)


def _stop_in_place_of_parent() -> None:
    # Imported here, because the parent usually does this.
    import dagster as dg

    from crdbvec_pipelines.cli.services import FOLDER_VARIABLE, Services
    from crdbvec_pipelines.cli.signals import StopSignals
    from crdbvec_pipelines.embedded import EmbeddedServer

    folder = Path(os.environ[FOLDER_VARIABLE])
    # Dagster's storage may be another server.
    server = EmbeddedServer(folder / "postgres") if (folder / "postgres").is_dir() else None
    try:
        with dg.DagsterInstance.get() as instance:
            services = Services(folder, instance, Path.cwd())
            services.report_stopped(services.stop(StopSignals()))
    finally:
        if server is not None:
            server.stop()


if __name__ == "__main__":
    main()
