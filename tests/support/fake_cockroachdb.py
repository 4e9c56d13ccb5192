"""CockroachDB's search strategies (prefix, over-fetch) on PostgreSQL, where their SQL is the same."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from psycopg import sql

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.dialects import CockroachDialect
from crdbvec_pipelines.database.dialects.cockroachdb_vectors import CockroachVectors
from crdbvec_pipelines.database.dialects.postgres_vectors import PostgresVectors
from crdbvec_pipelines.database.dialects.vector_support import IndexDefinition


class FakeCockroachVectors(CockroachVectors):
    """CockroachDB's strategies over PostgreSQL's index, which is described with the given prefix columns."""

    def __init__(self, prefixes: Mapping[str, Sequence[str]]) -> None:
        super().__init__(260200)
        self._prefixes = prefixes
        self._real = PostgresVectors()

    def describe(self, table: sql.Identifier) -> sql.Composable:
        return self._real.describe(table)

    def parse_description(self, rows: Sequence[Sequence[object]], column: str) -> dict[str, IndexDefinition]:
        found = self._real.parse_description(rows, column)
        return {name: replace(index, prefix=tuple(self._prefixes[name])) for name, index in found.items()}

    def settings(self, effort: int | None, *, filtered: bool, is_ivfflat: bool = False) -> dict[str, str]:
        return {}

    def uses_index(self, plan: Sequence[str], index: str) -> bool:
        return self._real.uses_index(plan, index)


class NonExhaustiveVectors(FakeCockroachVectors):
    """A fake whose short results are never complete, because PostgreSQL's index does not separate tenants."""

    def is_exhaustive(self, found: int, effort: int | None) -> bool:
        return False


def search_like_cockroachdb(
    database: Database, support: type[FakeCockroachVectors] = FakeCockroachVectors, **prefixes: Sequence[str]
) -> Database:
    """Make a connection to PostgreSQL search as on CockroachDB."""
    dialect = CockroachDialect(260200)
    dialect.vectors = support(prefixes)
    dialect.vector_schema = database.dialect.vector_schema
    database.dialect = dialect
    return database
