"""CockroachDB's routes of a search, prefix and over-fetch, on PostgreSQL, whose SQL for them is the same."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from psycopg import sql

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.dialects import CockroachDialect
from crdbvec_pipelines.database.dialects.vectors import IndexDefinition
from crdbvec_pipelines.database.dialects.vectors_cockroachdb import CockroachVectors
from crdbvec_pipelines.database.dialects.vectors_postgres import PostgresVectors


class Pretence(CockroachVectors):
    """CockroachDB's routes over PostgreSQL's index, of which it says that it begins with some columns."""

    def __init__(self, prefixes: Mapping[str, Sequence[str]]) -> None:
        super().__init__(260200)
        self._prefixes = prefixes
        self._real = PostgresVectors()

    def describe(self, table: sql.Identifier) -> sql.Composable:
        return self._real.describe(table)

    def parse_description(self, rows: Sequence[Sequence[object]], column: str) -> dict[str, IndexDefinition]:
        found = self._real.parse_description(rows, column)
        return {name: replace(index, prefix=tuple(self._prefixes[name])) for name, index in found.items()}

    def settings(self, effort: int | None, *, filtered: bool) -> dict[str, str]:
        return {}

    def uses_index(self, plan: Sequence[str], index: str) -> bool:
        return self._real.uses_index(plan, index)


class Distrust(Pretence):
    """That holds a short answer for a poor one, as PostgreSQL's index, which keeps no tenant's rows together, needs."""

    def has_seen_all(self, found: int, effort: int | None) -> bool:
        return False


def pretend(database: Database, pretence: type[Pretence] = Pretence, **prefixes: Sequence[str]) -> Database:
    """Makes a connection to PostgreSQL search as on CockroachDB."""
    dialect = CockroachDialect(260200)
    dialect.vectors = pretence(prefixes)
    database.dialect = dialect
    return database
