"""Searches whose first hits are ordered again by a reranker, which reads the query and each text together."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from crdbvec_pipelines.database.search.query import SearchQuery
from crdbvec_pipelines.encoding.reranker import Reranker
from crdbvec_pipelines.errors import ConfigurationError
from crdbvec_pipelines.search.passage import best_passage, query_words
from crdbvec_pipelines.search.result import Hit, SearchResult

RERANKED_HITS = 50
"""The number of hits that are compared with the query. Each costs as much as the encoding of its text."""
# A longer text is read by its best passage: a cross-encoder truncates what is longer than its window, which is 512
# tokens for most, and what the search found may stand after it.
_PASSAGE_CHARACTERS = 1_500


def candidate_query(query: SearchQuery) -> SearchQuery:
    """Return the search for the hits that a reranker orders."""
    return replace(query, limit=max(query.limit, RERANKED_HITS)) if query.rerank else query


class RerankedSearch:
    """A search for one text that orders its first hits by their relevance. Each text is compared once.

    Args:
        search: The search.
        text: The text that is searched for.
        reranker: The model that compares it with the hits.
    """

    def __init__(self, search: Callable[[SearchQuery], SearchResult], text: str, reranker: Reranker) -> None:
        self._search = search
        self._text = text
        self._words = query_words(text)
        self._reranker = reranker
        self._relevance: dict[str, float] = {}

    def __call__(self, query: SearchQuery) -> SearchResult:
        """Return the hits, most relevant first. Further ones than were compared follow in the order of the search.

        Raises:
            ConfigurationError: The inputs are not texts.
            ModelError: The reranker is not found or cannot be loaded.
        """
        found = self._search(candidate_query(query))
        passages = [self._passage(hit) for hit in found.hits[:RERANKED_HITS]]
        self._compare(passages)
        compared = [
            replace(hit, relevance=self._relevance[passage]) for hit, passage in zip(found.hits, passages, strict=False)
        ]
        compared.sort(key=lambda hit: -(hit.relevance or 0.0))
        return replace(
            found,
            hits=[*compared, *found.hits[RERANKED_HITS:]][: query.limit],
            executed=replace(found.executed, limit=query.limit),
            reason=f"{found.reason} The first {len(compared)} hits are ordered by {self._reranker.name}.",
        )

    def _compare(self, passages: Sequence[str]) -> None:
        new = [passage for passage in dict.fromkeys(passages) if passage not in self._relevance]
        found = self._reranker.relevance(self._text, new)
        self._relevance.update(zip(new, found.tolist(), strict=True))

    def _passage(self, hit: Hit) -> str:
        if not isinstance(hit.input, str):
            raise ConfigurationError(
                "A reranker reads texts, and the input is not one. Remove --rerank (rerank) from this search."
            )
        text = hit.found_text
        return text if len(text) <= _PASSAGE_CHARACTERS else best_passage(text, self._words, _PASSAGE_CHARACTERS)
