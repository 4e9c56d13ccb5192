"""Similarity search over a vector column: texts, or a row, in; the nearest rows out, by index or exactly."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.connection import Database, Row
from crdbvec_pipelines.database.errors import TableError
from crdbvec_pipelines.database.introspect import Table, check_column, read_table
from crdbvec_pipelines.database.metrics import metric_of
from crdbvec_pipelines.database.nearest import Nearest, Where, Wish
from crdbvec_pipelines.encoding.encoder import Encoder

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Found", "Hit", "Searcher", "Where", "Wish", "search_frame"]


@dataclass(frozen=True)
class Hit:
    """One row that was found.

    Attributes:
        distance: from the query, by the column's metric; smaller is nearer.
        key: the primary key, column by column.
        input: what the row's vector was made from.
        columns: further columns that were asked for.
    """

    distance: float
    key: dict[str, Any]
    input: Any
    columns: dict[str, Any]


@dataclass(frozen=True)
class Found:
    """What one query found, nearest first, and how: by which index, or exactly and why."""

    query: str
    hits: list[Hit]
    how: str
    by_index: bool


class Searcher:
    """Searches one vector column on an open database.

    Args:
        database: an open connection.
        spec: the vector column.
        encoder: the model that made its vectors.

    Raises:
        TableError: there is no such table or vector column, or its dimension is not the model's.
    """

    def __init__(self, database: Database, spec: VectorColumn, encoder: Encoder) -> None:
        self.table: Table = read_table(database, spec.table)
        check_column(self.table, spec, encoder.dim)
        if spec.output not in self.table.columns:
            raise TableError(f"{spec.table} has no vector column {spec.output} yet; run crdbvec embed first.")
        self.metric = metric_of(spec, encoder.metric)
        self._encoder = encoder
        self._nearest = Nearest(database, self.table, spec, self.metric)

    def texts(self, texts: Sequence[str], wish: Wish) -> list[Found]:
        """The rows nearest to each text.

        Raises:
            TableError: a column of the wish does not exist.
            EncodingError: the model does not take a text.
        """
        return [self._found(text, self._encoder.encode_query(text), wish) for text in texts]

    def like(self, key: Sequence[Any], wish: Wish) -> Found:
        """The rows nearest to the row with a key, without itself.

        Raises:
            TableError: there is no such row, or it has no vector.
        """
        return self._found(", ".join(map(str, key)), self._nearest.vector_of(key), _without(key, wish))

    def sql(self, texts: Sequence[str], wish: Wish, like: Sequence[Any] = ()) -> list[str]:
        """The searches for texts, or for the rows nearest to the one with the key `like`, as SQL that can be copied."""
        return [self._nearest.sql(vector, asked) for vector, asked in self._asked(texts, wish, like)]

    def explain(self, texts: Sequence[str], wish: Wish, like: Sequence[Any] = ()) -> list[list[str]]:
        """The server's plans of such searches, line by line."""
        return [self._nearest.explain(vector, asked) for vector, asked in self._asked(texts, wish, like)]

    def _asked(
        self, texts: Sequence[str], wish: Wish, like: Sequence[Any]
    ) -> Iterator[tuple[NDArray[np.float32], Wish]]:
        for text in texts:
            yield self._encoder.encode_query(text), wish
        if like:
            yield self._nearest.vector_of(like), _without(like, wish)

    def _found(self, query: str, vector: NDArray[np.float32], wish: Wish) -> Found:
        answer = self._nearest.find(vector, wish)
        return Found(query, [self._hit(row, wish) for row in answer.rows], answer.how, answer.by_index)

    def _hit(self, row: Row, wish: Wish) -> Hit:
        distance, value, *rest = row
        names = [column.name for column in self.table.key]
        return Hit(
            float(distance),
            dict(zip(names, rest[: len(names)], strict=True)),
            value,
            dict(zip(wish.columns, rest[len(names) :], strict=True)),
        )


def _without(key: Sequence[Any], wish: Wish) -> Wish:
    return replace(wish, without=tuple(key))


def search_frame(
    database: Database, spec: VectorColumn, encoder: Encoder, texts: Sequence[str], wish: Wish | None = None
) -> "pd.DataFrame":
    """The rows nearest to each text as a pandas DataFrame, for notebooks.

    Args:
        database: an open connection.
        spec: the vector column.
        encoder: the model that made its vectors.
        texts: what to search for.
        wish: limit, filters and so on; the ten nearest if not given.

    Returns:
        One row a hit, nearest first within each query: `query`, `distance`, the key's columns, `input`, and the further
        columns asked for.

    Raises:
        CrdbvecError: as `Searcher`.
    """
    import pandas as pd

    wanted = wish or Wish()
    searcher = Searcher(database, spec, encoder)
    records = [
        {"query": each.query, "distance": hit.distance, **hit.key, "input": hit.input, **hit.columns}
        for each in searcher.texts(texts, wanted)
        for hit in each.hits
    ]
    key = [column.name for column in searcher.table.key]
    names = dict.fromkeys(["query", "distance", *key, "input", *wanted.columns])
    return pd.DataFrame.from_records(records, columns=list(names)).astype({"distance": float})
