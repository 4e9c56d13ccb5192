"""A vector column made ready and refreshed, as the command line and the ops do it."""

from typing import Any

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.rows import VectorRows
from crdbvec_pipelines.database.schema import ensure_schema
from crdbvec_pipelines.encoding.encoder import Encoder
from crdbvec_pipelines.keyspace import KeyRange
from crdbvec_pipelines.refresh import BatchEncoder, RefreshReport, refresh
from tests.support.models import registry


def prepare(database: Database, spec: VectorColumn, model_id: str | None = None) -> VectorRows:
    """The rows of a vector column, the table made ready for them."""
    encoder = registry().load(spec.model)
    identity = model_id or encoder.model_id
    return VectorRows(database, ensure_schema(database, spec, encoder.dim, identity), spec, identity)


def embed(
    database: Database,
    spec: VectorColumn,
    encoder: BatchEncoder | None = None,
    *,
    key_range: KeyRange | None = None,
    model_id: str | None = None,
    **options: Any,
) -> RefreshReport:
    """Embeds what is pending."""
    model: BatchEncoder | Encoder = encoder or registry().load(spec.model)
    return refresh(
        prepare(database, spec, model_id),
        model,
        key_range or KeyRange(),
        batch_size=options.pop("batch_size", spec.batch_size),
        **options,
    )
