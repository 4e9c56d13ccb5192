"""CockroachDB. Vector indexes need 25.4 or later; embedding and exact search work from 24.2, where VECTOR arrived."""

from collections.abc import Mapping

import psycopg
from psycopg import sql
from psycopg.crdb import CrdbConnection

from crdbvec_pipelines.database.dialects.base import Dialect, where
from crdbvec_pipelines.database.dialects.vectors_cockroachdb import CockroachVectors
from crdbvec_pipelines.database.errors import TableError

# 25.4: vector indexes are generally available and built online, vectors may be binary parameters.
_FLOOR = 250400


class CockroachDialect(Dialect):
    """CockroachDB, self-hosted or cloud."""

    name = "cockroachdb"
    # CockroachDB's documentation advises small statements for vectors; every row is its own UPDATE, and this many are
    # in flight at once.
    rows_per_write = (100, 500)

    def __init__(self, version: int = _FLOOR) -> None:
        self.version = version
        """As psycopg tells it: 260205 for 26.2.5."""
        self.vectors = CockroachVectors(version)

    @property
    def replaces_triggers(self) -> bool:
        """CREATE OR REPLACE TRIGGER arrived in 26.2."""
        return self.version >= 260200

    def check_triggers(self) -> None:
        """pg_trigger, which tells whether the trigger is in place, is filled since 25.3."""
        if self.version < _FLOOR:
            raise TableError(
                "staleness: trigger needs CockroachDB 25.4 or later; "
                "use staleness: fingerprint, or upgrade the cluster."
            )

    @property
    def connection_class(self) -> type[psycopg.Connection]:
        """Psycopg's own CockroachDB connection, whose adapters leave out the types the server lacks."""
        return CrdbConnection

    @property
    def create_extension(self) -> sql.Composable | None:
        """VECTOR is built in."""
        return None

    def index_bytes_per_row(self, dimension: int) -> float:
        """C-SPANN: one bit a dimension (RaBitQ) and the key; a full centroid for each partition of about 64 rows."""
        return dimension / 8 + 48 + 4 * dimension / 64

    def create_index(
        self, *, index: sql.Identifier, table: sql.Identifier, columns: sql.Composable, predicate: sql.Composable | None
    ) -> sql.Composable:
        """Every index is built online here."""
        return sql.SQL("CREATE INDEX IF NOT EXISTS {index} ON {table} ({columns}){where}").format(
            index=index, table=table, columns=columns, where=where(predicate)
        )

    def drop_index(self, *, schema: str, table: str, index: str) -> sql.Composable:
        """An index's name is its table's."""
        return sql.SQL("DROP INDEX IF EXISTS {}@{}").format(sql.Identifier(schema, table), sql.Identifier(index))

    @property
    def brief_lock(self) -> Mapping[str, str]:
        """None: schema changes run online, beside readers and writers."""
        return {}

    @property
    def index_is_being_built(self) -> sql.Composable:
        """The catalogue lists an index when it is whole."""
        return sql.SQL("false")

    @property
    def estimate_rows(self) -> sql.Composable | None:
        """None: SHOW STATISTICS takes no placeholders, and `reltuples` is not known to be filled; rows are counted."""
        return None
