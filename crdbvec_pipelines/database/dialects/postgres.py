"""PostgreSQL with pgvector: the embedded default, and whoever runs it elsewhere."""

from collections.abc import Mapping

import psycopg
from psycopg import sql

from crdbvec_pipelines.database.dialects.base import Dialect, where
from crdbvec_pipelines.database.dialects.vectors_postgres import PostgresVectors


class PostgresDialect(Dialect):
    """PostgreSQL 14 or later with the extension `vector`."""

    name = "postgres"
    # Measured on PostgreSQL 18 with 384 dimensions: pipelined single-row updates in groups of some hundreds wrote about
    # 40,000 rows/s; larger groups gained nothing and hold their row locks longer.
    rows_per_write = (500, 2_000)
    vectors = PostgresVectors()

    @property
    def replaces_triggers(self) -> bool:
        """Since PostgreSQL 14."""
        return True

    @property
    def connection_class(self) -> type[psycopg.Connection]:
        """The plain psycopg connection."""
        return psycopg.Connection

    @property
    def create_extension(self) -> sql.Composable | None:
        """Pgvector is an extension of each database."""
        return sql.SQL("CREATE EXTENSION IF NOT EXISTS vector")

    def index_bytes_per_row(self, dimension: int) -> float:
        """HNSW with m = 16: the vector itself, and 2 m neighbours of 6 bytes on the lowest level."""
        return 4 * dimension + 8 + 2 * 16 * 6 + 64

    def create_index(
        self, *, index: sql.Identifier, table: sql.Identifier, columns: sql.Composable, predicate: sql.Composable | None
    ) -> sql.Composable:
        """CONCURRENTLY, since a plain CREATE INDEX blocks writers for as long as it scans the table."""
        return sql.SQL("CREATE INDEX CONCURRENTLY IF NOT EXISTS {index} ON {table} ({columns}){where}").format(
            index=index, table=table, columns=columns, where=where(predicate)
        )

    def drop_index(self, *, schema: str, table: str, index: str) -> sql.Composable:
        """An index's name is the schema's."""
        return sql.SQL("DROP INDEX IF EXISTS {}").format(sql.Identifier(schema, index))

    @property
    def brief_lock(self) -> Mapping[str, str]:
        """Behind a long transaction, ALTER TABLE waits for its lock, and everybody else waits behind it."""
        return {"lock_timeout": "2s"}

    @property
    def index_is_being_built(self) -> sql.Composable:
        """Invalid is also what a broken build left; only the progress view tells the two apart."""
        return sql.SQL(
            "EXISTS (SELECT 1 FROM pg_catalog.pg_stat_progress_create_index AS p WHERE p.index_relid = i.indexrelid)"
        )

    @property
    def estimate_rows(self) -> sql.Composable | None:
        """The planner's estimate; -1 until the table is first vacuumed or analysed."""
        return sql.SQL(
            "SELECT reltuples::bigint FROM pg_catalog.pg_class AS c "
            "JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace "
            "WHERE n.nspname = %(schema)s::text AND c.relname = %(table)s::text"
        )
