"""Similarity search from Python, measurement of recall, and the build of the vector index."""

from crdbvec_pipelines.database.search.filters import Range
from crdbvec_pipelines.search.searcher import Filters, Hit, Searcher, SearchQuery, SearchResult, search_frame

__all__ = ["Filters", "Hit", "Range", "SearchQuery", "SearchResult", "Searcher", "search_frame"]
