"""What a search returns: the rows that it found, and how it was executed."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crdbvec_pipelines.database.search.query import SearchQuery
from crdbvec_pipelines.database.search.strategy import Strategy
from crdbvec_pipelines.search.fusion import Ranks


@dataclass(frozen=True)
class Chunk:
    """A part of a row's input with a vector of its own.

    Attributes:
        number: Its number within the row, from 0.
        start: The position of its first character in the input.
        end: The position after its last character.
        text: Its text.
    """

    number: int
    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Hit:
    """One row that a search found.

    Attributes:
        distance: The distance from the query by the column's metric; smaller is nearer. NaN if a keyword search did
            not compute it, or the row has no vector.
        key: The primary key, by column.
        input: The input from which the row's vector was made.
        columns: The further columns that the query requested.
        ranks: Where a keyword or hybrid search found the row; None for a search by vectors only.
        chunk: The nearest chunk of the row; None for an entry with one vector a row, and for a row that only the words
            of a hybrid search found.
        relevance: How relevant the reranker finds the row, in its unit; None if it has not compared it.
    """

    distance: float
    key: dict[str, Any]
    input: Any
    columns: dict[str, Any]
    ranks: Ranks | None = None
    chunk: Chunk | None = None
    relevance: float | None = None

    @property
    def found_text(self) -> str:
        """The text that the search found: that of the nearest chunk, or the whole input."""
        return str(self.input) if self.chunk is None else self.chunk.text


@dataclass(frozen=True)
class SearchResult:
    """The result of one search.

    Attributes:
        query: The text, or the key of the row, that was searched for.
        hits: The rows that were found, nearest or best first.
        strategy: Index scan or exact scan.
        reason: A sentence for users: which index with which effort, or why no index.
        index: The name of the index; None for an exact scan.
        executed: The search as it was executed; that for the rows similar to a row has further conditions.
        vector: The vector that was searched for; empty for a keyword search.
        equal_hits: The number of hits that were left out because an earlier one has the same input.
    """

    query: str
    hits: list[Hit]
    strategy: Strategy
    reason: str
    index: str | None
    executed: SearchQuery
    vector: NDArray[np.float32] = field(repr=False, compare=False)
    equal_hits: int = 0
