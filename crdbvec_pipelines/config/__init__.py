"""The configuration: crdbvec.yaml as typed, validated values. This module contains the public names."""

from crdbvec_pipelines.config.database import DEFAULT_DATABASE, URL_VARIABLE, DatabaseSpec, EnvironmentVariable
from crdbvec_pipelines.config.load import (
    CONFIG_VARIABLE,
    DEFAULT_FILE,
    changed_chunks,
    find_config,
    load_config,
    parse_config,
    vector_column,
)
from crdbvec_pipelines.config.migration import MigrationSpec
from crdbvec_pipelines.config.project import ModelsSpec, ProjectConfig
from crdbvec_pipelines.config.sections import (
    METRICS,
    ChecksSpec,
    ChunksSpec,
    FollowSpec,
    FreshnessSpec,
    IndexSpec,
    LongInputs,
    Metric,
    PartitionsSpec,
    Splitter,
    TextIndexSpec,
)
from crdbvec_pipelines.config.template import TemplateParts
from crdbvec_pipelines.config.vector_column import (
    MAX_BATCH_SIZE,
    MAX_WORKERS,
    Executor,
    ExistingVectors,
    QualityOfService,
    Staleness,
    VectorColumn,
)

__all__ = [
    "CONFIG_VARIABLE",
    "DEFAULT_DATABASE",
    "DEFAULT_FILE",
    "MAX_BATCH_SIZE",
    "MAX_WORKERS",
    "METRICS",
    "URL_VARIABLE",
    "ChecksSpec",
    "ChunksSpec",
    "DatabaseSpec",
    "EnvironmentVariable",
    "Executor",
    "ExistingVectors",
    "FollowSpec",
    "FreshnessSpec",
    "IndexSpec",
    "LongInputs",
    "Metric",
    "MigrationSpec",
    "ModelsSpec",
    "PartitionsSpec",
    "ProjectConfig",
    "QualityOfService",
    "Splitter",
    "Staleness",
    "TemplateParts",
    "TextIndexSpec",
    "VectorColumn",
    "changed_chunks",
    "find_config",
    "load_config",
    "parse_config",
    "vector_column",
]
