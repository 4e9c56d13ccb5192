"""CockroachDB. Vector indexes need 25.4 or later; embedding and exact search work from 24.2, where VECTOR arrived."""

import psycopg
from psycopg import sql
from psycopg.crdb import CrdbConnection

from crdbvec_pipelines.database.dialects.base import Dialect


class CockroachDialect(Dialect):
    """CockroachDB, self-hosted or cloud."""

    name = "cockroachdb"
    kind = "cockroachdb"
    # CockroachDB's documentation advises small statements for vectors; every row is its own UPDATE, and this many are
    # in flight at once.
    rows_per_write = 100

    @property
    def connection_class(self) -> type[psycopg.Connection]:
        """Psycopg's own CockroachDB connection, whose adapters leave out the types the server lacks."""
        return CrdbConnection

    @property
    def create_extension(self) -> sql.Composable | None:
        """VECTOR is built in."""
        return None

    def create_pending_index(
        self, *, index: sql.Identifier, table: sql.Identifier, key: sql.Composable, predicate: sql.Composable
    ) -> sql.Composable:
        """Every index is built online here."""
        return sql.SQL("CREATE INDEX IF NOT EXISTS {index} ON {table} ({key}) WHERE {predicate}").format(
            index=index, table=table, key=key, predicate=predicate
        )

    @property
    def estimate_rows(self) -> sql.Composable | None:
        """None: SHOW STATISTICS takes no placeholders, and `reltuples` is not known to be filled; rows are counted."""
        return None
