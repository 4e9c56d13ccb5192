"""Similarity search from Python, measurement of recall, and the build of the vector index."""

from crdbvec_pipelines.search.searcher import Filters, Hit, Searcher, SearchQuery, SearchResult, search_frame

__all__ = ["Filters", "Hit", "SearchQuery", "SearchResult", "Searcher", "search_frame"]
