"""The folder of the demo: an embedded server with the data of the demo and of Dagster, and DAGSTER_HOME."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import click

from crdbvec_pipelines.bundled import bundled
from crdbvec_pipelines.config import CONFIG_VARIABLE, URL_VARIABLE
from crdbvec_pipelines.embedded import DEFAULT_FOLDER, EmbeddedServer
from crdbvec_pipelines.orchestration.instance.storage import URL_VARIABLE as DAGSTER_URL_VARIABLE
from crdbvec_pipelines.orchestration.instance.storage import start_embedded

DATABASE = "crdbvec_demo"

folder_option = click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT_FOLDER,
    show_default=True,
    help="The folder with the demo data.",
)


@dataclass(frozen=True)
class DemoHome:
    """The running server of the demo and its configuration file."""

    folder: Path
    server: EmbeddedServer
    url: str
    config: Path


def open_home(folder: Path) -> DemoHome:
    """Start the embedded server and set the environment variables that this process and its children read."""
    folder = folder.resolve()
    dagster_home = folder / "dagster"
    dagster_home.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(bundled("dagster.yaml"), dagster_home / "dagster.yaml")
    server = EmbeddedServer(folder / "postgres")
    url = server.ensure_database(DATABASE)
    config = bundled("crdbvec.yaml")
    os.environ.update(
        {
            "DAGSTER_HOME": str(dagster_home),
            DAGSTER_URL_VARIABLE: start_embedded(folder / "postgres"),
            URL_VARIABLE: url,
            CONFIG_VARIABLE: str(config),
        }
    )
    return DemoHome(folder, server, url, config)
