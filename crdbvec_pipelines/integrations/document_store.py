"""Documents of another library as rows of a vector column: what the vector stores have in common."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crdbvec_pipelines.database.rows.documents import Document
from crdbvec_pipelines.database.search.filters import Filters
from crdbvec_pipelines.library import Column
from crdbvec_pipelines.search.result import Hit
from crdbvec_pipelines.value_text import jsonable, key_text


@dataclass(frozen=True)
class FoundDocument:
    """A row that a search found.

    Attributes:
        id: The text of its key.
        text: The input.
        metadata: The further columns and the content of the metadata column.
        distance: Smaller is nearer.
        hit: The row itself.
    """

    id: str
    text: str
    metadata: dict[str, Any]
    distance: float
    hit: Hit


class DocumentStore:
    """The rows of a vector column as documents with an id, a text and metadata.

    Args:
        column: The vector column, open for as long as the store is used.
        columns: Further columns of the table that become metadata.
        metadata_column: A column of type jsonb, whose content becomes metadata.
        embed_on_write: Embed pending rows after documents were written.

    Raises:
        TableError: The key of the table or the input is not one column.
    """

    def __init__(
        self, column: Column, columns: Sequence[str], metadata_column: str | None, *, embed_on_write: bool
    ) -> None:
        self.column = column
        self.documents = column.documents(metadata_column)
        self._columns = tuple(columns)
        self._metadata_column = metadata_column
        self._embed_on_write = embed_on_write

    def write(self, documents: Sequence[Document]) -> list[str]:
        """Insert documents, or update the rows that have their ids, and return the ids."""
        self.documents.write(documents)
        if documents and self._embed_on_write:
            self.column.embed()
        return [each.id for each in documents]

    def search(
        self,
        query: str | Sequence[float] | NDArray[np.float32],
        limit: int,
        filters: Filters | None,
        *further: str,
    ) -> list[FoundDocument]:
        """Return the documents nearest to a text or a vector.

        Args:
            query: The text or the vector.
            limit: The maximum number of documents.
            filters: Which documents, by names of columns or of keys of the metadata.
            further: Columns to read besides, for `FoundDocument.hit`.
        """
        columns = [*self._columns, *further, *([self._metadata_column] if self._metadata_column else [])]
        named = {self.documents.subject(name): value for name, value in (filters or {}).items()}
        hits = self.column.hits(query, limit=limit, columns=tuple(dict.fromkeys(columns)), filters=named)
        return [self._found(hit) for hit in hits]

    def score(self, of_cosine: Callable[[float], float]) -> Callable[[float], float]:
        """Return what makes a score, of which more is nearer, from a distance.

        Args:
            of_cosine: What makes it from the cosine distance.
        """
        if self.column.metric == "cosine":
            return of_cosine
        # The distance of `ip` is the negative inner product.
        return (lambda distance: -distance) if self.column.metric == "ip" else (lambda distance: 1 / (1 + distance))

    def _found(self, hit: Hit) -> FoundDocument:
        metadata = {name: jsonable(hit.columns[name]) for name in self._columns}
        metadata |= hit.columns.get(self._metadata_column or "") or {}
        return FoundDocument(key_text(hit.key.values()), str(hit.input), metadata, hit.distance, hit)
