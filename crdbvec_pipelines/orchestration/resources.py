"""The database as a Dagster resource. Models are not resources: an op loads the one that it needs."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import dagster as dg
from pydantic import Field, PrivateAttr
from tenacity import RetryCallState

from crdbvec_pipelines.config import DatabaseSpec, EnvironmentVariable, VectorColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.replies import DEFAULT_REPLY_TIMEOUT_SECONDS
from crdbvec_pipelines.database.retry import MAX_ATTEMPTS, opening
from crdbvec_pipelines.errors import ConfigurationError

TICK_STATEMENT_TIMEOUT_SECONDS = 15.0

MASKED = "********"
"""What Dagster shows instead of a secret, also in the run config with which a launchpad opens."""


class CockroachResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The database with the tables: one connection pool for each process that runs steps.

    It is opened when a step starts, never when definitions load, so that a forked step process inherits no socket.
    """

    # Masked in the UI even if the URL itself is written here instead of an EnvVar.
    url: str = Field(description="The database's URL.", json_schema_extra={"dagster__is_secret": True})
    max_connections: int = Field(default=4, ge=1, description="Maximum number of connections per process.")

    statement_timeout_seconds: float | None = Field(
        default=None, description="Seconds after which the server ends a statement."
    )

    attempts: int = Field(
        default=MAX_ATTEMPTS, ge=1, description="How often a statement is sent while the server is unavailable."
    )

    reply_timeout_seconds: float = Field(
        default=DEFAULT_REPLY_TIMEOUT_SECONDS,
        ge=1,
        description="Seconds without a reply after which a connection counts as lost, unless the server is still "
        "executing the statement.",
    )

    _database: Database = PrivateAttr()

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator["CockroachResource"]:
        """Open the pool while the steps of the process run.

        A launchpad opens with the defaults of all resources, in which the URL is masked, and sends them with the run:
        the masked URL stands for the configured one.

        A run waits for an unavailable database: if it failed at once, a worker that is cut off from the database would
        take one run after the other and fail it, while others could execute them.
        """

        def log_retry(state: RetryCallState) -> None:
            if context.log is not None:
                context.log.warning(
                    f"The database could not be reached in attempt {state.attempt_number} of {self.attempts}. "
                    "The run tries again."
                )

        with opening(self.attempts, log_retry)(
            Database,
            _configured_url(context) if self.url == MASKED else self.url,
            max_connections=self.max_connections,
            statement_timeout=self.statement_timeout_seconds,
            attempts=self.attempts,
            reply_timeout=self.reply_timeout_seconds,
        ) as database:
            self._database = database
            yield self

    @property
    def database(self) -> Database:
        """The open database."""
        return self._database


@cache
def build_resource(spec: DatabaseSpec) -> CockroachResource:
    """Return the resource of a configuration; a URL from the environment is read when a run starts.

    Equal databases have the same resource, because Dagster merges definitions only if their resources are identical.
    """
    url = spec.url if isinstance(spec.url, str) else dg.EnvVar(spec.url.env)
    return CockroachResource(url=url, reply_timeout_seconds=spec.reply_timeout_seconds)


@cache
def ticks_resource(spec: DatabaseSpec) -> CockroachResource:
    """Return the resource of a configuration for sensors."""
    return for_ticks(build_resource(spec))


def for_ticks(cockroach: CockroachResource) -> CockroachResource:
    """Return the same database for sensors, with timeouts that end before Dagster ends the tick (60 s)."""
    return CockroachResource(
        url=cockroach.url,
        max_connections=1,
        statement_timeout_seconds=TICK_STATEMENT_TIMEOUT_SECONDS,
        reply_timeout_seconds=min(cockroach.reply_timeout_seconds, TICK_STATEMENT_TIMEOUT_SECONDS),
        attempts=1,
    )


def database_of(resources: object, key: str) -> Database:
    """Return the open database of the resources in a context, by the key that the configuration has chosen."""
    resource = getattr(resources, key)
    if not isinstance(resource, CockroachResource):
        raise ConfigurationError(f"The resource {key} is not a CockroachResource.")
    return resource.database


def background_database(resources: object, key: str, spec: VectorColumn) -> Database:
    """Return the open database as `database_of`, with the quality of service of the backfills of a vector column."""
    return database_of(resources, key).with_quality_of_service(spec.quality_of_service)


def _configured_url(context: dg.InitResourceContext) -> str:
    """Return the URL that the definitions contain, or name by a variable.

    Raises:
        ConfigurationError: The environment variable is not set.
    """
    schema = context.resource_def.config_schema if context.resource_def else None
    configured = json.loads(schema.default_value_as_json_str) if schema and schema.default_provided else {}
    url = configured.get("url", MASKED)
    return EnvironmentVariable.model_validate(url).read() if isinstance(url, dict) else str(url)
