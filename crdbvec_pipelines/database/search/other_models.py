"""How many vectors of a column are those of another model, while a change of the model is in progress.

Fingerprints tell them apart. They are compared for a sample of rows, because a search must not read the whole table.
The sample consists of runs of rows from equal parts of the key, because rows are embedded in the order of the key.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from uuid import UUID

from psycopg import sql

from crdbvec_pipelines.database.aliases import aliased, reference
from crdbvec_pipelines.database.column import BoundColumn, ColumnDefinition, fingerprint_seed
from crdbvec_pipelines.database.expressions import InputExpressions, bound_flags, in_range, range_parameters
from crdbvec_pipelines.database.rows.keys import first_and_last_key
from crdbvec_pipelines.database.statement import statement
from crdbvec_pipelines.keyspace import KeyRange

# Each run is one look-up in the primary index.
_RUNS = 16
_RUN_ROWS = 32


@dataclass(frozen=True)
class ModelSample:
    """A sample of the rows that have a vector.

    Attributes:
        rows: The number of rows.
        others: How many of their vectors are those of another model.
    """

    rows: int
    others: int

    @property
    def share(self) -> float:
        """The share of vectors of another model."""
        return self.others / self.rows if self.rows else 0.0


@statement
def count_other_models(
    column: ColumnDefinition, *, earlier: int, has_lower: bool, has_upper: bool, is_backwards: bool
) -> sql.Composable:
    """Count, among the next `size` rows with a vector in the order of the key, those of `earlier` models."""
    expressions = InputExpressions(column)
    hashes = [
        sql.SQL("pg_catalog.md5({}::text {} {})").format(
            sql.Placeholder(f"earlier_{number}"), column.table.dialect.operator("||"), expressions.text
        )
        for number in range(earlier)
    ]
    fingerprint = column.spec.fingerprint_column
    is_other: sql.Composable = sql.SQL("false")
    if hashes and fingerprint is not None:
        is_other = sql.SQL("{} IN ({})").format(reference(fingerprint), sql.SQL(", ").join(hashes))
    order = [reference(part.name) for part in column.table.key]
    direction = sql.SQL(" DESC" if is_backwards else "")
    return sql.SQL(
        "SELECT count(*), count(*) FILTER (WHERE crdbvec_rows.crdbvec_other) FROM (SELECT {is_other} AS crdbvec_other "
        "FROM {table} WHERE {range} AND {output} IS NOT NULL ORDER BY {order} LIMIT %(size)s::bigint) AS crdbvec_rows"
    ).format(
        is_other=is_other,
        table=aliased(column.table),
        range=in_range(column.table, has_lower=has_lower, has_upper=has_upper),
        output=reference(column.spec.output),
        order=sql.SQL(", ").join(sql.SQL("{}{}").format(part, direction) for part in order),
    )


def sample_other_models(column: BoundColumn, earlier: Sequence[str]) -> ModelSample:
    """Count the vectors of other models in a sample of rows.

    Args:
        column: The vector column, which has a fingerprint column.
        earlier: The ids of the other models.
    """
    seeds: dict[str, object] = {f"earlier_{number}": fingerprint_seed(model) for number, model in enumerate(earlier)}
    rows = others = 0
    runs = [(part, False) for part in _parts(column)] or [(KeyRange(), False), (KeyRange(), True)]
    for part, is_backwards in runs:
        query = count_other_models(column, earlier=len(earlier), **bound_flags(part), is_backwards=is_backwards)
        size = _RUNS * _RUN_ROWS // len(runs)
        found = column.database.fetch_one(query, {**seeds, **range_parameters(part), "size": size})
        rows += int(found[0])
        others += int(found[1])
    return ModelSample(rows, others)


def _parts(column: BoundColumn) -> list[KeyRange]:
    """Return equal parts of the interval of the keys; none if they cannot be computed from the first and last key."""
    if len(column.table.key) > 1:
        return []
    first, last = column.database.fetch_one(first_and_last_key(column.table))
    bounds: list[Any] = []
    if isinstance(first, UUID) and isinstance(last, UUID):
        bounds = [UUID(int=bound) for bound in _bounds(first.int, last.int)]
    elif isinstance(first, int) and isinstance(last, int):
        bounds = _bounds(first, last)
    if not bounds:
        return []
    return [KeyRange(lower, upper) for lower, upper in pairwise([None, *((bound,) for bound in bounds), None])]


def _bounds(first: int, last: int) -> list[int]:
    """Return the bounds between equal parts of an interval."""
    return sorted({first + (last - first) * number // _RUNS for number in range(1, _RUNS)})
