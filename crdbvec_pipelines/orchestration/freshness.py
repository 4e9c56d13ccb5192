"""When Dagster shows a vector column as stale: nobody has looked after it for too long."""

import warnings
from collections.abc import Mapping
from datetime import timedelta

import dagster as dg

from crdbvec_pipelines.config import ProjectConfig
from crdbvec_pipelines.orchestration.names import Names


def with_freshness(definitions: dg.Definitions, config: ProjectConfig, names: Mapping[str, Names]) -> dg.Definitions:
    """The definitions with a freshness policy on each vector column; graph assets take none when they are made.

    A materialization of any partition counts, and scheduled maintenance always makes one.
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
        # map_asset_specs is in preview, and the only way in.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return definitions.map_asset_specs(func=apply)
