"""Hits as pandas DataFrames, for notebooks."""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.search.query import SearchQuery
from crdbvec_pipelines.encoding.encoder import Encoder
from crdbvec_pipelines.encoding.registry import ModelRegistry
from crdbvec_pipelines.search.mixed_models import MixedModelsWarning
from crdbvec_pipelines.search.result import Hit, SearchResult
from crdbvec_pipelines.search.searcher import Searcher

if TYPE_CHECKING:
    import pandas as pd

_CHUNK_COLUMNS = ("chunk_number", "chunk_start", "chunk_end", "chunk_text")
_OWN_COLUMNS = ("query", "distance", "vector_rank", "keyword_rank", "relevance", "input", *_CHUNK_COLUMNS)
"""The columns of a frame that do not come from the table."""


def search_frame(
    database: Database,
    spec: VectorColumn,
    encoder: Encoder,
    texts: Sequence[str],
    query: SearchQuery | None = None,
    registry: ModelRegistry | None = None,
) -> "pd.DataFrame":
    """Return the rows nearest to each text as a pandas DataFrame, for notebooks.

    Args:
        database: An open connection.
        spec: The vector column.
        encoder: The model that made its vectors.
        texts: The texts to search for.
        query: Limit, filters and other settings; the ten nearest rows by default.
        registry: The models, for a reranked search; see `Searcher`.

    Returns:
        One row per hit, nearest first for each text: `query`, `distance`, the columns of the key, `input`, and the
        further columns of the query; of a keyword or hybrid search also `vector_rank` and `keyword_rank`, which are
        missing values where the row is not among the candidates; of a reranked search also `relevance`. A column of the
        table that has one of these names is in the frame under its name with a number, such as `distance_2`.

    Raises:
        CrdbvecError: As for `Searcher`.

    Warns:
        MixedModelsWarning: Some vectors of the column are those of another model.
    """
    query = query or SearchQuery()
    searcher = Searcher(database, spec, encoder, registry)
    warn_of_mixed_models(searcher, stacklevel=3)
    return results_frame(searcher, searcher.search_texts(texts, query), query)


def warn_of_mixed_models(searcher: Searcher, stacklevel: int) -> None:
    """Issue a `MixedModelsWarning` if some vectors of the searched column are those of another model."""
    if searcher.warning is not None:
        warnings.warn(searcher.warning, MixedModelsWarning, stacklevel)


def results_frame(searcher: Searcher, results: Sequence[SearchResult], query: SearchQuery) -> "pd.DataFrame":
    """Return the hits of searches as `search_frame` does."""
    import pandas as pd

    key = [part.name for part in searcher.column.table.key]
    further = [name for name in dict.fromkeys(query.columns) if name not in key]
    names = _frame_names([*key, *further])
    ranks = () if query.mode == "vector" else ("vector_rank", "keyword_rank")
    relevance = ("relevance",) if query.rerank else ()
    chunk = () if searcher.column.spec.chunking is None else _CHUNK_COLUMNS
    records = [
        (
            result.query,
            hit.distance,
            *((hit.ranks.vector, hit.ranks.keyword) if ranks and hit.ranks else ()),
            *((hit.relevance,) if relevance else ()),
            *(hit.key[name] for name in key),
            hit.input,
            *(hit.columns[name] for name in further),
            *(_chunk_values(hit) if chunk else ()),
        )
        for result in results
        for hit in result.hits
    ]
    own = [names[name] for name in key], [names[name] for name in further]
    columns = ["query", "distance", *ranks, *relevance, *own[0], "input", *own[1], *chunk]
    numbers = dict.fromkeys(("distance", *relevance), "float64")
    types = {**numbers, **dict.fromkeys((*ranks, *chunk[:-1]), "Int64")}
    return pd.DataFrame.from_records(records, columns=columns).astype(types)


def _chunk_values(hit: Hit) -> tuple[object, ...]:
    found = hit.chunk
    return (None,) * len(_CHUNK_COLUMNS) if found is None else (found.number, found.start, found.end, found.text)


def _frame_names(columns: Sequence[str]) -> dict[str, str]:
    """Return the name of each column of the table in a frame: its own, or with a number if the frame has that name."""
    taken = {*_OWN_COLUMNS, *columns}
    names = {}
    for column in columns:
        name, number = column, 2
        while name in _OWN_COLUMNS or (name != column and name in taken):
            name, number = f"{column}_{number}", number + 1
        taken.add(name)
        names[column] = name
    return names
