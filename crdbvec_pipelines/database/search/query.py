"""A similarity search as the caller describes it, apart from the vector."""

from collections.abc import Mapping
from dataclasses import dataclass

from crdbvec_pipelines.database.statement import AsOf
from crdbvec_pipelines.keyspace import Bound

Filters = Mapping[str, object]
"""Columns, each with its value or a collection of values; a row matches if it has one of them. None is NULL."""


@dataclass(frozen=True)
class SearchQuery:
    """A similarity search.

    Attributes:
        limit: The maximum number of rows.
        filters: Columns and the values that they may have; a row must match all columns.
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
    def filter_values(self) -> dict[str, tuple[object, ...]]:
        """The values of each filter, of which a single one may be given without a collection."""
        return {name: _as_tuple(value) for name, value in (self.filters or {}).items()}


def _as_tuple(value: object) -> tuple[object, ...]:
    return tuple(value) if isinstance(value, (list, tuple, set, frozenset)) else (value,)
