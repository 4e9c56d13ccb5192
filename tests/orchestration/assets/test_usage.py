"""The tokens of the last day are metadata of the asset, with their price if it is configured."""

import psycopg
import pytest

from crdbvec_pipelines.config import ProjectConfig
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.rows.usage import UsageRecorder
from crdbvec_pipelines.orchestration.asset_names import asset_names
from crdbvec_pipelines.orchestration.assets.usage import usage_observation
from tests.support.tables import column, create_table
from tests.support.work import prepared


@pytest.mark.parametrize(
    ("price", "expected"),
    [(100.0, {"tokens_last_day": 50_000, "cost_last_day": 5.0}), (None, {"tokens_last_day": 50_000})],
)
def test_usage_is_metadata_of_the_asset(
    database: Database, connection: psycopg.Connection, price: float | None, expected: dict[str, float]
) -> None:
    create_table(connection, texts=["a"])
    spec = column(price_per_million_tokens=price)
    bound = prepared(database, spec)
    recorder = UsageRecorder(bound)
    recorder.add(50_000)
    recorder.write()
    (names,) = asset_names(ProjectConfig(vectors=(spec,))).values()
    observation = usage_observation(bound, names)
    assert observation.asset_key.path == list(names.asset)
    assert {name: value.value for name, value in observation.metadata.items()} == expected
