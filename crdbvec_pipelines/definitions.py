"""The module that Dagster loads: the definitions that `orchestration` makes from the configuration file."""

import dagster as dg

from crdbvec_pipelines.config import load_config
from crdbvec_pipelines.orchestration.build import build_definitions


@dg.definitions
def defs() -> dg.Definitions:
    """Return the definitions of the configuration file that `find_config` names."""
    return build_definitions(load_config())
