"""Similarity search over a vector column: the rows nearest to a text or to another row."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.column import open_existing_column
from crdbvec_pipelines.database.connection import Database, Row
from crdbvec_pipelines.database.search.nearest import NearestNeighbors
from crdbvec_pipelines.database.search.query import Filters, SearchQuery
from crdbvec_pipelines.database.search.strategy import Strategy
from crdbvec_pipelines.encoding.encoder import Encoder

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Filters", "Hit", "SearchQuery", "SearchResult", "Searcher", "search_frame"]


@dataclass(frozen=True)
class Hit:
    """One row that a search found.

    Attributes:
        distance: The distance from the query by the column's metric; smaller is nearer.
        key: The primary key, by column.
        input: The input from which the row's vector was made.
        columns: The further columns that the query requested.
    """

    distance: float
    key: dict[str, Any]
    input: Any
    columns: dict[str, Any]


@dataclass(frozen=True)
class SearchResult:
    """The result of one search.

    Attributes:
        query: The text, or the key of the row, that was searched for.
        hits: The rows that were found, nearest first.
        strategy: Index scan or exact scan.
        reason: A sentence for users: which index with which effort, or why no index.
        index: The name of the index; None for an exact scan.
    """

    query: str
    hits: list[Hit]
    strategy: Strategy
    reason: str
    index: str | None


class Searcher:
    """Searches over one vector column on an open database.

    The table and its indexes are read once, when the object is created.

    Args:
        database: An open connection.
        spec: The vector column.
        encoder: The model that made its vectors.

    Raises:
        TableError: The table or its vector column does not exist, or has another dimension than the model.
    """

    def __init__(self, database: Database, spec: VectorColumn, encoder: Encoder) -> None:
        self.column = open_existing_column(database, spec, encoder)
        self._encoder = encoder
        self._nearest = NearestNeighbors(self.column)

    def search_texts(self, texts: Sequence[str], query: SearchQuery) -> list[SearchResult]:
        """Return the rows nearest to each text.

        Raises:
            TableError: A column of the query does not exist.
            EncodingError: The model rejected a text.
        """
        return [self._result(text, self._encoder.encode_query(text), query) for text in texts]

    def search_like(self, key: Sequence[Any], query: SearchQuery) -> SearchResult:
        """Return the rows nearest to the row with a key, without that row.

        Raises:
            TableError: The row does not exist or has no vector.
        """
        return self._result(", ".join(map(str, key)), self._nearest.read_vector(key), _excluding(key, query))

    def sql(self, texts: Sequence[str], query: SearchQuery, like: Sequence[Any] = ()) -> list[str]:
        """Return the searches for texts, or for the rows nearest to the row with the key `like`, as SQL text."""
        return [self._nearest.sql(vector, each) for vector, each in self._vectors(texts, query, like)]

    def explain(self, texts: Sequence[str], query: SearchQuery, like: Sequence[Any] = ()) -> list[list[str]]:
        """Return the lines of the server's query plan for each of these searches."""
        return [self._nearest.explain(vector, each) for vector, each in self._vectors(texts, query, like)]

    def _vectors(
        self, texts: Sequence[str], query: SearchQuery, like: Sequence[Any]
    ) -> Iterator[tuple[NDArray[np.float32], SearchQuery]]:
        for text in texts:
            yield self._encoder.encode_query(text), query
        if like:
            yield self._nearest.read_vector(like), _excluding(like, query)

    def _result(self, text: str, vector: NDArray[np.float32], query: SearchQuery) -> SearchResult:
        found = self._nearest.find(vector, query)
        hits = [self._hit(row, query) for row in found.rows]
        return SearchResult(text, hits, found.strategy, found.reason, found.index)

    def _hit(self, row: Row, query: SearchQuery) -> Hit:
        distance, value, *rest = row
        names = [part.name for part in self.column.table.key]
        return Hit(
            float(distance),
            dict(zip(names, rest[: len(names)], strict=True)),
            value,
            dict(zip(query.columns, rest[len(names) :], strict=True)),
        )


def _excluding(key: Sequence[Any], query: SearchQuery) -> SearchQuery:
    return replace(query, exclude_key=tuple(key))


def search_frame(
    database: Database, spec: VectorColumn, encoder: Encoder, texts: Sequence[str], query: SearchQuery | None = None
) -> "pd.DataFrame":
    """Return the rows nearest to each text as a pandas DataFrame, for notebooks.

    Args:
        database: An open connection.
        spec: The vector column.
        encoder: The model that made its vectors.
        texts: The texts to search for.
        query: Limit, filters and other settings; the ten nearest rows by default.

    Returns:
        One row per hit, nearest first for each text: `query`, `distance`, the columns of the key, `input`, and the
        further columns of the query.

    Raises:
        CrdbvecError: As for `Searcher`.
    """
    import pandas as pd

    query = query or SearchQuery()
    searcher = Searcher(database, spec, encoder)
    records = [
        {"query": result.query, "distance": hit.distance, **hit.key, "input": hit.input, **hit.columns}
        for result in searcher.search_texts(texts, query)
        for hit in result.hits
    ]
    key = [part.name for part in searcher.column.table.key]
    names = dict.fromkeys(["query", "distance", *key, "input", *query.columns])
    return pd.DataFrame.from_records(records, columns=list(names)).astype({"distance": float})
