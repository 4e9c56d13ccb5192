"""A project as Dagster sees it: definitions of a configuration on an instance, sensor ticks, and runs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import dagster as dg

from crdbvec_pipelines.config import ProjectConfig, VectorColumn, parse_config
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.schema.prepare import prepare_column
from crdbvec_pipelines.encoding.registry import load_registry
from crdbvec_pipelines.orchestration.asset_names import AssetNames, asset_names
from crdbvec_pipelines.orchestration.build import build_definitions
from crdbvec_pipelines.orchestration.partitions.sync import sync_partitions
from tests.support.models import WRAPPERS
from tests.support.projects import ENTRY

# For configurations that connect to no database.
UNUSED_URL = "postgresql://user@host.invalid/database"


@dataclass(frozen=True)
class Tick:
    """The result of one evaluation of the follow sensor.

    Attributes:
        requests: The runs that it requested.
        skipped: Why it requested none.
        cursor: The cursor for the next tick.
        observed: The numbers of pending rows that it reported.
    """

    requests: list[dg.RunRequest]
    skipped: str | None
    cursor: str | None
    observed: list[int | float]

    @property
    def jobs(self) -> list[str | None]:
        return [request.job_name for request in self.requests]

    @property
    def partitions(self) -> list[str | None]:
        return [request.partition_key for request in self.requests]

    def with_cursor(self, **values: object) -> str:
        """Return the cursor with other values."""
        return json.dumps({**json.loads(str(self.cursor)), **values})


class Project:
    """The definitions of a configuration on an instance, seen from one of its vector columns."""

    def __init__(self, config: ProjectConfig, instance: dg.DagsterInstance, output: str = "passage_vector") -> None:
        self.config = config
        self.instance = instance
        self.definitions = build_definitions(config)
        self.spec: VectorColumn = next(column for column in config.vectors if column.output == output)
        self.names: AssetNames = asset_names(config)[str(self.spec)]
        self.asset = dg.AssetKey(self.names.asset)

    def prepare(self) -> None:
        """Prepare the table and make its partitions, as the job `sync_partitions` does."""
        encoder = load_registry(self.config).load(self.spec.model)
        with Database(self.config.database.read_url(), max_connections=1) as database:
            sync_partitions(self.instance, prepare_column(database, self.spec, encoder), self.names)

    def tick(self, cursor: str | None = None) -> Tick:
        """Evaluate the follow sensor as the daemon does."""
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
        """Run one of the column's jobs in this process."""
        job = self.definitions.resolve_job_def(self.names.job(action))
        return job.execute_in_process(run_config=run_config, instance=self.instance, **options)

    def run_requests(self, tick: Tick) -> list[dg.ExecuteInProcessResult]:
        """Run what a tick requested."""
        actions = {
            self.names.job("sync_partitions"): "sync_partitions",
            self.names.job("follow"): "follow",
            self.names.job("encode"): "encode_in_process",
        }
        return [
            self.run(
                actions[str(request.job_name)],
                request.run_config,
                partition_key=request.partition_key,
                tags=request.tags,
            )
            for request in tick.requests
        ]

    @property
    def partitions(self) -> list[str]:
        return list(self.instance.get_dynamic_partitions(self.names.partitions))

    def add_partitions(self, *keys: str) -> None:
        """Add partitions in Dagster only, without reading the table."""
        self.instance.add_dynamic_partitions(self.names.partitions, keys)

    def materialized(self) -> dict[str, dict[str, Any]]:
        """Return the materialized partitions, with the metadata and the counts of their last materialization."""
        found = {}
        before = set(self.instance.get_materialized_partitions(self.asset))
        for record in self.instance.fetch_materializations(self.asset, limit=1_000, ascending=True).records:
            event = record.asset_materialization
            assert event is not None
            assert event.partition is not None
            values = {key: value.value for key, value in event.metadata.items()}
            found[event.partition] = {**values, **values["counts"]}  # type: ignore[dict-item]
        # Runs in other processes may materialize more partitions between these reads.
        assert before <= set(found) <= set(self.instance.get_materialized_partitions(self.asset))
        return found

    def rows_embedded(self) -> dict[str, int]:
        """Return the materialized partitions, with the number of rows that their last materialization embedded."""
        return {key: metadata["rows_embedded"] for key, metadata in self.materialized().items()}


class BuildProject(Protocol):
    """The type of the fixture `build_project`."""

    def __call__(
        self,
        url: str | Mapping[str, str],
        *others: Mapping[str, object],
        asset_prefix: Sequence[str] = (),
        **entry: object,
    ) -> Project:
        """Return a project on the test's instance.

        Args:
            url: The URL of the database, or `{"env": ...}`.
            others: Further entries.
            asset_prefix: The prefix of all asset keys.
            entry: Values of the project's own entry that differ from `ENTRY`.
        """


def configuration(
    url: str | Mapping[str, str], *entries: Mapping[str, object], asset_prefix: Sequence[str] = ()
) -> ProjectConfig:
    """Return a configuration with one vector column per entry; each entry is `ENTRY` with other values."""
    data: dict[str, object] = {
        "database": {"url": url},
        "models": {"directories": [str(WRAPPERS)]},
        "asset_prefix": list(asset_prefix),
        "vectors": [{**ENTRY, **entry} for entry in entries or ({},)],
    }
    return parse_config(data, "crdbvec.yaml", Path())
