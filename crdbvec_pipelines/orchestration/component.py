"""The same configuration in the defs.yaml of a `dg` project. A thin wrapper around `build`."""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
from pydantic import Field

from crdbvec_pipelines.config import parse_config
from crdbvec_pipelines.orchestration.build import build_definitions


class VectorColumns(dg.Component, dg.Resolvable, dg.Model):
    """Vector columns that are kept fresh; the attributes are those of crdbvec.yaml.

    type: crdbvec_pipelines.orchestration.component.VectorColumns
    """

    vectors: Sequence[Mapping[str, Any]] = Field(description="One entry per vector column, as in crdbvec.yaml.")
    database: Mapping[str, Any] | None = Field(default=None, description="Where the tables are.")
    models: Mapping[str, Any] | None = Field(default=None, description="Directories and settings of models.")
    asset_prefix: Sequence[str] = Field(default=(), description="Prefix of all asset keys.")

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Return the definitions of these vector columns."""
        given = {key: value for key, value in self.model_dump().items() if value is not None}
        return build_definitions(parse_config(given, str(context.path / "defs.yaml"), context.path))
