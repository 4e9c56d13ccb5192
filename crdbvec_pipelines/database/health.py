"""What the checks ask of a vector column: its vectors' shape, whether they match their inputs, the backlog's age."""

from dataclasses import dataclass

from psycopg import sql

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.expressions import InputExpressions, fingerprint_seed, in_range, range_parameters
from crdbvec_pipelines.database.introspect import Table
from crdbvec_pipelines.database.row_statements import any_pending_predicate
from crdbvec_pipelines.database.statement import statement
from crdbvec_pipelines.keyspace import KeyRange


@dataclass(frozen=True)
class Measured:
    """The shape of a column's vectors. The norms are None where there are none."""

    vectors: int
    wrong_dimension: int
    not_finite: int
    zero: int
    smallest_norm: float | None
    largest_norm: float | None


@statement
def measure_vectors(table: Table, spec: VectorColumn) -> sql.Composable:
    """Counts vectors that no search can use, and the range of their lengths. NaN sorts above all numbers."""
    return sql.SQL(
        "SELECT count(*), count(*) FILTER (WHERE vector_dims({vector}) <> %(dimension)s), "
        "count(*) FILTER (WHERE vector_norm({vector}) >= 'Infinity'::float8), "
        "count(*) FILTER (WHERE vector_norm({vector}) = 0), min(vector_norm({vector})), max(vector_norm({vector})) "
        "FROM {table} WHERE {vector} IS NOT NULL"
    ).format(vector=sql.Identifier(spec.output), table=table.identifier)


@statement
def count_drift(table: Table, spec: VectorColumn, *, lower: bool, upper: bool) -> sql.Composable:
    """Vectors of a key range, and those among them that were made from another input or by another model.

    A vector whose input is gone counts as drifted too.
    """
    expressions = InputExpressions(table, spec)
    return sql.SQL(
        "SELECT count(*) FILTER (WHERE NOT {content} OR {stored} IS DISTINCT FROM {fingerprint}), count(*) "
        "FROM {table} WHERE {range} AND {vector} IS NOT NULL"
    ).format(
        content=expressions.has_content,
        stored=sql.Identifier(spec.fingerprint_column or spec.output),
        fingerprint=expressions.fingerprint,
        table=table.identifier,
        range=in_range(table, lower=lower, upper=upper),
        vector=sql.Identifier(spec.output),
    )


@statement
def oldest_pending(table: Table, spec: VectorColumn) -> sql.Composable:
    """For how many seconds the row that has been pending longest has been so, by its `updated_at`."""
    return sql.SQL("SELECT extract(epoch FROM now() - min({updated}))::float8 FROM {table} WHERE {pending}").format(
        updated=sql.Identifier(spec.updated_at or spec.output),
        table=table.identifier,
        pending=any_pending_predicate(table, spec),
    )


class VectorHealth:
    """The checks' questions about one vector column."""

    def __init__(self, database: Database, table: Table, spec: VectorColumn, model_id: str, dimension: int) -> None:
        self._database = database
        self._table = table
        self._spec = spec
        self._seed = {"seed": fingerprint_seed(model_id)}
        self._dimension = dimension

    def measure(self) -> Measured:
        """Measures all vectors; reads the whole column on the server."""
        row = self._database.fetch_one(measure_vectors(self._table, self._spec), {"dimension": self._dimension})
        return Measured(*row)

    def count_drift(self, key_range: KeyRange) -> tuple[int, int]:
        """How many vectors of a key range no longer match their input, and how many there are."""
        statement = count_drift(
            self._table, self._spec, lower=key_range.lower is not None, upper=key_range.upper is not None
        )
        drifted, vectors = self._database.fetch_one(statement, {**self._seed, **range_parameters(key_range)})
        return drifted, vectors

    def oldest_pending_seconds(self) -> float | None:
        """The age of the oldest pending row in seconds, 0 if none is pending; None without `updated_at`."""
        if self._spec.updated_at is None:
            return None
        (seconds,) = self._database.fetch_one(oldest_pending(self._table, self._spec), self._seed)
        return float(seconds or 0.0)
