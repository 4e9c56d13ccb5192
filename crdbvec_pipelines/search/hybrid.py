"""Keyword and hybrid searches: candidates of the text index and of the vectors, and one order of both."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from crdbvec_pipelines.config import TextIndexSpec
from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.database.connection import Row
from crdbvec_pipelines.database.index.text_document import text_index_spec
from crdbvec_pipelines.database.search.keywords import KeywordSearch
from crdbvec_pipelines.database.search.nearest import NearestNeighbors, NearestResult
from crdbvec_pipelines.database.search.query import SearchQuery
from crdbvec_pipelines.encoding.encoder import Encoder
from crdbvec_pipelines.search.evidence import Evidence, find_evidence
from crdbvec_pipelines.search.fusion import Ranks, fuse
from crdbvec_pipelines.search.read_part import ReadPart
from crdbvec_pipelines.search.text_query import QueryText

CANDIDATES = 50
"""Rows that each of the two searches returns, unless more hits are requested."""

Vector = NDArray[np.float32]


@dataclass(frozen=True)
class Candidates:
    """What the two searches for a text found, before it has one order.

    Attributes:
        rows: Distance, which is None without a vector, then input, key and further columns of each row, by its key.
        by_vectors: The keys of those that the vectors found, nearest first.
        by_keywords: The keys of those that the keywords found, best first.
        evidence: What each row contains of the text.
        nearest: The search by vectors; None for a keyword search.
        vector: The vector of the text; None for a keyword search.
        vectors_alone: A search by vectors only, with the limit of the query. An index scan for more candidates misses
            fewer rows. None if it finds the same rows.
    """

    rows: Mapping[str, Row]
    by_vectors: Sequence[str]
    by_keywords: Sequence[str]
    evidence: Mapping[str, Evidence]
    nearest: NearestResult | None
    vector: Vector | None
    vectors_alone: NearestResult | None = None

    def ordered(self, weights: TextIndexSpec) -> dict[str, Ranks]:
        """Return the ranks of the rows by their key, best first."""
        return fuse(self.by_vectors, self.by_keywords, self.evidence, weights)

    def only_keywords(self, text: str) -> "Candidates":
        """Return what a keyword search for the text finds."""
        rows = {key: self.rows[key] for key in self.by_keywords}
        evidence = find_evidence(QueryText(text), [str(row[1]) for row in rows.values()])
        return Candidates(rows, [], self.by_keywords, dict(zip(rows, evidence, strict=True)), None, None)


@dataclass(frozen=True)
class HybridResult:
    """What a keyword or hybrid search found.

    Attributes:
        rows: The rows of the candidates with their ranks, best first.
        nearest: The search by vectors; None for a keyword search.
        reason: A sentence for users about each of the two searches.
        index: The name of the vector index of a hybrid search, or of the text index of a keyword search, if it has one.
    """

    rows: list[tuple[Row, Ranks]]
    nearest: NearestResult | None
    reason: str
    index: str | None


class HybridSearch:
    """Keyword and hybrid searches over one vector column on an open database.

    Args:
        column: The vector column, which exists in the table.
        nearest: The similarity searches over it.
        encoder: The model of its vectors.

    Raises:
        ConfigurationError: The entry has no text index.
    """

    def __init__(self, column: BoundColumn, nearest: NearestNeighbors, encoder: Encoder) -> None:
        self._weights = text_index_spec(column)
        self._key_columns = len(column.table.key)
        self._nearest = nearest
        self._keywords = KeywordSearch(column, nearest.models)
        self._read_part = ReadPart(column.spec, encoder)

    def find(self, text: str, vector: Vector | None, query: SearchQuery) -> HybridResult:
        """Return the rows that a text finds; without a vector by keywords only.

        Raises:
            TableError: A column of the query does not exist, or a value is not valid for the type of its column.
            ColumnExchanged: The column has the vectors of another model now.
            DatabaseError: The server rejected a search.
        """
        found = self.candidates(text, vector, query)
        ranks = list(found.ordered(self._weights).items())[: query.limit]
        rows = [(found.rows[key], each) for key, each in ranks]
        if found.nearest is None:
            return HybridResult(rows, None, self._keywords.reason, self._keywords.index)
        reason = f"{found.nearest.reason} {self._keywords.reason}"
        return HybridResult(rows, found.nearest, reason, found.nearest.index)

    def candidates(self, text: str, vector: Vector | None, query: SearchQuery) -> Candidates:
        """Return what the searches find; the server executes both at the same time."""
        wide = _wide(query)
        words = QueryText(text)
        nearest = None
        if vector is None:
            matches = self._matches(words, wide, None)
        else:
            with ThreadPoolExecutor(1, "crdbvec-keywords") as pool:
                pending = pool.submit(self._matches, words, wide, vector)
                nearest = self._nearest.find(vector, wide)
                matches = pending.result()
        by_keywords = {self._key(row[3:]): (row[0], *row[3:]) for row in matches}
        by_vectors = {self._key(row[1:]): row for row in (nearest.rows if nearest else ())}
        rows = {**by_keywords, **by_vectors}
        texts = [str(row[1]) for row in rows.values()]
        evidence = find_evidence(words, texts, None if nearest is None else self._read_part.characters(texts))
        found = dict(zip(rows, evidence, strict=True))
        return Candidates(rows, list(by_vectors), list(by_keywords), found, nearest, vector)

    def sql(self, text: str, vector: Vector | None, query: SearchQuery) -> list[str]:
        """Return the searches for the candidates as SQL text."""
        words = QueryText(text).for_server()
        by_vectors = [] if vector is None else [self._nearest.sql(vector, _wide(query))]
        return by_vectors + ([] if words is None else [self._keywords.sql(words, _wide(query), vector)])

    def explain(self, text: str, vector: Vector | None, query: SearchQuery) -> list[list[str]]:
        """Return the lines of the server's query plans of these searches."""
        words = QueryText(text).for_server()
        by_vectors = [] if vector is None else [self._nearest.explain(vector, _wide(query))]
        return by_vectors + ([] if words is None else [self._keywords.explain(words, _wide(query), vector)])

    def _matches(self, words: QueryText, query: SearchQuery, vector: Vector | None) -> list[Row]:
        wanted = words.for_server()
        return [] if wanted is None else self._keywords.find(wanted, query, vector)

    def _key(self, row: Row) -> str:
        """Return the key of a row that starts with its input, as text: the values of some types cannot be hashed."""
        return repr(row[1 : 1 + self._key_columns])


def _wide(query: SearchQuery) -> SearchQuery:
    return replace(query, limit=max(query.limit, CANDIDATES))
