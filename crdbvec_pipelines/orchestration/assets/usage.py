"""What a vector column has cost in the last day: the tokens of its materializations, and their price."""

import time

import dagster as dg

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.orchestration.asset_names import AssetNames
from crdbvec_pipelines.orchestration.assets.metadata import TOKENS

_DAY_SECONDS = 86_400
_PAGE = 1_000


def usage_of_last_day(instance: dg.DagsterInstance, names: AssetNames, spec: VectorColumn) -> dg.AssetObservation:
    """Return the tokens of the last 24 hours as an observation of the asset, with their price if that is known."""
    wanted = dg.AssetRecordsFilter(asset_key=dg.AssetKey(names.asset), after_timestamp=time.time() - _DAY_SECONDS)
    tokens, cursor, has_more = 0, None, True
    while has_more:
        page = instance.fetch_materializations(wanted, limit=_PAGE, cursor=cursor)
        for record in page.records:
            value = record.asset_materialization.metadata.get(TOKENS) if record.asset_materialization else None
            tokens += int(value.value) if isinstance(value, dg.IntMetadataValue) and value.value else 0
        cursor, has_more = page.cursor, page.has_more
    cost = spec.price_of(tokens)
    return dg.AssetObservation(
        dg.AssetKey(names.asset),
        metadata={"tokens_last_day": tokens, **({} if cost is None else {"cost_last_day": round(cost, 6)})},
    )
