"""`crdbvec --version`: the version of this package, of what it computes with, and of the server."""

import platform
from importlib.metadata import PackageNotFoundError, version

import click

from crdbvec_pipelines import __version__
from crdbvec_pipelines.cli.deadline import within

_SECONDS = 3.0
_ENGINES = {"OpenVINO": "openvino", "PyTorch": "torch"}


def print_version(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    """Print the versions and end the command; a callback of an option."""
    if not value or context.resilient_parsing:
        return
    click.echo(f"crdbvec, version {__version__}")
    click.echo(f"Python {platform.python_version()}, Dagster {_installed('dagster')}")
    engines = {name: _installed(package) for name, package in _ENGINES.items()}
    click.echo("engines: " + ", ".join(f"{name} {found}" for name, found in engines.items() if found))
    server = _server()
    if server is not None:
        click.echo(f"server: {server}")
    context.exit()


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _server() -> str | None:
    """Return the product and version of the server; None if no URL is configured."""
    from crdbvec_pipelines.cli.target import read_config
    from crdbvec_pipelines.config import DatabaseSpec
    from crdbvec_pipelines.database.connection import Database
    from crdbvec_pipelines.errors import CrdbvecError

    try:
        config = read_config(None)
        url = (config.database if config else DatabaseSpec()).read_url()
    except CrdbvecError:
        return None

    def read() -> str:
        with Database(url, max_connections=1, attempts=1) as database:
            return database.server

    return within(_SECONDS, read) or f"no reply within {_SECONDS:g} s; run `crdbvec doctor`"
