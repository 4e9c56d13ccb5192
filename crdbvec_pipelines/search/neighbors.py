"""The nearest other row of each of some rows, for a description of the vectors of a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.database.errors import TableError
from crdbvec_pipelines.database.rows.input_pages import KeyedInput
from crdbvec_pipelines.database.search.nearest import NearestNeighbors
from crdbvec_pipelines.database.search.query import SearchQuery
from crdbvec_pipelines.keyspace import Bound


@dataclass(frozen=True)
class Neighbor:
    """The nearest other row of a row.

    Attributes:
        distance: Its distance, by the metric of the column.
        is_equal: Whether it has the same input.
    """

    distance: float
    is_equal: bool


def nearest_neighbors(column: BoundColumn, rows: Sequence[KeyedInput], *, may_scan: bool) -> list[Neighbor]:
    """Return the nearest other row of each row with a vector, one search for each.

    Args:
        column: The vector column; if it does not exist, there is no neighbor.
        rows: Key and input of the rows.
        may_scan: Whether the searches may compare all rows if there is no vector index.
    """
    if not column.exists:
        return []
    nearest = NearestNeighbors(column)
    if not (nearest.has_index or may_scan):
        return []
    found = []
    for key, value in rows:
        try:
            vector = nearest.read_vector(key)
        except TableError:
            # The row has no vector yet, or was deleted after the sample was read.
            continue
        if not vector.any():
            continue
        query = SearchQuery(limit=1, exclude_key=cast(Bound, key), filters=nearest.read_prefix(key) or None)
        for distance, other, *_ in nearest.find_once(vector, query):
            # The cosine distance of equal vectors may be computed as slightly less than zero.
            found.append(Neighbor(max(0.0, distance) if column.metric == "cosine" else distance, other == value))
    return found
