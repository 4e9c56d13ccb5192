"""The state of a key range from one read of it: the rows by what a refresh does with them, and their vectors.

Every number that is shown of a partition, and every check of it, comes from this one statement.
"""

from collections.abc import Callable
from dataclasses import dataclass

from psycopg import sql

from crdbvec_pipelines.database.aliases import aliased, reference
from crdbvec_pipelines.database.column import BoundColumn, ColumnDefinition
from crdbvec_pipelines.database.expressions import InputExpressions, follower_read_clause, in_range, range_parameters
from crdbvec_pipelines.database.rows.predicates import pending_predicate
from crdbvec_pipelines.database.rows.row_error_statements import has_failed, is_not_deferred
from crdbvec_pipelines.database.rows.row_errors import RowErrors
from crdbvec_pipelines.database.statement import AsOf, follower_read
from crdbvec_pipelines.keyspace import KeyRange


@dataclass(frozen=True)
class RangeState:
    """The rows of a key range.

    Attributes:
        rows: All rows.
        vectors: Rows with a vector, current or not.
        unembedded: Rows with an input and without a vector.
        stale: Rows whose vector was made from another input or by another model.
        failed: Rows with a recorded failure of their present input.
        deferred: The failed rows that are excluded until their next retry.
        blank: Rows without anything to embed.
        clearable: Blank rows that still have a vector.
        wrong_dimension: Vectors whose dimension is not the model's.
        not_finite: Vectors with a value that is not finite.
        zero: Vectors of length zero.
        smallest_norm: The smallest length of a vector; None without vectors.
        largest_norm: The largest length of a vector; None without vectors.
        chunks: The chunks of all rows; 0 for an entry with one vector a row.
    """

    rows: int = 0
    vectors: int = 0
    unembedded: int = 0
    stale: int = 0
    failed: int = 0
    deferred: int = 0
    blank: int = 0
    clearable: int = 0
    wrong_dimension: int = 0
    not_finite: int = 0
    zero: int = 0
    smallest_norm: float | None = None
    largest_norm: float | None = None
    chunks: int = 0

    @property
    def pending(self) -> int:
        """Rows that a refresh would embed now."""
        return self.unembedded + self.stale - self.deferred

    @property
    def is_complete(self) -> bool:
        """Whether a refresh has nothing to do: no pending row, and no vector without an input."""
        return self.pending == 0 and self.clearable == 0

    @property
    def with_input(self) -> int:
        """Rows with something to embed."""
        return self.rows - self.blank

    @property
    def current(self) -> int:
        """Rows with an input and a current vector."""
        return self.with_input - self.unembedded - self.stale

    @property
    def coverage(self) -> float:
        """The share of the rows with an input that have a current vector, from 0 to 1."""
        return self.current / self.with_input if self.with_input else 1.0

    @property
    def drifted(self) -> int:
        """Vectors that do not match their row: stale ones, and those of blank rows."""
        return self.stale + self.clearable

    @property
    def unusable(self) -> int:
        """Vectors that no search can use."""
        return self.wrong_dimension + self.not_finite + self.zero

    def __add__(self, other: "RangeState") -> "RangeState":
        return RangeState(
            self.rows + other.rows,
            self.vectors + other.vectors,
            self.unembedded + other.unembedded,
            self.stale + other.stale,
            self.failed + other.failed,
            self.deferred + other.deferred,
            self.blank + other.blank,
            self.clearable + other.clearable,
            self.wrong_dimension + other.wrong_dimension,
            self.not_finite + other.not_finite,
            self.zero + other.zero,
            _either(min, self.smallest_norm, other.smallest_norm),
            _either(max, self.largest_norm, other.largest_norm),
            self.chunks + other.chunks,
        )


def _either(choose: Callable[[float, float], float], one: float | None, other: float | None) -> float | None:
    """Return the smaller or larger of two values that may be missing."""
    if one is None or other is None:
        return other if one is None else one
    return choose(one, other)


@follower_read
def read_range_state(
    column: ColumnDefinition, *, has_lower: bool, has_upper: bool, has_failures: bool
) -> sql.Composable:
    """Count the rows of a key range by state, and measure their vectors.

    A vector cannot contain NaN, which sorts above all numbers on PostgreSQL and below them on CockroachDB.
    """
    none = sql.SQL("false")
    vector = reference(column.spec.output)
    unembedded, stale = pending_predicate(column, "unembedded"), pending_predicate(column, "stale")
    deferred = sql.SQL("({} OR {}) AND NOT ({})").format(unembedded, stale, is_not_deferred(column))
    return sql.SQL(
        "SELECT count(*), count({vector}), count(*) FILTER (WHERE {unembedded}), count(*) FILTER (WHERE {stale}), "
        "count(*) FILTER (WHERE {failed}), count(*) FILTER (WHERE {deferred}), count(*) FILTER (WHERE NOT {content}), "
        "count(*) FILTER (WHERE {vector} IS NOT NULL AND NOT {content}), "
        "{measured} FROM {table}{past} WHERE {range}"
    ).format(
        vector=vector,
        measured=_measured(column) if column.spec.chunking is None else _CHUNKS_ONLY.format(chunks=vector),
        unembedded=unembedded,
        stale=stale,
        failed=has_failed(column) if has_failures else none,
        deferred=deferred if has_failures else none,
        content=InputExpressions(column).has_content,
        table=aliased(column.table),
        past=follower_read_clause(column.table),
        range=in_range(column.table, has_lower=has_lower, has_upper=has_upper),
    )


# The vectors of chunks are in another table, whose columns do not accept other dimensions.
_CHUNKS_ONLY = sql.SQL("0, 0, 0, NULL::float8, NULL::float8, coalesce(sum({chunks}), 0)::int8")


def _measured(column: ColumnDefinition) -> sql.Composable:
    """Return what is measured of the vectors: unusable ones, and the smallest and largest length."""
    vector, dialect = reference(column.spec.output), column.table.dialect
    full_precision = (
        vector if column.vector_type == "vector" else sql.SQL("{}::{}").format(vector, dialect.vector_object("vector"))
    )
    return sql.SQL(
        "count(*) FILTER (WHERE {dims}({vector}) <> %(dimension)s), "
        "count(*) FILTER (WHERE {norm} >= 'Infinity'::float8), "
        "count(*) FILTER (WHERE {norm} = 0), min({norm}), max({norm}), 0"
    ).format(
        vector=vector,
        dims=dialect.vector_object("vector_dims"),
        norm=sql.SQL("{}({})").format(dialect.vector_object("vector_norm"), full_precision),
    )


def range_state(column: BoundColumn, key_range: KeyRange, as_of: AsOf = "now") -> RangeState:
    """Read the state of a key range; the server reads the range once.

    Args:
        column: The vector column.
        key_range: The range.
        as_of: The time that is read. Whether a partition is complete is decided by the present.
    """
    errors = RowErrors(column)
    statement = read_range_state(
        column,
        has_lower=key_range.lower is not None,
        has_upper=key_range.upper is not None,
        has_failures=errors.count().total > 0,
    )
    parameters = {
        **column.seed,
        **errors.parameters,
        **range_parameters(key_range),
        "dimension": column.model.dim,
    }
    return RangeState(*column.database.fetch_one(statement.as_of(as_of), parameters))
