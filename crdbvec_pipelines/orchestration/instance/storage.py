"""Dagster's own storage: PostgreSQL through dagster-postgres, by default the embedded server.

It cannot be CockroachDB: Dagster's event log sends NOTIFY with every event, which CockroachDB does not have.
"""

import os
from pathlib import Path
from typing import Any, Self

import yaml
from dagster_postgres import DagsterPostgresStorage

from crdbvec_pipelines.embedded import DEFAULT_FOLDER, EmbeddedServer
from crdbvec_pipelines.orchestration.instance.dagster_internals import ConfigurableClassData, UserConfigSchema

URL_VARIABLE = "DAGSTER_PG_URL"
DATABASE = "dagster"

# SQLAlchemy 2.1 uses psycopg 3 for a bare postgresql://, but dagster-postgres needs psycopg2.
_SCHEME = "postgresql+psycopg2://"


class PostgresStorage(DagsterPostgresStorage):
    """`storage.custom` of dagster.yaml: the database at $DAGSTER_PG_URL, otherwise an embedded one.

    The embedded server keeps its data in the working directory, so that `dagster dev -w workspace.yaml` runs on a bare
    checkout with the same kind of storage as in production.
    """

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """Return the configuration schema, which is empty."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:
        """Return the storage; start the embedded server if no URL is set.

        The URL is put into the environment, so that the processes that Dagster starts use the same server.
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
    """Start the embedded server in a folder and return the URL of Dagster's database on it."""
    return sqlalchemy_url(EmbeddedServer(folder).ensure_database(DATABASE))


def sqlalchemy_url(url: str) -> str:
    """Return the URL with the driver that dagster-postgres needs."""
    return _SCHEME + url.split("://", 1)[-1]
