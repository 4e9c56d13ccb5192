"""The run config of ops: what the launchpad shows, and values out of range rejected before a run is created.

Dagster's launchpad knows only the types of a `dg.Config`, whose bounds are checked when the op starts. A config mapping
is run when the execution plan is made, which happens before the run is created.
"""

from collections.abc import Mapping
from typing import Any

import dagster as dg
from pydantic import ValidationError

from crdbvec_pipelines.errors import ConfigurationError


def checked_at_launch(op: dg.OpDefinition, config: type[dg.Config]) -> dg.OpDefinition:
    """Return an op whose run config is checked before a run is created.

    Args:
        op: The op.
        config: The class of its run config, which may have other defaults and descriptions than that of the op.
    """

    def check(values: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            config(**values)
        except ValidationError as error:
            # The lines of pydantic's own message contain links to its documentation.
            problems = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
            raise ConfigurationError(f"The run config of {op.name} is invalid: {problems}.") from None
        return values

    return op.configured(check, name=op.name, config_schema=config.to_config_schema())  # type: ignore[arg-type]
