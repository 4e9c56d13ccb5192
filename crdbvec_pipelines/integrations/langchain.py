"""A vector column as a vector store of LangChain. Needs the extra `langchain`."""

import json
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore
from langchain_core.vectorstores.utils import maximal_marginal_relevance

from crdbvec_pipelines.database.errors import ColumnExchanged
from crdbvec_pipelines.database.rows.documents import Document as StoredDocument
from crdbvec_pipelines.database.search.filters import Filters
from crdbvec_pipelines.errors import ConfigurationError
from crdbvec_pipelines.integrations.document_store import DocumentStore, FoundDocument
from crdbvec_pipelines.library import Column


class ColumnEmbeddings(Embeddings):
    """The model of a vector column as embeddings of LangChain.

    Args:
        column: The vector column.
    """

    def __init__(self, column: Column) -> None:
        self._column = column

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of a query."""
        return self._column.encode_query(text).tolist()  # type: ignore[no-any-return]

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return the vectors of texts."""
        return self._column.encode_inputs(texts).tolist()  # type: ignore[no-any-return]


class CrdbvecVectorStore(VectorStore):
    """A vector store over a vector column of an existing table. Its rows are the documents.

    The id of a document is its primary key, its content the input. Filters of a search are those of this project
    (docs/search.md), on columns of the table or on keys of the metadata: `{"year": {">=": 1990}}`.

    Args:
        column: The vector column, open for as long as the store is used. Its model embeds the texts.
        columns: Further columns of the table that become metadata of the documents.
        metadata_column: A column of type jsonb, whose content becomes metadata. Documents with metadata can be added
            only with it.
        embed_on_write: Embed pending rows after documents were added. Otherwise the vectors are left to another
            process, such as the follow sensor, and documents are found when it has embedded them.

    Raises:
        TableError: The key of the table or the input is not one column.
    """

    def __init__(
        self,
        column: Column,
        *,
        columns: Sequence[str] = (),
        metadata_column: str | None = None,
        embed_on_write: bool = True,
    ) -> None:
        self._column = column
        self._store = DocumentStore(column, columns, metadata_column, embed_on_write=embed_on_write)

    @property
    def embeddings(self) -> Embeddings:
        """The model of the column."""
        return ColumnEmbeddings(self._column)

    def similarity_search(
        self,
        query: str,
        k: int = 4,
        *,
        filter: Filters | None = None,  # noqa: A002
        **_: Any,
    ) -> list[Document]:
        """Return the documents nearest to a text."""
        return [document for document, _ in self.similarity_search_with_score(query, k, filter=filter)]

    def similarity_search_with_score(
        self,
        query: str,
        k: int = 4,
        *,
        filter: Filters | None = None,  # noqa: A002
        **_: Any,
    ) -> list[tuple[Document, float]]:
        """Return the documents nearest to a text, each with its distance; smaller is nearer."""
        return [(_document(found), found.distance) for found in self._store.search(query, k, filter)]

    def similarity_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        *,
        filter: Filters | None = None,  # noqa: A002
        **_: Any,
    ) -> list[Document]:
        """Return the documents nearest to a vector."""
        return [_document(found) for found in self._store.search(embedding, k, filter)]

    def max_marginal_relevance_search(
        self,
        query: str,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        *,
        filter: Filters | None = None,  # noqa: A002
        **_: Any,
    ) -> list[Document]:
        """Return documents near a text that differ from each other."""

        def search() -> list[Document]:
            vector = self._column.encode_query(query).tolist()
            return self.max_marginal_relevance_search_by_vector(vector, k, fetch_k, lambda_mult, filter=filter)

        try:
            return search()
        except ColumnExchanged:
            # The column has the vectors of another model since, which the column then encodes with.
            return search()

    def max_marginal_relevance_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        *,
        filter: Filters | None = None,  # noqa: A002
        **_: Any,
    ) -> list[Document]:
        """Return documents near a vector that differ from each other."""
        output = self._column.spec.output
        found = self._store.search(embedding, fetch_k, filter, output)
        vectors = [json.loads(str(each.hit.columns[output])) for each in found]
        chosen = maximal_marginal_relevance(np.asarray(embedding, np.float32), vectors, lambda_mult, k)
        return [_document(found[number]) for number in chosen]

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[Any, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        **_: Any,
    ) -> list[str]:
        """Insert rows with texts, or update the rows that have the ids, and return the ids.

        Raises:
            ValueError: The numbers of texts, metadata and ids differ.
            ConfigurationError: An id is missing, and the key is neither a UUID nor a text.
        """
        contents = list(texts)
        given = list(ids) if ids is not None else [None] * len(contents)
        details = metadatas if metadatas is not None else [{} for _ in contents]
        if not len(contents) == len(given) == len(details):
            raise ValueError(f"There are {len(contents)} texts, {len(details)} metadata and {len(given)} ids.")
        documents = [
            StoredDocument(self._id(identifier), text, metadata)
            for identifier, text, metadata in zip(given, contents, details, strict=True)
        ]
        return self._store.write(documents)

    def delete(self, ids: list[str] | None = None, **_: Any) -> bool | None:
        """Delete the rows with ids.

        Raises:
            ValueError: No ids are given. A whole table is never deleted.
        """
        if ids is None:
            raise ValueError("delete needs the ids of the documents; the rows of a whole table are not deleted.")
        self._store.documents.delete(ids)
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Return the documents that exist, without further columns."""
        return [
            Document(id=each.id, page_content=each.text, metadata=dict(each.metadata))
            for each in self._store.documents.read(ids)
        ]

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings | None = None,
        metadatas: list[dict[Any, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        column: Column | None = None,
        **options: Any,
    ) -> "CrdbvecVectorStore":
        """Return a store over a column, after texts were added.

        Args:
            texts: The texts.
            embedding: None, or the embeddings of the column: its model makes the vectors.
            metadatas: The metadata of each text.
            ids: The id of each text.
            column: The vector column.
            options: The options of the store.

        Raises:
            ConfigurationError: No column is given, or other embeddings.
        """
        if column is None:
            raise ConfigurationError("from_texts needs the argument column, which open_column returns.")
        if embedding is not None and not isinstance(embedding, ColumnEmbeddings):
            raise ConfigurationError("The model of the vector column makes the vectors. Pass embedding=None.")
        store = cls(column, **options)
        store.add_texts(texts, metadatas, ids=ids)
        return store

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        return self._store.score(self._cosine_relevance_score_fn)

    def _id(self, given: str | None) -> str:
        if given is None and not self._store.documents.has_text_ids:
            raise ConfigurationError(
                "Give the ids of the documents: the key of the table is neither a UUID nor a text."
            )
        return given or str(uuid.uuid4())


def _document(found: FoundDocument) -> Document:
    return Document(id=found.id, page_content=found.text, metadata=found.metadata)
