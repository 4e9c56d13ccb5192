"""What a vector column has cost in the last day, as metadata of its asset."""

import dagster as dg

from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.database.rows.usage import usage_of_last_day
from crdbvec_pipelines.orchestration.asset_names import AssetNames


def usage_observation(column: BoundColumn, names: AssetNames) -> dg.AssetObservation:
    """Return the tokens of the last day by all processes as an observation of the asset; their price if it is known."""
    usage = usage_of_last_day(column)
    is_priced = column.spec.price_per_million_tokens is not None
    return dg.AssetObservation(
        dg.AssetKey(names.asset),
        metadata={"tokens_last_day": usage.tokens, **({"cost_last_day": round(usage.cost, 6)} if is_priced else {})},
    )
