"""The folders of `crdbvec demo` and `crdbvec ui`: DAGSTER_HOME, and an embedded server with the data of Dagster."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import click

from crdbvec_pipelines.bundled import bundled
from crdbvec_pipelines.cli.demo_database import DATABASE
from crdbvec_pipelines.config import CONFIG_VARIABLE, URL_VARIABLE
from crdbvec_pipelines.embedded import DEFAULT_FOLDER, EmbeddedServer
from crdbvec_pipelines.orchestration.instance.storage import URL_VARIABLE as DAGSTER_URL_VARIABLE
from crdbvec_pipelines.orchestration.instance.storage import start_embedded

HOME_VARIABLE = "DAGSTER_HOME"
PROJECT_FOLDER = DEFAULT_FOLDER / "project"
"""The default folder of `crdbvec ui` for one's own tables, whose history is not mixed with that of the demo."""

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
            HOME_VARIABLE: str(dagster_home),
            DAGSTER_URL_VARIABLE: start_embedded(folder / "postgres"),
            URL_VARIABLE: url,
            CONFIG_VARIABLE: str(config),
        }
    )
    return DemoHome(folder, server, url, config)


def open_project_home(folder: Path, config: Path) -> EmbeddedServer | None:
    """Set the environment variables with which Dagster shows a configuration file.

    Variables that the user has set are kept. Without DAGSTER_HOME, the home is in the folder, with the settings of the
    shipped dagster.yaml, which is copied once and may be edited; without DAGSTER_PG_URL, its storage is an embedded
    server there.

    Returns:
        The embedded server; None if Dagster's storage is another one.
    """
    # The processes of Dagster read the same file, whatever their working directory.
    os.environ[CONFIG_VARIABLE] = str(config.resolve())
    if os.environ.get(HOME_VARIABLE):
        return None
    dagster_home = folder.resolve() / "dagster"
    dagster_home.mkdir(parents=True, exist_ok=True)
    os.environ[HOME_VARIABLE] = str(dagster_home)
    if not (dagster_home / "dagster.yaml").exists():
        shutil.copyfile(bundled("dagster.yaml"), dagster_home / "dagster.yaml")
    if os.environ.get(DAGSTER_URL_VARIABLE):
        return None
    server = EmbeddedServer(folder / "postgres")
    os.environ[DAGSTER_URL_VARIABLE] = start_embedded(folder / "postgres")
    return server
