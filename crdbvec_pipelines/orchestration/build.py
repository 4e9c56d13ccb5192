"""A configuration -> Dagster definitions. Touches no database and imports no model."""

import dagster as dg

from crdbvec_pipelines.config import ProjectConfig
from crdbvec_pipelines.encoding.registry import ModelRegistry
from crdbvec_pipelines.errors import ConfigurationError
from crdbvec_pipelines.orchestration.assets import build_source, build_vector_asset
from crdbvec_pipelines.orchestration.checks import build_checks
from crdbvec_pipelines.orchestration.executors import multiprocess
from crdbvec_pipelines.orchestration.freshness import with_freshness
from crdbvec_pipelines.orchestration.index_asset import build_index_definitions
from crdbvec_pipelines.orchestration.jobs import build_jobs
from crdbvec_pipelines.orchestration.maintenance import build_maintenance
from crdbvec_pipelines.orchestration.names import names_of
from crdbvec_pipelines.orchestration.resources import CockroachResource, build_resource, for_ticks


def build_registry(config: ProjectConfig) -> ModelRegistry:
    """The models of a configuration, each entry's model known to exist.

    Raises:
        ConfigurationError: an entry names a model that there is not.
    """
    registry = ModelRegistry(config.models.directories, config.models.settings)
    for vector in config.vectors:
        try:
            registry.find(vector.model)
        except ConfigurationError as error:
            raise type(error)(f"{vector.origin}.model: {error}") from None
    return registry


def build_definitions(config: ProjectConfig, *, cockroach: CockroachResource | None = None) -> dg.Definitions:
    """All that Dagster shows and runs for a configuration.

    Args:
        config: what crdbvec.yaml says.
        cockroach: another database resource than the configuration's.

    Raises:
        ConfigurationError: an entry names a model that there is not.
    """
    registry = build_registry(config)
    names = names_of(config)
    resource = cockroach or build_resource(config.database)
    sources: dict[tuple[str, ...], dg.AssetSpec] = {}
    parts = []
    for vector in config.vectors:
        own = names[str(vector)]
        sources.setdefault(own.source, build_source(vector, own))
        parts += [
            dg.Definitions(
                assets=[build_vector_asset(vector, own, registry)], asset_checks=build_checks(vector, own, registry)
            ),
            build_jobs(vector, own, registry),
            build_maintenance(vector, own, registry),
            build_index_definitions(vector, own, registry),
        ]
    shared = dg.Definitions(
        assets=list(sources.values()),
        resources={"cockroach": resource, "cockroach_for_ticks": for_ticks(resource)},
        executor=multiprocess(),
    )
    return with_freshness(dg.Definitions.merge(shared, *parts), config, names)
