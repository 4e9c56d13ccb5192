"""A similarity search as the caller describes it, apart from the vector."""

from dataclasses import dataclass

from crdbvec_pipelines.database.search.filters import Filters, fixes_value
from crdbvec_pipelines.database.statement import AsOf
from crdbvec_pipelines.keyspace import Bound

__all__ = ["Filters", "SearchQuery"]


@dataclass(frozen=True)
class SearchQuery:
    """A similarity search.

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
    """

    limit: int = 10
    filters: Filters | None = None
    exact: bool = False
    effort: int | None = None
    max_distance: float | None = None
    columns: tuple[str, ...] = ()
    as_of: AsOf = "now"
    exclude_key: Bound | None = None

    @property
    def fixed_columns(self) -> set[str]:
        """The columns of which a filter names the values that they may have; other filters compare or match."""
        return {name for name, value in (self.filters or {}).items() if fixes_value(value)}
