"""A configuration with one vector column as Dagster sees it: its definitions, a real instance, ticks and runs."""

import atexit
import functools
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import dagster as dg

from crdbvec_pipelines.config import ProjectConfig, VectorColumn, parse_config
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.schema import ensure_schema
from crdbvec_pipelines.orchestration.build import build_definitions, build_registry
from crdbvec_pipelines.orchestration.names import Names, names_of
from crdbvec_pipelines.orchestration.partitions import sync_partitions
from crdbvec_pipelines.orchestration.storage import sqlalchemy_url
from tests.support.models import WRAPPERS
from tests.support.servers import embedded_postgres

ENTRY: Mapping[str, object] = {
    "table": "public.passage",
    "input": "passage",
    "output": "passage_vector",
    "model": "stub_counting",
}


@dataclass(frozen=True)
class Tick:
    """What one evaluation of the follow sensor came to."""

    requests: list[dg.RunRequest]
    skipped: str | None
    cursor: str | None
    observed: list[int | float]
    """The backlogs that it reported."""

    @property
    def jobs(self) -> list[str | None]:
        return [request.job_name for request in self.requests]

    @property
    def partitions(self) -> list[str | None]:
        return [request.partition_key for request in self.requests]

    def with_cursor(self, **values: object) -> str:
        """The cursor with other values."""
        return json.dumps({**json.loads(str(self.cursor)), **values})


class Project:
    """The definitions of a configuration on an instance."""

    def __init__(self, config: ProjectConfig, instance: dg.DagsterInstance, output: str = "passage_vector") -> None:
        self.config = config
        self.instance = instance
        self.definitions = build_definitions(config)
        self.spec: VectorColumn = next(column for column in config.vectors if column.output == output)
        self.names: Names = names_of(config)[str(self.spec)]
        self.asset = dg.AssetKey(self.names.asset)

    def prepare(self) -> None:
        """Makes the table ready and cuts it into partitions, as the job for that does."""
        encoder = build_registry(self.config).load(self.spec.model)
        with Database(self.config.database.read_url(), max_connections=1) as database:
            ensure_schema(database, self.spec, encoder.dim, encoder.model_id)
            sync_partitions(self.instance, database, self.spec, self.names)

    def tick(self, cursor: str | None = None) -> Tick:
        """Evaluates the sensor as the daemon does."""
        sensor = self.definitions.resolve_sensor_def(self.names.job("follow_sensor"))
        with dg.build_sensor_context(
            instance=self.instance,
            instance_ref=self.instance.get_ref(),
            cursor=cursor,
            definitions=self.definitions,
            resources={"cockroach_for_ticks": (self.definitions.resources or {})["cockroach_for_ticks"]},
        ) as context:
            data = sensor.evaluate_tick(context)
        observed = [
            event.metadata["rows_pending"].value
            for event in data.asset_events
            if isinstance(event, dg.AssetObservation) and event.asset_key == self.asset
        ]
        return Tick(list(data.run_requests or []), data.skip_message, data.cursor, observed)  # type: ignore[arg-type]

    def run(
        self, action: str, run_config: Mapping[str, Any] | None = None, **options: Any
    ) -> dg.ExecuteInProcessResult:
        """Runs one of the column's jobs in this process."""
        job = self.definitions.resolve_job_def(self.names.job(action))
        return job.execute_in_process(run_config=run_config, instance=self.instance, **options)

    def obey(self, tick: Tick) -> list[dg.ExecuteInProcessResult]:
        """Does what a tick requested."""
        actions = {self.names.job(action): action for action in ("sync_partitions", "follow", "encode")}
        in_one_process = {"encode": "encode_in_process"}
        return [
            self.run(
                in_one_process.get(actions[str(request.job_name)], actions[str(request.job_name)]),
                request.run_config,
                partition_key=request.partition_key,
                tags=request.tags,
            )
            for request in tick.requests
        ]

    @property
    def partitions(self) -> list[str]:
        return list(self.instance.get_dynamic_partitions(self.names.partitions))

    def materialized(self) -> dict[str, dict[str, Any]]:
        """The partitions that count as materialized, with the metadata of their last materialization."""
        found = {}
        for record in self.instance.fetch_materializations(self.asset, limit=1_000, ascending=True).records:
            event = record.asset_materialization
            assert event is not None
            assert event.partition is not None
            found[event.partition] = {key: value.value for key, value in event.metadata.items()}
        assert set(self.instance.get_materialized_partitions(self.asset)) == set(found)
        return found


@contextmanager
def project(
    url: str, *others: Mapping[str, object], output: str = "passage_vector", **entry: object
) -> Iterator[Project]:
    """A project with one entry, and others, on an empty instance."""
    first = {**ENTRY, **entry}
    if "template" in entry:
        first.pop("input")
    config = parse_config(
        {
            "database": {"url": url},
            "models": {"directories": [str(WRAPPERS)]},
            "vectors": [first, *({**ENTRY, **other} for other in others)],
        },
        "crdbvec.yaml",
        WRAPPERS,
    )
    instance = _instance()
    try:
        yield Project(config, instance, output)
    finally:
        instance.wipe()


@functools.cache
def _instance() -> dg.DagsterInstance:
    """One for all tests, on PostgreSQL as in production: making one takes seconds, emptying it a tenth of one."""
    stack = ExitStack()
    server = stack.enter_context(embedded_postgres())
    url = sqlalchemy_url(stack.enter_context(server.new_database()))
    instance = stack.enter_context(dg.instance_for_test({"storage": {"postgres": {"postgres_url": url}}}))
    # Last, and so the first at the end: the server's own library stops it then.
    atexit.register(stack.close)
    return instance
