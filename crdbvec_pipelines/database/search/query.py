"""A search as the caller describes it, apart from the text or vector."""

from dataclasses import dataclass
from typing import Literal, get_args

from crdbvec_pipelines.database.search.filters import Filters, fixes_value
from crdbvec_pipelines.database.statement import AsOf
from crdbvec_pipelines.keyspace import Bound

__all__ = ["MODES", "Filters", "SearchMode", "SearchQuery"]

SearchMode = Literal["vector", "keyword", "hybrid"]
"""What finds the rows: the vectors, the words of the text index, or both."""
MODES: tuple[SearchMode, ...] = get_args(SearchMode)


@dataclass(frozen=True)
class SearchQuery:
    """A search.

    Attributes:
        limit: The maximum number of rows.
        filters: Columns or paths into JSON, and what they must be (`filters.Filters`); a row must match all of them.
        exact: Whether to compare every row instead of using a vector index.
        effort: The search effort: beam size (CockroachDB) or ef_search (PostgreSQL). If None, the configured effort
            applies, otherwise the server's default.
        max_distance: Rows at a greater distance are excluded.
        columns: Further columns to return.
        as_of: The time that the search reads. Only CockroachDB has follower reads; other servers read current data.
        exclude_key: The key of a row to exclude.
        mode: What finds the rows.
        distinct: Whether hits with the same input as an earlier hit are left out; None if they are only where they are
            more than a third of the first ten.
        all_chunks: Whether every near chunk of a row is a hit, so that the limit counts chunks; only for an entry with
            `long_inputs: chunks`. By default each row is one hit, with its nearest chunk.
        rerank: Whether the reranker of the entry orders the first 50 hits again; only for a search for a text.
    """

    limit: int = 10
    filters: Filters | None = None
    exact: bool = False
    effort: int | None = None
    max_distance: float | None = None
    columns: tuple[str, ...] = ()
    as_of: AsOf = "now"
    exclude_key: Bound | None = None
    mode: SearchMode = "vector"
    distinct: bool | None = False
    all_chunks: bool = False
    rerank: bool = False

    @property
    def fixed_columns(self) -> set[str]:
        """The columns of which a filter names the values that they may have; other filters compare or match."""
        return {name for name, value in (self.filters or {}).items() if fixes_value(value)}
