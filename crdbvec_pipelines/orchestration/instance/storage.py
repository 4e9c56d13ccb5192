"""Dagster's own storage: PostgreSQL through dagster-postgres, by default the embedded server.

It cannot be CockroachDB: Dagster's event log sends NOTIFY with every event, which CockroachDB does not have.

Dagster writes times without a time zone, which PostgreSQL converts to the zone of the session, and reads them as UTC.
The zone of each session must therefore be UTC, whatever the zone of the server is.
"""

import logging
import os
from pathlib import Path
from typing import Any, Self

import yaml
from dagster_postgres import DagsterPostgresStorage
from sqlalchemy import URL, NullPool, create_engine, make_url
from sqlalchemy.exc import OperationalError

from crdbvec_pipelines.embedded import DEFAULT_FOLDER, EmbeddedServer
from crdbvec_pipelines.orchestration.instance.dagster_internals import ConfigurableClassData, UserConfigSchema
from crdbvec_pipelines.orchestration.instance.event_log_storage import EventLogStorage
from crdbvec_pipelines.orchestration.instance.run_storage import RunStorage
from crdbvec_pipelines.orchestration.instance.storage_tables import complete_tables

URL_VARIABLE = "DAGSTER_PG_URL"
DATABASE = "dagster"

# SQLAlchemy 2.1 uses psycopg 3 for a bare postgresql://, but dagster-postgres needs psycopg2.
_DRIVER = "postgresql+psycopg2"
_UTC_OPTION = "-c timezone=UTC"
_UTC_NAMES = frozenset({"UTC", "Etc/UTC", "GMT", "Etc/GMT", "UCT", "Etc/UCT", "Zulu", "Etc/Zulu", "Universal"})

# Read by Dagster's daemon, which has no setting for it. Without it, a backfill fails and its runs are canceled if the
# code server is absent when the daemon evaluates the backfill. With it, the backfill continues when the server is back.
_WAITING_BACKFILLS_VARIABLE = "DAGSTER_BACKFILL_RETRY_DEFINITION_CHANGED_ERROR"

_logger = logging.getLogger(__name__)


class PostgresStorage(DagsterPostgresStorage):
    """`storage.custom` of dagster.yaml: the database at $DAGSTER_PG_URL, otherwise an embedded one.

    The embedded server keeps its data in the working directory, so that `dagster dev -w workspace.yaml` runs on a bare
    checkout with the same kind of storage as in production.
    """

    def __init__(self, postgres_url: str, inst_data: ConfigurableClassData | None = None) -> None:
        with complete_tables(postgres_url) as is_new:
            super().__init__(postgres_url, inst_data=inst_data)
            if is_new:
                # As the storages of the base class do it for tables that they have created.
                for storage in (self._run_storage, self._schedule_storage):
                    storage.migrate()
                    storage.optimize()
                self._event_log_storage.reindex_events()
                self._event_log_storage.reindex_assets()
        # The storage of the base class has created the tables.
        self._run_storage = RunStorage(postgres_url, should_autocreate_tables=False)
        self._event_log_storage = EventLogStorage(postgres_url, should_autocreate_tables=False)

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """Return the configuration schema, which is empty."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:
        """Return the storage; start the embedded server if no URL is set.

        The URL is put into the environment, so that the processes that Dagster starts use the same server. So is the
        setting of the daemon that lets backfills wait for an absent code server: each process opens its storage first.
        """
        os.environ.setdefault(_WAITING_BACKFILLS_VARIABLE, "1")
        given = os.environ.get(URL_VARIABLE)
        os.environ[URL_VARIABLE] = url_in_utc(given) if given else start_embedded(DEFAULT_FOLDER / "postgres")
        resolved = yaml.safe_dump({"postgres_url": {"env": URL_VARIABLE}})
        return cls(
            os.environ[URL_VARIABLE],
            inst_data=ConfigurableClassData("dagster_postgres", "DagsterPostgresStorage", resolved),
        )


def start_embedded(folder: Path) -> str:
    """Start the embedded server in a folder and return the URL of Dagster's database on it."""
    return sqlalchemy_url(EmbeddedServer(folder).ensure_database(DATABASE))


def sqlalchemy_url(url: str) -> str:
    """Return the URL with the driver that dagster-postgres needs, and with UTC as the time zone of its sessions."""
    parsed = _with_driver(url)
    # Options in a URL replace those of the variable.
    options = " ".join(parsed.normalized_query.get("options", ())) or os.environ.get("PGOPTIONS", "")
    if not options.endswith(_UTC_OPTION):
        options = f"{options} {_UTC_OPTION}".lstrip()
    return _text(parsed.update_query_dict({"options": options}))


def url_in_utc(url: str) -> str:
    """Return `sqlalchemy_url(url)`, but without the time zone if the server or a connection pooler rejects options.

    A warning says how to set the time zone on the server, if it is not UTC although the URL contains it, or without it.
    """
    in_utc, plain = sqlalchemy_url(url), _text(_with_driver(url))
    if plain == in_utc:
        # Another process has checked it and started this one.
        return in_utc
    try:
        accepted, zone = in_utc, _session_zone(in_utc)
    except OperationalError:
        try:
            accepted, zone = plain, _session_zone(plain)
        except OperationalError:
            # The server is unavailable, which Dagster reports.
            return in_utc
    if zone not in _UTC_NAMES:
        _logger.warning(
            "The time zone of sessions at %s is %s, so times in Dagster are wrong. A connection pooler rejects or "
            "ignores the option that sets it: run ALTER ROLE ... SET timezone = 'UTC' on the server for the role of "
            "the URL.",
            URL_VARIABLE,
            zone,
        )
    return accepted


def _with_driver(url: str) -> URL:
    return make_url(url).set(drivername=_DRIVER)


def _text(url: URL) -> str:
    return url.render_as_string(hide_password=False)


def _session_zone(url: str) -> str | None:
    """Return the time zone of a new session."""
    with create_engine(url, poolclass=NullPool).connect() as connection:
        zone: str | None = connection.exec_driver_sql("SHOW timezone").scalar()
    return zone
