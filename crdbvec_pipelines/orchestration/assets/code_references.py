"""The places that the UI links to from an asset: the configuration file, and the file of the model's wrapper."""

import warnings
from collections.abc import Mapping
from pathlib import Path

import dagster as dg

from crdbvec_pipelines.config import ProjectConfig
from crdbvec_pipelines.encoding.registry import ModelRegistry
from crdbvec_pipelines.orchestration.asset_names import AssetNames


def with_code_references(
    definitions: dg.Definitions, config: ProjectConfig, names: Mapping[str, AssetNames], registry: ModelRegistry
) -> dg.Definitions:
    """Return the definitions with code references on the vector columns and the indexes.

    A wrapper of an installed package has no reference, because only its import would tell its file.
    """
    places: dict[dg.AssetKey, list[tuple[Path, int, str]]] = {}
    for position, vector in enumerate(config.vectors):
        own = names[str(vector)]
        wrapper = registry.find(vector.model).path
        found = [
            *([(config.file, config.lines[position], config.file.name)] if config.file else []),
            *([(wrapper, 1, f"the wrapper of {vector.model}")] if wrapper else []),
        ]
        places |= {dg.AssetKey(own.asset): found, dg.AssetKey(own.index): found}

    def apply(spec: dg.AssetSpec) -> dg.AssetSpec:
        found = places.get(spec.key)
        if not found:
            return spec
        references = [
            dg.LocalFileCodeReference(file_path=str(file.resolve()), line_number=line, label=label)
            for file, line, label in found
        ]
        value = dg.CodeReferencesMetadataValue(code_references=references)
        return spec.merge_attributes(metadata={"dagster/code_references": value})

    with warnings.catch_warnings():
        # Code references are a beta feature, and map_asset_specs is a preview.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        warnings.simplefilter("ignore", dg.BetaWarning)
        return definitions.map_asset_specs(func=apply)
