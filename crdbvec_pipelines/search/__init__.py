"""Similarity search from Python, measurement of recall, and the build of the vector index."""

from crdbvec_pipelines.database.search.filters import Filters, Range
from crdbvec_pipelines.database.search.query import SearchQuery
from crdbvec_pipelines.search.frames import search_frame
from crdbvec_pipelines.search.result import Hit, SearchResult
from crdbvec_pipelines.search.searcher import Searcher

__all__ = ["Filters", "Hit", "Range", "SearchQuery", "SearchResult", "Searcher", "search_frame"]
