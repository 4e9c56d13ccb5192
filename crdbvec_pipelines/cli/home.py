"""The folder in which the demonstration lives: an embedded server with its data and Dagster's, and Dagster's home."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import click

from crdbvec_pipelines.bundled import bundled
from crdbvec_pipelines.config import CONFIG_VARIABLE, URL_VARIABLE
from crdbvec_pipelines.embedded import DEFAULT_FOLDER, EmbeddedServer
from crdbvec_pipelines.orchestration.storage import URL_VARIABLE as DAGSTER_URL_VARIABLE
from crdbvec_pipelines.orchestration.storage import start_embedded

DATABASE = "crdbvec_demo"

folder_option = click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT_FOLDER,
    show_default=True,
    help="Where the demonstration keeps its data.",
)


@dataclass(frozen=True)
class DemoHome:
    """A running demonstration server and Dagster's home beside it."""

    folder: Path
    url: str
    config: Path


def open_home(folder: Path) -> DemoHome:
    """Starts the embedded server and points this process, and those it starts, at it and at Dagster's home."""
    folder = folder.resolve()
    dagster_home = folder / "dagster"
    dagster_home.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(bundled("dagster.yaml"), dagster_home / "dagster.yaml")
    url = EmbeddedServer(folder / "postgres").ensure_database(DATABASE)
    config = bundled("crdbvec.yaml")
    os.environ.update(
        {
            "DAGSTER_HOME": str(dagster_home),
            DAGSTER_URL_VARIABLE: start_embedded(folder / "postgres"),
            URL_VARIABLE: url,
            CONFIG_VARIABLE: str(config),
        }
    )
    return DemoHome(folder, url, config)
