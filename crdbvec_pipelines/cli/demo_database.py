"""The database of the demo as the target of the other commands, which then need neither a URL nor crdbvec.yaml."""

import os
from pathlib import Path
from urllib.parse import urlsplit

from crdbvec_pipelines.bundled import bundled
from crdbvec_pipelines.config import URL_VARIABLE, DatabaseSpec, ProjectConfig, load_config
from crdbvec_pipelines.database.sample_table import SAMPLE_TABLE
from crdbvec_pipelines.embedded import DEFAULT_FOLDER, EmbeddedServer

DATABASE = "crdbvec_demo"


def works_on_demo(config: ProjectConfig | None) -> bool:
    """Return whether the environment and the configuration name no other database than that of the demo.

    The configuration of a checkout is that of the demo until its entry is replaced.
    """
    given = os.environ.get(URL_VARIABLE)
    if given and not _is_url_of_demo(given):
        return False
    return config is None or (
        config.database.url == DatabaseSpec().url and [column.table for column in config.vectors] == [SAMPLE_TABLE]
    )


def _is_url_of_demo(url: str) -> bool:
    try:
        parts = urlsplit(url)
        # The embedded server has no address, only a socket.
        return parts.path == f"/{DATABASE}" and not parts.hostname
    except ValueError:
        return False


def demo_config() -> ProjectConfig:
    """Return the configuration of the demo."""
    return load_config(bundled("crdbvec.yaml"))


def start_demo_database(folder: Path = DEFAULT_FOLDER) -> str | None:
    """Start the embedded server of the demo and return the URL of its database; None if the demo was never run here."""
    if not (folder / "postgres" / "PG_VERSION").is_file():
        return None
    return EmbeddedServer(folder / "postgres").ensure_database(DATABASE)
