"""What Dagster loads. No logic: the configuration is read in `config`, the definitions are made in `orchestration`."""

import dagster as dg

from crdbvec_pipelines.config import load_config
from crdbvec_pipelines.orchestration.build import build_definitions


@dg.definitions
def defs() -> dg.Definitions:
    """The definitions of the crdbvec.yaml in force."""
    return build_definitions(load_config())
