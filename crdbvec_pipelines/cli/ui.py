"""`crdbvec ui`: Dagster's webserver and daemon on the tables of crdbvec.yaml, or on the demo data."""

import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import dagster as dg
from filelock import FileLock, Timeout

from crdbvec_pipelines.cli.databases import open_databases
from crdbvec_pipelines.cli.demo_database import works_on_demo
from crdbvec_pipelines.cli.home import HOME_VARIABLE, PROJECT_FOLDER, open_home, open_project_home
from crdbvec_pipelines.cli.services import Services, say
from crdbvec_pipelines.cli.signals import StopSignals, exit_code_of, received_stop_signals
from crdbvec_pipelines.cli.target import config_option, read_config
from crdbvec_pipelines.config import URL_VARIABLE, ProjectConfig, find_config
from crdbvec_pipelines.database.schema.migrations import present_column
from crdbvec_pipelines.database.schema.prepare import prepare_column
from crdbvec_pipelines.embedded import DEFAULT_FOLDER, EmbeddedServer
from crdbvec_pipelines.encoding.registry import load_registry
from crdbvec_pipelines.errors import ConfigurationError, CrdbvecError
from crdbvec_pipelines.orchestration.asset_names import asset_names
from crdbvec_pipelines.orchestration.build import build_definitions
from crdbvec_pipelines.orchestration.instance.shutdown import end_dead_runs
from crdbvec_pipelines.orchestration.partitions.sync import sync_partitions

# The longest delay between Ctrl-C and the start of stopping.
_POLL_SECONDS = 0.2
# As in workspace.yaml.
_LOCATION = "crdbvec_pipelines"


@click.command(epilog="Example: crdbvec ui -p 3001")
@config_option
@click.option("--demo", is_flag=True, help="Show the demo data although there is a crdbvec.yaml or a URL.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder with the data of Dagster.  [default: .crdbvec/project; for the demo .crdbvec]",
)
@click.option("-p", "--port", type=int, default=3000, show_default=True, help="The port to listen on.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
def command(config_path: Path | None, demo: bool, folder: Path | None, port: int, host: str) -> None:
    """Open Dagster's UI for crdbvec.yaml, or for the demo data.

    Shows the vector columns of crdbvec.yaml. Each table is prepared and divided into partitions, as `crdbvec embed` and
    the job sync_partitions do it. Without crdbvec.yaml and CRDBVEC_URL, the demo data is shown.

    Ctrl-C cancels the runs in progress and stops Dagster and its database. Queued runs and unfinished backfills
    continue at the next start. A second Ctrl-C or SIGTERM kills what has not ended yet.
    """
    config = None if demo else read_config(config_path)
    if not demo and not works_on_demo(config):
        if config is None:
            raise ConfigurationError(
                f"There is no configuration file {find_config()}. Run `crdbvec init` to write one, or `crdbvec ui "
                "--demo` to see the demo."
            )
        # What Dagster's processes would report later, in a log or on a page.
        for name in dict.fromkeys(column.database for column in config.vectors):
            config.database_named(name).read_url()
        build_definitions(config)
    else:
        config = None
    folder = (folder or (PROJECT_FOLDER if config else DEFAULT_FOLDER)).resolve()
    with received_stop_signals() as signals, _only_one(folder):
        server = _open_project(folder, find_config(config_path)) if config else _open_demo(folder)
        try:
            with dg.DagsterInstance.get() as instance:
                services = Services(folder, instance, Path.cwd() if config else folder)
                if config:
                    _prepare_in_background(config, signals)
                _run(services, host, port, signals)
        finally:
            if server is not None:
                server.stop()
    sys.exit(exit_code_of(signals.number) if signals.stop_at_once else 0)


def _open_demo(folder: Path) -> EmbeddedServer:
    home = open_home(folder)
    say(f"The database of the demo, while this command is running: export {URL_VARIABLE}='{home.url}'")
    return home.server


def _open_project(folder: Path, file: Path) -> EmbeddedServer | None:
    server = open_project_home(folder, file)
    say(f"The tables of {file}; DAGSTER_HOME is {os.environ[HOME_VARIABLE]}")
    return server


def _prepare_in_background(config: ProjectConfig, signals: StopSignals) -> None:
    """Prepare the tables and make their partitions while Dagster starts; an index of a large table takes minutes."""

    def prepare() -> None:
        try:
            _prepare(config)
        except Exception as error:
            # After a signal, the database of Dagster is stopped while this thread is still using it.
            if not signals.stop:
                reason = error if isinstance(error, CrdbvecError) else type(error).__name__
                say(f"The partitions could not be made. {reason}")

    threading.Thread(target=prepare, daemon=True).start()


def _prepare(config: ProjectConfig) -> None:
    names, registry = asset_names(config), load_registry(config)
    with open_databases(config) as databases, dg.DagsterInstance.get() as instance:
        for column in config.vectors:
            own = names[str(column)]
            try:
                working = databases.of(column).with_quality_of_service(column.quality_of_service)
                present = present_column(working, column)
                prepared = prepare_column(working, present, registry.encoder_of(present))
                say(f"{column}: {sync_partitions(instance, prepared, own, _LOCATION)}")
            except CrdbvecError as error:
                say(f"{column}: {error} Then launch the job {own.job('sync_partitions')}.")


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
