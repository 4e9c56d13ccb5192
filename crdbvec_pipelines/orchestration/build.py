"""Dagster definitions from a configuration. Connects to no database and imports no model."""

import warnings

import dagster as dg

from crdbvec_pipelines.config import ProjectConfig
from crdbvec_pipelines.encoding.registry import check_models, load_registry
from crdbvec_pipelines.orchestration.asset_names import asset_names
from crdbvec_pipelines.orchestration.assets.checks import build_checks
from crdbvec_pipelines.orchestration.assets.code_references import with_code_references
from crdbvec_pipelines.orchestration.assets.freshness import with_freshness
from crdbvec_pipelines.orchestration.assets.index import build_index_definitions
from crdbvec_pipelines.orchestration.assets.search_quality import build_search_quality
from crdbvec_pipelines.orchestration.assets.vector_column import build_source, build_vector_asset
from crdbvec_pipelines.orchestration.jobs.build import build_jobs
from crdbvec_pipelines.orchestration.jobs.maintenance import build_maintenance
from crdbvec_pipelines.orchestration.resources import CockroachResource, build_resource, for_ticks, ticks_resource

# Dagster emits this warning of a parameter that it passes itself whenever it loads a sensor with jobs.
warnings.filterwarnings("ignore", "Parameter `owners` of initializer `SensorDefinition", dg.BetaWarning)


def build_definitions(config: ProjectConfig, *, cockroach: CockroachResource | None = None) -> dg.Definitions:
    """Return all definitions for a configuration.

    Args:
        config: The configuration.
        cockroach: A resource to use instead of that of `database`.

    Raises:
        ConfigurationError: An entry names a model that does not exist.
    """
    given, config = config, config.with_second_columns()
    registry = load_registry(config)
    check_models(config, registry)
    names = asset_names(config)
    resources: dict[str, CockroachResource] = {}
    for name in [None, *config.databases]:
        key, database = config.resource_key_of(name), config.database_named(name)
        own_resource = cockroach if name is None else None
        resources[key] = own_resource or build_resource(database)
        resources[f"{key}_for_ticks"] = for_ticks(own_resource) if own_resource else ticks_resource(database)
    sources: dict[tuple[str, ...], dg.AssetSpec] = {}
    parts = []
    for vector in config.vectors:
        own = names[str(vector)]
        if vector.source_asset is None:
            sources.setdefault(own.source, build_source(vector, own))
        parts += [
            dg.Definitions(
                assets=[build_vector_asset(vector, own, registry)], asset_checks=[build_checks(vector, own, registry)]
            ),
            build_maintenance(vector, own, registry),
            build_index_definitions(vector, own, registry),
            build_search_quality(vector, own, registry),
        ]
    shared = dg.Definitions(
        assets=list(sources.values()),
        resources=resources,
        executor=dg.in_process_executor,
    )
    definitions = with_freshness(
        dg.Definitions.merge(shared, build_jobs(given, names, registry), *parts), config, names
    )
    return with_code_references(definitions, config, names, registry)
