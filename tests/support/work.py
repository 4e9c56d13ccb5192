"""Preparing and refreshing a vector column, as the command line and the Dagster ops do."""

from dataclasses import dataclass
from typing import Any

from crdbvec_pipelines.config import Metric, VectorColumn
from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.rows.vector_rows import VectorRows
from crdbvec_pipelines.database.schema.prepare import prepare_column
from crdbvec_pipelines.keyspace import KeyRange
from crdbvec_pipelines.refresh.engine import BatchEncoder, refresh
from crdbvec_pipelines.refresh.options import RefreshOptions
from crdbvec_pipelines.refresh.report import RefreshReport
from tests.support.models import STUB_DIM, registry


@dataclass(frozen=True)
class FakeModel:
    """The identity of a model without the model itself."""

    model_id: str = "m"
    dim: int = STUB_DIM
    metric: Metric = "cosine"


def prepared(database: Database, spec: VectorColumn, model_id: str | None = None) -> BoundColumn:
    """Prepare the table and return the vector column; `model_id` replaces the id of the model."""
    encoder = registry().encoder_of(spec)
    return prepare_column(
        database, spec, encoder if model_id is None else FakeModel(model_id, encoder.dim, encoder.metric)
    )


def prepare(database: Database, spec: VectorColumn, model_id: str | None = None) -> VectorRows:
    """Prepare the table and return the rows of the vector column."""
    return VectorRows(prepared(database, spec, model_id))


def embed(
    database: Database,
    spec: VectorColumn,
    encoder: BatchEncoder | None = None,
    *,
    key_range: KeyRange | None = None,
    model_id: str | None = None,
    **options: Any,
) -> RefreshReport:
    """Embed the pending rows and return the report."""
    return refresh(
        prepare(database, spec, model_id),
        encoder or registry().encoder_of(spec),
        key_range or KeyRange(),
        RefreshOptions(**{"batch_size": spec.batch_size, **options}),
    )
