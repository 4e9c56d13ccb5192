"""Searching a column whose rows have vectors of different models: a warning that names the share, or an error.

Distances between vectors of two models say nothing, so a search for the vector of one model does not find the rows that
have vectors of another one. That is the case from a change of `model` until all rows are embedded again.
"""

import json

from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.database.schema.column_metadata import VECTOR_COLUMNS_TABLE, read_metrics
from crdbvec_pipelines.database.search.other_models import ModelSample, sample_other_models
from crdbvec_pipelines.database.table import read_table
from crdbvec_pipelines.errors import ConfigurationError
from crdbvec_pipelines.naming import TableName

_REMEDY = "Run `crdbvec embed` to embed them again, or `crdbvec migrate` to change a model without this time."


class MixedModelsWarning(UserWarning):
    """Some rows of the searched column have vectors of another model, so that the search does not find them."""


def mixed_models(column: BoundColumn, recorded: str | None) -> str | None:
    """Return a warning if some vectors of a column are those of another model than its own.

    Args:
        column: The vector column, with the model that makes the vectors of searches.
        recorded: The ids of its models as JSON; None if they are not known.

    Raises:
        ConfigurationError: Some are those of a model with another metric.
    """
    own = column.model.model_id
    models = json.loads(recorded or "[]")
    others = [model for model in models if model != own]
    if not others:
        return None
    if column.spec.fingerprint_column not in column.table.columns:
        # No row says which model made its vector; the record says which one was used last.
        if models[0] == own:
            return None
        return (
            f"The vectors of {column} are those of another model ({models[0]}), so the hits are arbitrary. Search with "
            "that model, or set the vectors to NULL and run `crdbvec embed`."
        )
    sample = sample_other_models(column, others)
    if not sample.others:
        return None
    _check_metric(column, others, sample)
    share = "Nearly all" if sample.others == sample.rows else f"About {_percent(sample.share)}"
    return (
        f"{share} of the vectors of {column} are those of another model than {column.spec.model}, and a search does "
        f"not find their rows ({sample.others:,} of {sample.rows:,} sampled rows). {_REMEDY}"
    )


def _check_metric(column: BoundColumn, others: list[str], sample: ModelSample) -> None:
    metadata = TableName(column.table.name.schema, VECTOR_COLUMNS_TABLE)
    if "metrics" not in read_table(column.database, metadata).columns:
        # The tables were prepared by an earlier release.
        return
    metrics = read_metrics(column.database, column.table)
    other = next((model for model in others if metrics.get(model, column.model.metric) != column.model.metric), None)
    if other is not None:
        raise ConfigurationError(
            f"About {_percent(sample.share)} of the vectors of {column} are those of another model ({other}), which "
            f"are compared by another metric ({metrics[other]}) than those of {column.spec.model} "
            f"({column.model.metric}). {_REMEDY}"
        )


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.01 else "1%"
