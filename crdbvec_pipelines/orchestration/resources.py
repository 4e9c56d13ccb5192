"""The database as a Dagster resource. Models are no resource: an op loads the one it needs."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
from pydantic import Field, PrivateAttr

from crdbvec_pipelines.config import DatabaseSpec
from crdbvec_pipelines.database.connection import ATTEMPTS, Database

TICK_STATEMENT_TIMEOUT_SECONDS = 15.0


class CockroachResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The database that holds the tables: one pool of connections for each process that runs steps.

    Opened when a step starts, never when definitions load, so a forked step process inherits no socket.
    """

    # Masked in the UI even where somebody writes the URL itself instead of an EnvVar.
    url: str = Field(description="The database's URL.", json_schema_extra={"dagster__is_secret": True})
    max_connections: int = Field(default=4, ge=1, description="Connections of one process at most.")

    statement_timeout_seconds: float | None = Field(default=None, description="The server ends longer statements.")

    attempts: int = Field(
        default=ATTEMPTS, ge=1, description="How often a statement is tried while the server is away."
    )

    _database: Database = PrivateAttr()

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator["CockroachResource"]:
        """Opens the pool for as long as the process's steps run."""
        with Database(
            self.url,
            max_connections=self.max_connections,
            statement_timeout=self.statement_timeout_seconds,
            attempts=self.attempts,
        ) as database:
            self._database = database
            yield self

    @property
    def database(self) -> Database:
        """The open database."""
        return self._database


def build_resource(spec: DatabaseSpec) -> CockroachResource:
    """The resource of a configuration; a URL from the environment is read when a run starts."""
    url = spec.url if isinstance(spec.url, str) else dg.EnvVar(spec.url.env)
    return CockroachResource(url=url)


def for_ticks(cockroach: CockroachResource) -> CockroachResource:
    """The same database for sensors: Dagster kills a tick after 60 s, and all it found with it."""
    return CockroachResource(
        url=cockroach.url, max_connections=1, statement_timeout_seconds=TICK_STATEMENT_TIMEOUT_SECONDS, attempts=1
    )
