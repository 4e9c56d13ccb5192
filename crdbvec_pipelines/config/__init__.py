"""The configuration: crdbvec.yaml as typed, validated values. This module contains the public names."""

from crdbvec_pipelines.config.load import (
    CONFIG_VARIABLE,
    DEFAULT_FILE,
    find_config,
    load_config,
    parse_config,
    vector_column,
)
from crdbvec_pipelines.config.schema import (
    MAX_BATCH_SIZE,
    MAX_WORKERS,
    URL_VARIABLE,
    DatabaseSpec,
    EnvironmentVariable,
    Executor,
    ExistingVectors,
    ModelsSpec,
    ProjectConfig,
    Staleness,
    VectorColumn,
)
from crdbvec_pipelines.config.sections import (
    METRICS,
    ChecksSpec,
    FollowSpec,
    FreshnessSpec,
    IndexSpec,
    Metric,
    PartitionsSpec,
)

__all__ = [
    "CONFIG_VARIABLE",
    "DEFAULT_FILE",
    "MAX_BATCH_SIZE",
    "MAX_WORKERS",
    "METRICS",
    "URL_VARIABLE",
    "ChecksSpec",
    "DatabaseSpec",
    "EnvironmentVariable",
    "Executor",
    "ExistingVectors",
    "FollowSpec",
    "FreshnessSpec",
    "IndexSpec",
    "Metric",
    "ModelsSpec",
    "PartitionsSpec",
    "ProjectConfig",
    "Staleness",
    "VectorColumn",
    "find_config",
    "load_config",
    "parse_config",
    "vector_column",
]
