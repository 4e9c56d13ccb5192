"""The prediction of the CockroachDB index of a vector column, from the vectors in the table. Nothing is changed."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from crdbvec_pipelines.config import IndexSpec
from crdbvec_pipelines.cspann.metrics import Vectors
from crdbvec_pipelines.cspann.prediction import (
    DEFAULT_BEAM_SIZES,
    DEFAULT_PARTITION_SIZES,
    MAX_INCREMENTAL_ROWS,
    Grid,
    SizePrediction,
    predict,
)
from crdbvec_pipelines.cspann.recommendation import Recommendation, recommend
from crdbvec_pipelines.cspann.settings import IndexSettings
from crdbvec_pipelines.database.chunks.table import vectors_of
from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.database.errors import TableError
from crdbvec_pipelines.search.index_sample import DEFAULT_SAMPLE_ROWS, TableSample, read_sample

DEFAULT_QUERIES = 300


@dataclass(frozen=True)
class PredictionRequest:
    """What to predict.

    Attributes:
        sample_rows: The number of rows to read; None for all.
        queries: The queries; None for points between rows.
        query_count: The number of points between rows.
        k: The number of nearest rows that a search requests.
        beam_sizes: The search efforts.
        partition_sizes: The values of `max_partition_size`; the configured one is added to the default ones.
        build_beam_size: The search effort of inserts; None for the configured one, and twice that for the best size.
        rows: Further numbers of rows, for the growth of the table.
        target_recall: The target recall; None for the configured one.
        seed: The seed of all random choices.
    """

    sample_rows: int | None = DEFAULT_SAMPLE_ROWS
    queries: Vectors | None = None
    query_count: int = DEFAULT_QUERIES
    k: int = 10
    beam_sizes: tuple[int, ...] = ()
    partition_sizes: tuple[int, ...] = ()
    build_beam_size: int | None = None
    rows: tuple[int, ...] = ()
    target_recall: float | None = None
    seed: int = 0


@dataclass(frozen=True)
class PredictedIndex:
    """The prediction for a vector column.

    Attributes:
        metric: The metric.
        dim: The dimension.
        rows: The number of rows that have a vector.
        sampled_rows: The number of rows that were simulated.
        queries: The number of queries.
        k: The number of nearest rows that a search requests.
        prefix: The prefix columns.
        prefix_values: The number of values of the prefix columns; None without prefix columns.
        key_bytes: The mean bytes of the prefix and primary key columns in a key.
        target_recall: The target recall.
        sizes: The prediction for each partition size.
        recommendation: The recommended settings.
    """

    metric: str
    dim: int
    rows: int
    sampled_rows: int
    queries: int
    k: int
    prefix: tuple[str, ...]
    prefix_values: int | None
    key_bytes: float
    target_recall: float
    sizes: tuple[SizePrediction, ...]
    recommendation: Recommendation


def predict_index(
    column: BoundColumn,
    request: PredictionRequest,
    on_read: Callable[[int], None] = lambda count: None,
    on_indexed: Callable[[int], None] = lambda count: None,
) -> PredictedIndex:
    """Return the prediction of the index that the configuration describes.

    Args:
        column: The vector column, which exists.
        request: What to predict.
        on_read: Receives how many rows have been read since the last call.
        on_indexed: Receives how many rows have been indexed since the last call, for each partition size.

    Raises:
        TableError: No row has a vector, or a prefix column does not exist.
        DatabaseError: The server rejected a statement.
    """
    column = vectors_of(column)
    spec = column.spec.index or IndexSpec()
    for name in spec.prefix:
        if name not in column.table.columns:
            raise TableError(f"{column.spec.origin}.index.prefix: {column.spec.table} has no column {name}.")
    settings = _settings(column, spec, request)
    with read_sample(column, request.sample_rows, on_read) as sample:
        return _predict(column, spec, request, settings, sample, on_indexed)


def partition_sizes(spec: IndexSpec, request: PredictionRequest) -> tuple[int, ...]:
    """Return the values of `max_partition_size` that are simulated."""
    configured = [spec.max_partition_size] if spec.max_partition_size else []
    return tuple(sorted(set(request.partition_sizes or (*DEFAULT_PARTITION_SIZES, *configured))))


def compares_build_beams(request: PredictionRequest, rows: int) -> bool:
    """Return whether twice the build beam size is simulated as well; the bulk construction does not depend on it."""
    return request.build_beam_size is None and rows <= MAX_INCREMENTAL_ROWS


def _settings(column: BoundColumn, spec: IndexSpec, request: PredictionRequest) -> IndexSettings:
    usual = IndexSettings()
    smallest = spec.min_partition_size or usual.min_partition_size
    return IndexSettings(
        column.metric,
        smallest,
        max(usual.max_partition_size, 8 * smallest),
        request.build_beam_size or spec.build_beam_size or usual.build_beam_size,
        request.seed,
    )


def _predict(
    column: BoundColumn,
    spec: IndexSpec,
    request: PredictionRequest,
    settings: IndexSettings,
    sample: TableSample,
    on_indexed: Callable[[int], None],
) -> PredictedIndex:
    rows = max(sample.sizes.total_rows, len(sample.vectors))
    queries = None if request.queries is None else np.asarray(request.queries, np.float32)
    with_queries = sample.with_queries(queries, request.query_count, request.seed)
    target_recall = request.target_recall or spec.wanted_recall
    grid = Grid(request.beam_sizes or DEFAULT_BEAM_SIZES, partition_sizes(spec, request), request.k, rows, request.rows)
    sizes = predict(with_queries, settings, grid, sample.keys, on_indexed)
    recommended = recommend(sizes, settings, target_recall, column.model.dim, spec.prefix)
    if compares_build_beams(request, len(with_queries.vectors)):
        wider = replace(settings, build_beam_size=2 * settings.build_beam_size)
        best_size = replace(grid, partition_sizes=(recommended.max_partition_size,))
        sizes += predict(with_queries, wider, best_size, sample.keys, on_indexed)
        recommended = recommend(sizes, settings, target_recall, column.model.dim, spec.prefix)
    return PredictedIndex(
        column.metric,
        column.model.dim,
        rows,
        len(with_queries.vectors),
        len(with_queries.queries),
        request.k,
        spec.prefix,
        sample.sizes.total_prefixes if spec.prefix else None,
        sample.keys.prefix + sample.keys.primary_key,
        target_recall,
        sizes,
        recommended,
    )
