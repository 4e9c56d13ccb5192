"""What the texts of a vector column are like, as metadata of its asset."""

import dagster as dg

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.orchestration.asset_names import AssetNames
from crdbvec_pipelines.profile.advice import markdown
from crdbvec_pipelines.profile.table import Profile


def profile_observation(names: AssetNames, spec: VectorColumn, profile: Profile) -> dg.AssetObservation:
    """Return a profile as an observation of the asset: numbers, which Dagster plots over time, and the advice."""
    texts = profile.texts
    numbers = {
        "tokens_median": texts.median,
        "tokens_lost": texts.lost,
        "truncated": texts.sample.truncated if texts.sample else None,
    }
    return dg.AssetObservation(
        dg.AssetKey(names.asset),
        metadata={
            **{name: round(value, 4) for name, value in numbers.items() if value is not None},
            "profile": dg.MetadataValue.md(markdown(spec, profile)),
        },
    )
