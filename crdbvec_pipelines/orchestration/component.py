"""The same configuration in the defs.yaml of a `dg` project. A thin wrapper around `build`."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import dagster as dg
from pydantic import Field

from crdbvec_pipelines.config import URL_VARIABLE, parse_config
from crdbvec_pipelines.orchestration.build import build_definitions
from crdbvec_pipelines.orchestration.component_schema import attribute_schemas

_SCHEMAS = attribute_schemas()


def _typed(name: str) -> dg.Resolver:
    """Return how an attribute is read: as in crdbvec.yaml, with the schema that editors and `dg check yaml` use."""
    resolver: dg.Resolver = dg.Resolver.default(json_schema_extra=_SCHEMAS[name])
    return resolver


class VectorColumnsScaffolder(dg.Scaffolder[Any]):
    """Writes an entry to be edited, with a built-in model, so that `dg check yaml` and `dg check defs` accept it."""

    def scaffold(self, request: dg.ScaffoldRequest[Any]) -> None:
        """Write defs.yaml."""
        entry = {
            "table": "public.passage",
            "input": "body",
            "output": "body_vector",
            "model": "hf_st_all_minilm_l6",
        }
        dg.scaffold_component(request, {"database": {"url": {"env": URL_VARIABLE}}, "vectors": [entry]})


@dg.scaffold_with(VectorColumnsScaffolder)
class VectorColumns(dg.Component, dg.Resolvable, dg.Model):
    """Vector columns that are kept fresh; the attributes are those of crdbvec.yaml.

    type: crdbvec_pipelines.orchestration.component.VectorColumns
    """

    vectors: Annotated[Sequence[Mapping[str, Any]], _typed("vectors")] = Field(
        description="One entry per vector column, as in crdbvec.yaml."
    )
    database: Annotated[Mapping[str, Any] | None, _typed("database")] = Field(
        default=None, description="Where the tables are."
    )
    databases: Annotated[Mapping[str, Any] | None, _typed("databases")] = Field(
        default=None, description="Further databases by their names."
    )
    models: Annotated[Mapping[str, Any] | None, _typed("models")] = Field(
        default=None, description="Directories and settings of models."
    )
    asset_prefix: Annotated[Sequence[str], _typed("asset_prefix")] = Field(
        default=(), description="Prefix of all asset keys."
    )
    name_prefix: Annotated[str | None, _typed("name_prefix")] = Field(
        default=None, description="First part of the names of jobs, sensors and schedules."
    )
    resource_key: Annotated[str | None, _typed("resource_key")] = Field(
        default=None, description="Key of the database's resource; by default `cockroach`."
    )

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Return the definitions of these vector columns."""
        given = {key: value for key, value in self.model_dump().items() if value is not None}
        return build_definitions(parse_config(given, str(context.path / "defs.yaml"), context.path))
