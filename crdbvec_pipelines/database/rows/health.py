"""Measurements for the asset checks of a vector column: usable vectors, drift, and the age of the backlog."""

from dataclasses import dataclass

from psycopg import sql

from crdbvec_pipelines.database.column import BoundColumn, ColumnDefinition
from crdbvec_pipelines.database.expressions import InputExpressions, bound_flags, in_range, range_parameters
from crdbvec_pipelines.database.rows.predicates import any_pending_predicate
from crdbvec_pipelines.database.statement import statement
from crdbvec_pipelines.keyspace import KeyRange


@dataclass(frozen=True)
class VectorStatistics:
    """Statistics of a column's vectors.

    Attributes:
        vectors: All vectors.
        wrong_dimension: Vectors whose dimension is not the model's.
        not_finite: Vectors with an infinite or NaN component.
        zero: Vectors of length zero.
        smallest_norm: The smallest length; None if there are no vectors.
        largest_norm: The largest length; None if there are no vectors.
    """

    vectors: int
    wrong_dimension: int
    not_finite: int
    zero: int
    smallest_norm: float | None
    largest_norm: float | None


@statement
def measure_vectors(column: ColumnDefinition) -> sql.Composable:
    """Count vectors that no search can use, and return the range of their lengths. NaN sorts above all numbers."""
    return sql.SQL(
        "SELECT count(*), count(*) FILTER (WHERE vector_dims({vector}) <> %(dimension)s), "
        "count(*) FILTER (WHERE vector_norm({vector}) >= 'Infinity'::float8), "
        "count(*) FILTER (WHERE vector_norm({vector}) = 0), min(vector_norm({vector})), max(vector_norm({vector})) "
        "FROM {table} WHERE {vector} IS NOT NULL"
    ).format(vector=sql.Identifier(column.spec.output), table=column.table.identifier)


@statement
def count_drift(column: ColumnDefinition, *, has_lower: bool, has_upper: bool) -> sql.Composable:
    """Count the stale vectors of a key range, and all its vectors. A vector whose input became blank is stale too."""
    expressions = InputExpressions(column)
    return sql.SQL(
        "SELECT count(*) FILTER (WHERE NOT {content} OR {stored} IS DISTINCT FROM {fingerprint}), count(*) "
        "FROM {table} WHERE {range} AND {vector} IS NOT NULL"
    ).format(
        content=expressions.has_content,
        stored=sql.Identifier(column.spec.fingerprint_column or column.spec.output),
        fingerprint=expressions.fingerprint,
        table=column.table.identifier,
        range=in_range(column.table, has_lower=has_lower, has_upper=has_upper),
        vector=sql.Identifier(column.spec.output),
    )


@statement
def oldest_pending(column: ColumnDefinition) -> sql.Composable:
    """Return the age in seconds of the earliest `updated_at` among the pending rows."""
    return sql.SQL("SELECT extract(epoch FROM now() - min({updated}))::float8 FROM {table} WHERE {pending}").format(
        updated=sql.Identifier(column.spec.updated_at or column.spec.output),
        table=column.table.identifier,
        pending=any_pending_predicate(column),
    )


class VectorHealth:
    """The measurements of one vector column on an open database."""

    def __init__(self, column: BoundColumn) -> None:
        self._column = column
        self._database = column.database

    def measure(self) -> VectorStatistics:
        """Measure all vectors. The server reads the whole column."""
        row = self._database.fetch_one(measure_vectors(self._column), {"dimension": self._column.model.dim})
        return VectorStatistics(*row)

    def count_drift(self, key_range: KeyRange) -> tuple[int, int]:
        """Return the number of stale vectors of a key range, and the number of all its vectors."""
        query = count_drift(self._column, **bound_flags(key_range))
        stale, vectors = self._database.fetch_one(query, {**self._column.seed, **range_parameters(key_range)})
        return stale, vectors

    def oldest_pending_seconds(self) -> float | None:
        """Return the age of the oldest pending row in seconds: 0 if none is pending, None without `updated_at`."""
        if self._column.spec.updated_at is None:
            return None
        (seconds,) = self._database.fetch_one(oldest_pending(self._column), self._column.seed)
        return float(seconds or 0.0)
