"""Hits with the same input as an earlier hit, which say nothing new: leaving them out."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from crdbvec_pipelines.database.search.query import SearchQuery

if TYPE_CHECKING:
    from crdbvec_pipelines.search.result import Hit, SearchResult

# How many times as many rows are read, until there are enough different ones. The last one bounds the time of a search
# in a table of equal rows.
_FACTORS = (4, 16)
_MAX_ROWS = 10_000
_FIRST = 10
_MAX_EQUAL_SHARE = 1 / 3


def without_equal_hits(search: "Callable[[SearchQuery], SearchResult]", query: SearchQuery) -> "SearchResult":
    """Return the result of a search, without hits with the same input as an earlier one if the query says so.

    If it leaves the choice to the search, they are left out where they are more than a third of the first ten hits.
    """
    result = search(query)
    if query.distinct is False or (query.distinct is None and not _is_repetitive(result.hits, query.all_chunks)):
        return result
    for factor in _FACTORS:
        different = _different(result.hits, query.all_chunks)
        if len(different) >= query.limit or len(result.hits) < result.executed.limit:
            break
        result = search(replace(query, limit=min(query.limit * factor, _MAX_ROWS)))
    different = _different(result.hits, query.all_chunks)[: query.limit]
    last = result.hits.index(different[-1]) if different else 0
    return replace(
        result,
        hits=different,
        equal_hits=last + 1 - len(different) if different else 0,
        executed=replace(result.executed, limit=query.limit),
    )


def _is_repetitive(hits: "Sequence[Hit]", all_chunks: bool) -> bool:
    first = hits[:_FIRST]
    return len(first) - len(_different(first, all_chunks)) > _MAX_EQUAL_SHARE * len(first)


def _different(hits: "Sequence[Hit]", all_chunks: bool) -> "list[Hit]":
    first: dict[object, Hit] = {}
    for hit in hits:
        value = bytes(hit.input) if isinstance(hit.input, memoryview) else hit.input
        if all_chunks and hit.chunk is not None:
            value = hit.chunk.text
        first.setdefault(value if isinstance(value, (str, bytes)) else repr(value), hit)
    return list(first.values())
