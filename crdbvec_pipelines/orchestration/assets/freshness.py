"""The freshness policy: Dagster shows a vector column as stale if it was not materialized for too long."""

import warnings
from collections.abc import Mapping
from datetime import timedelta

import dagster as dg

from crdbvec_pipelines.config import ProjectConfig
from crdbvec_pipelines.orchestration.asset_names import AssetNames


def with_freshness(
    definitions: dg.Definitions, config: ProjectConfig, names: Mapping[str, AssetNames]
) -> dg.Definitions:
    """Return the definitions with a freshness policy on each vector column; `graph_asset` has no parameter for one.

    A materialization of any partition counts, and scheduled maintenance always logs one.
    """
    policies = {
        dg.AssetKey(names[str(vector)].asset): dg.FreshnessPolicy.time_window(
            fail_window=timedelta(hours=vector.freshness.fail_hours),
            warn_window=timedelta(hours=vector.freshness.warn_hours),
        )
        for vector in config.vectors
    }

    def apply(spec: dg.AssetSpec) -> dg.AssetSpec:
        policy = policies.get(spec.key)
        return dg.apply_freshness_policy(spec, policy) if policy else spec

    with warnings.catch_warnings():
        # map_asset_specs is a preview feature, and the only way to set the policy.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return definitions.map_asset_specs(func=apply)
