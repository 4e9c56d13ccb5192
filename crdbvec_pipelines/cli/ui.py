"""`crdbvec ui`: Dagster's webserver and daemon on the demo data."""

import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import dagster as dg
from filelock import FileLock, Timeout

from crdbvec_pipelines.cli.home import folder_option, open_home
from crdbvec_pipelines.cli.services import Services, say
from crdbvec_pipelines.cli.signals import StopSignals, exit_code_of, received_stop_signals
from crdbvec_pipelines.errors import CrdbvecError
from crdbvec_pipelines.orchestration.instance.shutdown import end_dead_runs

# The longest delay between Ctrl-C and the start of stopping.
_POLL_SECONDS = 0.2


@click.command()
@folder_option
@click.option("-p", "--port", type=int, default=3000, show_default=True, help="The port to listen on.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
def command(folder: Path, port: int, host: str) -> None:
    """Open Dagster's UI for the demo data.

    Ctrl-C cancels the runs in progress and stops Dagster and the embedded PostgreSQL. Queued runs and unfinished
    backfills continue at the next start. A second Ctrl-C or SIGTERM kills what has not ended yet.
    """
    folder = folder.resolve()
    with received_stop_signals() as signals, _only_one(folder):
        home = open_home(folder)
        try:
            with dg.DagsterInstance.get() as instance:
                _run(Services(folder, instance), host, port, signals)
        finally:
            home.server.stop()
    sys.exit(exit_code_of(signals.number) if signals.stop_at_once else 0)


def _run(services: Services, host: str, port: int, signals: StopSignals) -> None:
    """Run Dagster until a signal arrives."""
    if services.processes():
        say(f"Stopping the processes that a killed `crdbvec ui` has left in {services.folder}.")
        services.stop(signals)
    if ended := end_dead_runs(services.instance):
        say(f"{ended} {'run' if ended == 1 else 'runs'} without a process ended.")
    _check_address(host, port)
    if signals.stop:
        return
    say(f"Dagster's UI opens at http://{host}:{port}")
    with services.start(host, port) as dagster:
        while dagster.poll() is None and not signals.stop:
            time.sleep(_POLL_SECONDS)
        exit_code = dagster.poll()
        runs = services.stop(signals)
    if exit_code is not None and not signals.stop:
        raise CrdbvecError(f"Dagster has ended with exit code {exit_code}. Read its messages above for the reason.")
    if not signals.stop_at_once:
        services.report_stopped(runs)


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Ensure that one `crdbvec ui` uses a folder: another one would take the processes of this one for leftovers."""
    folder.mkdir(parents=True, exist_ok=True)
    # The system releases the lock of a killed process.
    lock = FileLock(folder / "ui.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise CrdbvecError(
            f"Another `crdbvec ui` is running in {folder}. Stop it with Ctrl-C, or choose another folder with --folder."
        ) from error
    try:
        yield
    finally:
        lock.release()


def _check_address(host: str, port: int) -> None:
    """Check that the webserver can listen: it would report an error only after the other processes have started."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            # Connections that an earlier webserver has closed do not prevent it.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CrdbvecError(
            f"Dagster's UI cannot listen on {host}:{port} ({reason}). Choose another port with -p, or another address "
            "with --host."
        ) from error
