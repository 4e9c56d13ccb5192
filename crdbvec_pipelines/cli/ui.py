"""`crdbvec ui`: Dagster's webserver and daemon on the demo data."""

import signal
import subprocess
import sys
from pathlib import Path

import click

from crdbvec_pipelines.bundled import bundled
from crdbvec_pipelines.cli.follow import stopped_by_signals
from crdbvec_pipelines.cli.home import folder_option, open_home

# The longest delay between Ctrl-C and the signal to Dagster.
_POLL_SECONDS = 0.5


@click.command()
@folder_option
@click.option("-p", "--port", type=int, default=3000, show_default=True, help="The port to listen on.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
def command(folder: Path, port: int, host: str) -> None:
    """Open Dagster's UI for the demo data.

    The embedded PostgreSQL runs until Dagster exits. Ctrl-C stops both.
    """
    home = open_home(folder)
    click.echo(f"Dagster's UI opens at http://{host}:{port}")
    workspace = str(bundled("workspace.yaml"))
    # Dagster emits deprecation warnings about its own command, which a user of the demo cannot act on.
    dagster = [sys.executable, "-W", "ignore", "-m", "dagster", "dev", "-w", workspace, "-p", str(port), "-h", host]
    with (
        stopped_by_signals() as stop,
        subprocess.Popen(dagster, cwd=home.folder, start_new_session=True) as process,  # noqa: S603
    ):
        while process.poll() is None:
            # SIGINT is the only signal on which `dagster dev` stops its webserver, daemon and code servers.
            if stop.wait(_POLL_SECONDS):
                process.send_signal(signal.SIGINT)
                process.wait()
    sys.exit(0 if stop.is_set() else process.returncode)
