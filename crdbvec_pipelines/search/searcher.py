"""Search over a vector column: the rows nearest to a text or to another row, or those that contain its words."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.content import has_content
from crdbvec_pipelines.database.column import open_existing_column
from crdbvec_pipelines.database.connection import Database, Row
from crdbvec_pipelines.database.dialects.vector_support import SearchEffort
from crdbvec_pipelines.database.errors import ColumnExchanged, TableError
from crdbvec_pipelines.database.schema.column_metadata import models_beginning_with
from crdbvec_pipelines.database.schema.migrations import find_migration, present_column
from crdbvec_pipelines.database.search.chunk_neighbors import neighbors_of
from crdbvec_pipelines.database.search.query import SearchQuery
from crdbvec_pipelines.database.search.strategy import Strategy
from crdbvec_pipelines.encoding.encoder import Encoder
from crdbvec_pipelines.encoding.registry import ModelRegistry
from crdbvec_pipelines.encoding.reranker import Reranker
from crdbvec_pipelines.errors import ConfigurationError
from crdbvec_pipelines.search.distinct import without_equal_hits
from crdbvec_pipelines.search.hybrid import Candidates, HybridSearch
from crdbvec_pipelines.search.mixed_models import mixed_models
from crdbvec_pipelines.search.no_hits import reason_for_no_hits, reason_for_no_keywords
from crdbvec_pipelines.search.reranking import RerankedSearch, candidate_query
from crdbvec_pipelines.search.result import Chunk, Hit, SearchResult

T = TypeVar("T")

_SHOWN_CHARACTERS = 60
# The attempts of a search whose column is being exchanged, and the wait before the third one, which grows with each.
_MAX_ATTEMPTS = 6
_ATTEMPT_SECONDS = 0.5


class Searcher:
    """Searches over one vector column on an open database.

    The table and its indexes are read once, when the object is created.

    Args:
        database: An open connection.
        spec: The vector column.
        encoder: The model that made its vectors.
        registry: The models. With it, a search follows a model migration (`crdbvec migrate`): it uses the model whose
            vectors the column has now, also if the columns are exchanged while it runs; and it can rerank hits.

    Attributes:
        column: The column.
        warning: A sentence if some of its vectors are those of another model; None if not.

    Raises:
        TableError: The table or its vector column does not exist, or has another dimension than the model.
        ConfigurationError: Some of its vectors are those of a model with another metric.
    """

    def __init__(
        self,
        database: Database,
        spec: VectorColumn,
        encoder: Encoder,
        registry: ModelRegistry | None = None,
    ) -> None:
        self._database = database
        self._entry = spec
        self._registry = registry
        self._given = encoder
        try:
            self._use(spec, encoder)
        except ColumnExchanged:
            if registry is None:
                raise
            self._present(lambda: None, attempt=1)

    def _use(self, spec: VectorColumn, encoder: Encoder) -> None:
        """Search a column with a model from now on.

        Raises:
            ColumnExchanged: The vectors of the column are those of the other model of a migration.
        """
        try:
            self.column = open_existing_column(self._database, spec, encoder)
            self._nearest = neighbors_of(self.column)
        except TableError:
            # The vectors of the other model have another dimension.
            self._check_model(spec)
            raise
        self._encoder = encoder
        # That of the column before an exchange.
        vars(self).pop("_hybrid", None)
        if self._nearest.models.ids is not None and not self._has_own_model(encoder):
            self._check_model(spec)
        self.warning: str | None = mixed_models(self.column, self._nearest.models.ids)

    def _check_model(self, spec: VectorColumn) -> None:
        migration = find_migration(self._database, spec.table, spec.output)
        if migration is None:
            return
        # While columns are exchanged in several steps, neither has recorded models, which could be compared.
        if migration.is_exchanging or present_column(self._database, spec).model != spec.model:
            raise ColumnExchanged(str(spec.table), spec.output)

    def _has_own_model(self, encoder: Encoder) -> bool:
        return str(self._nearest.models.ids).startswith(models_beginning_with(encoder.model_id))

    def _present(self, search: Callable[[], T], attempt: int = 0) -> T:
        """Run a search; run it again with the present model if the column was exchanged with that of another one."""
        try:
            if attempt and self._registry is not None:
                # On CockroachDB, the exchange takes longer than one transaction.
                time.sleep(_ATTEMPT_SECONDS * (attempt - 1))
                present = present_column(self._database, self._entry)
                self._use(present, self._registry.encoder_of(present))
            return search()
        except ColumnExchanged:
            if self._registry is None or attempt == _MAX_ATTEMPTS:
                raise
        return self._present(search, attempt + 1)

    @property
    def has_index(self) -> bool:
        """Whether there is a vector index that some searches may use."""
        return self._nearest.has_index

    @property
    def effort(self) -> SearchEffort:
        """The server's setting of the search effort for the index that a search for all rows uses."""
        return self._nearest.effort

    def search_texts(self, texts: Sequence[str], query: SearchQuery) -> list[SearchResult]:
        """Return the rows nearest to each text, or those that its words find, by the mode of the query.

        Raises:
            TableError: A column of the query does not exist.
            EncodingError: The model rejected a text.
            ConfigurationError: A text is blank, its vector has no direction and the metric compares directions, the
                mode needs a text index, or reranking needs a reranker, which the entry does not have.
            ModelError: The reranker is not found or cannot be loaded.
        """
        self._check_chunks(query)
        if query.rerank:
            self.reranker()
        return [self._present(partial(self._text_result, text, query)) for text in texts]

    def candidates(self, text: str, query: SearchQuery, vector: NDArray[np.float32] | None = None) -> Candidates:
        """Return what the two searches of a hybrid search find, for measurements of several orders of it.

        Without a text index, only the vectors find rows.

        Args:
            text: The text to search for.
            query: The search.
            vector: The vector of the text if it is known, as for `search_vector`.
        """
        if vector is not None:
            self._check_vector(vector)
            return self._candidates(text, vector, query)
        return self._present(lambda: self._candidates(text, self._encode(text), query))

    def search_vector(self, vector: NDArray[np.float32], query: SearchQuery) -> SearchResult:
        """Return the rows nearest to a vector of the model that was given when this object was created.

        Raises:
            ColumnExchanged: The column has the vectors of another model now (`crdbvec migrate`).
            TableError: A column of the query does not exist.
            ConfigurationError: The vector has another dimension, or no direction and the metric compares directions.
        """
        _check_mode(query)
        self._check_chunks(query)
        self._check_vector(vector)
        return without_equal_hits(lambda each: self._result("", vector, each), query)

    def search_like(self, key: Sequence[Any], query: SearchQuery, *, all_prefixes: bool = False) -> SearchResult:
        """Return the rows nearest to the row with a key, without that row.

        Args:
            key: The key of the row.
            query: The search. A filter of it on a prefix column takes precedence over the value in the row.
            all_prefixes: Search rows with other values of the index's prefix columns, too, such as those of other
                tenants.

        Raises:
            TableError: The row does not exist or has no vector.
            ConfigurationError: Its vector has no direction, and the metric compares directions.
        """
        _check_mode(query)
        self._check_chunks(query)
        return self._present(partial(self._like_result, key, query, all_prefixes))

    def _check_chunks(self, query: SearchQuery) -> None:
        if not query.all_chunks:
            return
        if self.column.spec.chunking is None:
            raise ConfigurationError(
                f"{self.column} has one vector a row, not chunks. Remove --all-chunks (all_chunks)."
            )
        if query.mode != "vector":
            raise ConfigurationError(
                f"The mode {query.mode} finds rows. Remove --all-chunks (all_chunks), or use the mode vector."
            )

    @property
    def can_rerank(self) -> bool:
        """Whether searches for texts can be reranked."""
        return self._registry is not None and self._entry.rerank is not None

    def reranker(self) -> Reranker:
        """Return the model that reranks hits; it is loaded by the first search that needs it.

        Raises:
            ConfigurationError: The entry has no reranker.
        """
        reranker = self._registry.reranker_of(self._entry) if self._registry is not None else None
        if reranker is None:
            raise ConfigurationError(
                f"{self.column} has no reranker. Add `rerank: organization/model` to its entry in the configuration, "
                "or search without --rerank (rerank)."
            )
        return reranker

    def why_no_hits(self, result: SearchResult) -> str:
        """Return why a search found no row, and what to do."""
        if result.executed.mode == "keyword":
            return reason_for_no_keywords(self.column, result.executed)
        unlimited = replace(result.executed, max_distance=None, limit=1)

        def nearest_distance() -> float | None:
            rows = self._nearest.find(result.vector, unlimited).rows
            return float(rows[0][0]) if rows else None

        return reason_for_no_hits(self.column, result.executed, nearest_distance)

    def sql(
        self, texts: Sequence[str], query: SearchQuery, like: Sequence[Any] = (), *, all_prefixes: bool = False
    ) -> list[str]:
        """Return the searches for texts, or for the rows nearest to the row with the key `like`, as SQL text."""
        query = candidate_query(query)
        if query.mode != "vector":
            _check_texts(query, like)
            return [sql for text in texts for sql in self._hybrid.sql(text, self._query_vector(text, query), query)]
        return [self._nearest.sql(vector, each) for vector, each in self._vectors(texts, query, like, all_prefixes)]

    def explain(
        self, texts: Sequence[str], query: SearchQuery, like: Sequence[Any] = (), *, all_prefixes: bool = False
    ) -> list[list[str]]:
        """Return the lines of the server's query plan for each of these searches."""
        query = candidate_query(query)
        if query.mode != "vector":
            _check_texts(query, like)
            return [
                plan for text in texts for plan in self._hybrid.explain(text, self._query_vector(text, query), query)
            ]
        return [self._nearest.explain(vector, each) for vector, each in self._vectors(texts, query, like, all_prefixes)]

    def _vectors(
        self, texts: Sequence[str], query: SearchQuery, like: Sequence[Any], all_prefixes: bool
    ) -> Iterator[tuple[NDArray[np.float32], SearchQuery]]:
        for text in texts:
            yield self._encode(text), query
        if like:
            yield self._read(like), self._like(like, query, all_prefixes)

    @cached_property
    def _hybrid(self) -> HybridSearch:
        return HybridSearch(self.column, self._nearest, self._encoder)

    def _query_vector(self, text: str, query: SearchQuery) -> NDArray[np.float32] | None:
        """Return the vector of a text; None for a keyword search, which needs no model."""
        if query.mode == "hybrid":
            return self._encode(text)
        _check_content(text)
        if query.max_distance is not None:
            raise ConfigurationError(
                "A keyword search has no distance. Remove the maximum distance, or use mode hybrid."
            )
        return None

    def _text_result(self, text: str, query: SearchQuery) -> SearchResult:
        vector = self._encode(text) if query.mode == "vector" else self._query_vector(text, query)

        def search(each: SearchQuery) -> SearchResult:
            if vector is not None and each.mode == "vector":
                return self._result(text, vector, each)
            return self._hybrid_result(text, vector, each)

        if query.rerank:
            return without_equal_hits(RerankedSearch(search, text, self.reranker()), query)
        return without_equal_hits(search, query)

    def _like_result(self, key: Sequence[Any], query: SearchQuery, all_prefixes: bool) -> SearchResult:
        vector = self._read(key)
        text = ", ".join(map(str, key))
        return without_equal_hits(lambda each: self._result(text, vector, each), self._like(key, query, all_prefixes))

    def _candidates(self, text: str, vector: NDArray[np.float32], query: SearchQuery) -> Candidates:
        if self.column.spec.text_index is not None:
            found = self._hybrid.candidates(text, vector, query)
            return replace(found, vectors_alone=self._nearest.find(vector, query)) if self.has_index else found
        nearest = self._nearest.find(vector, query)
        rows = {repr(row[2 : 2 + len(self.column.table.key)]): row for row in nearest.rows}
        return Candidates(rows, list(rows), [], {}, nearest, vector)

    def _hybrid_result(self, text: str, vector: NDArray[np.float32] | None, query: SearchQuery) -> SearchResult:
        found = self._hybrid.find(text, vector, query)
        hits = [replace(self._hit(row, query), ranks=ranks) for row, ranks in found.rows]
        if found.nearest is None:
            strategy: Strategy = "exact_scan" if found.index is None else "index_scan"
        else:
            strategy = found.nearest.strategy
        searched = np.empty(0, np.float32) if vector is None else vector
        return SearchResult(text, hits, strategy, found.reason, found.index, query, searched)

    def _like(self, key: Sequence[Any], query: SearchQuery, all_prefixes: bool) -> SearchQuery:
        """Return a search without the row with a key, and within the prefix values of that row."""
        prefix = {} if all_prefixes else self._nearest.read_prefix(key)
        filters = {**prefix, **(query.filters or {})}
        return replace(query, exclude_key=tuple(key), filters=filters or None)

    def _encode(self, text: str) -> NDArray[np.float32]:
        _check_content(text)
        vector = self._encoder.encode_query(text)
        self._check_direction(vector, f"The text {text[:_SHOWN_CHARACTERS]!r}")
        return vector

    def _read(self, key: Sequence[Any]) -> NDArray[np.float32]:
        vector = self._nearest.read_vector(key)
        self._check_direction(vector, f"The row {', '.join(map(str, key))}")
        return vector

    def _check_vector(self, vector: NDArray[np.float32]) -> None:
        """Check that a vector can be one of the model that was given when this object was created."""
        if self._encoder is not self._given:
            raise ColumnExchanged(str(self._entry.table), self._entry.output)
        if vector.shape != (self._encoder.dim,):
            raise ConfigurationError(
                f"The vector has the shape {vector.shape}, but those of {self.column} have {self._encoder.dim} numbers."
            )
        self._check_direction(vector, "The vector")

    def _check_direction(self, vector: NDArray[np.float32], subject: str) -> None:
        """Check that the vector of a query can be compared: by cosine and inner product, zero is as near to any row."""
        if self.column.metric != "l2" and not vector.any():
            raise ConfigurationError(
                f"{subject} has a vector of length zero, which has no direction, so no row is nearer to it "
                "than another. Search for another text or row."
            )

    def _result(self, text: str, vector: NDArray[np.float32], query: SearchQuery) -> SearchResult:
        found = self._nearest.find(vector, query)
        hits = [self._hit(row, query) for row in found.rows]
        return SearchResult(text, hits, found.strategy, found.reason, found.index, query, vector)

    def _hit(self, row: Row, query: SearchQuery) -> Hit:
        distance, value, *rest = row
        names = [part.name for part in self.column.table.key]
        further, chunk = rest[len(names) :], None
        if len(further) > len(query.columns):
            *further, number, start, end, text = further
            chunk = Chunk(number, start, end, str(value)[start:end] if text is None else text)
        return Hit(
            math.nan if distance is None else float(distance),
            dict(zip(names, rest[: len(names)], strict=True)),
            value,
            dict(zip(query.columns, further, strict=True)),
            chunk=chunk,
        )


def _check_content(text: str) -> None:
    if not has_content(text):
        raise ConfigurationError("The text to search for is blank. Give a text that contains a word.")


def _check_mode(query: SearchQuery) -> None:
    if query.rerank:
        raise ConfigurationError(
            "A reranker needs a text to search for, and a row or a vector is not one. Remove --rerank (rerank)."
        )
    if query.mode != "vector":
        raise ConfigurationError(
            f"The mode {query.mode} needs a text to search for, and a row or a vector is not one. Use the mode vector."
        )


def _check_texts(query: SearchQuery, like: Sequence[Any]) -> None:
    if like:
        _check_mode(query)
