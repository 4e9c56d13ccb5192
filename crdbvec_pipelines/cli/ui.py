"""`crdbvec ui`: Dagster's webserver and daemon on the demonstration's data."""

import subprocess
import sys
from pathlib import Path

import click

from crdbvec_pipelines.bundled import bundled
from crdbvec_pipelines.cli.home import folder_option, open_home


@click.command()
@folder_option
@click.option("-p", "--port", type=int, default=3000, show_default=True, help="The port to listen on.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
def command(folder: Path, port: int, host: str) -> None:
    """Open Dagster's UI on the demonstration's data.

    The embedded server stays up for as long as Dagster does; Ctrl-C ends both.
    """
    open_home(folder)
    click.echo(f"Dagster opens at http://{host}:{port}")
    dagster = [sys.executable, "-m", "dagster", "dev", "-w", str(bundled("workspace.yaml")), "-p", str(port)]
    try:
        code = subprocess.call([*dagster, "-h", host])  # noqa: S603
    except KeyboardInterrupt:
        code = 0
    sys.exit(code)
