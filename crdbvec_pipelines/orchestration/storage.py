"""Dagster's own storage: PostgreSQL through dagster-postgres, the embedded one where no other is named.

Never CockroachDB: Dagster's event log sends NOTIFY with every event.
"""

import os
from pathlib import Path
from typing import Any, Self

import yaml
from dagster._config.config_schema import UserConfigSchema
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage

from crdbvec_pipelines.embedded import DEFAULT_FOLDER, EmbeddedServer

URL_VARIABLE = "DAGSTER_PG_URL"
DATABASE = "dagster"

# SQLAlchemy 2.1 takes a bare postgresql:// for psycopg 3, which dagster-postgres does not speak.
_SCHEME = "postgresql+psycopg2://"


class PostgresStorage(DagsterPostgresStorage):
    """`storage.custom` of dagster.yaml: the database at $DAGSTER_PG_URL, else an embedded one in the working directory.

    So `dagster dev -w workspace.yaml` runs on a bare checkout, with the storage that production has.
    """

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """It takes no configuration."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:
        """The storage, its server started if need be.

        The URL goes into the environment, so that the processes that Dagster starts use this process's server.
        """
        os.environ.setdefault(URL_VARIABLE, "")
        if not os.environ[URL_VARIABLE]:
            os.environ[URL_VARIABLE] = start_embedded(DEFAULT_FOLDER / "postgres")
        resolved = yaml.safe_dump({"postgres_url": {"env": URL_VARIABLE}})
        return cls(
            sqlalchemy_url(os.environ[URL_VARIABLE]),
            inst_data=ConfigurableClassData("dagster_postgres", "DagsterPostgresStorage", resolved),
        )


def start_embedded(folder: Path) -> str:
    """Starts the embedded server in a folder and returns the URL of Dagster's database on it."""
    return sqlalchemy_url(EmbeddedServer(folder).ensure_database(DATABASE))


def sqlalchemy_url(url: str) -> str:
    """The URL with the driver that dagster-postgres speaks."""
    return _SCHEME + url.split("://", 1)[-1]
