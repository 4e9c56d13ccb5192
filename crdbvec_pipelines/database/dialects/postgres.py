"""PostgreSQL with pgvector: the embedded server, which is the default, and servers elsewhere."""

from collections.abc import Mapping

import psycopg
from psycopg import sql

from crdbvec_pipelines.database.dialects.base import Dialect, where_clause
from crdbvec_pipelines.database.dialects.postgres_vectors import PostgresVectors


class PostgresDialect(Dialect):
    """PostgreSQL 14 or later with the extension `vector`."""

    name = "postgres"
    display_name = "PostgreSQL"
    # Measured on PostgreSQL 18 with 384 dimensions: pipelined single-row updates in groups of some hundreds wrote about
    # 40,000 rows per second; larger groups were not faster and keep their row locks longer.
    rows_per_write = (500, 2_000)
    vectors = PostgresVectors()

    @property
    def can_replace_triggers(self) -> bool:
        """True: PostgreSQL has CREATE OR REPLACE TRIGGER since version 14."""
        return True

    def describe_server(self, connection: psycopg.Connection) -> str:
        """Return `PostgreSQL` and the version that the server reports at connecting."""
        return f"PostgreSQL {connection.info.parameter_status('server_version')}"

    @property
    def connection_class(self) -> type[psycopg.Connection]:
        """The plain psycopg connection."""
        return psycopg.Connection

    @property
    def create_extension(self) -> sql.Composable | None:
        """The CREATE EXTENSION of pgvector, which is installed per database."""
        return sql.SQL("CREATE EXTENSION IF NOT EXISTS vector")

    def index_bytes_per_row(self, dimension: int) -> float:
        """Return the size in HNSW with m = 16: the vector itself, and 2 m neighbors of 6 bytes on the lowest level."""
        return 4 * dimension + 8 + 2 * 16 * 6 + 64

    def create_index(
        self, *, index: sql.Identifier, table: sql.Identifier, columns: sql.Composable, predicate: sql.Composable | None
    ) -> sql.Composable:
        """Return a CREATE INDEX CONCURRENTLY, because a plain one blocks writers while it scans the table."""
        return sql.SQL("CREATE INDEX CONCURRENTLY IF NOT EXISTS {index} ON {table} ({columns}){where}").format(
            index=index, table=table, columns=columns, where=where_clause(predicate)
        )

    def drop_index(self, *, schema: str, table: str, index: str) -> sql.Composable:
        """Return a DROP INDEX that names the schema, in which index names are unique."""
        return sql.SQL("DROP INDEX IF EXISTS {}").format(sql.Identifier(schema, index))

    @property
    def ddl_lock_settings(self) -> Mapping[str, str]:
        """A lock timeout of 2 s: while ALTER TABLE waits for a long transaction, all other sessions wait for it."""
        return {"lock_timeout": "2s"}

    @property
    def index_is_being_built(self) -> sql.Composable:
        """Whether the progress view lists the index: a failed build leaves an invalid index too, but no progress."""
        return sql.SQL(
            "EXISTS (SELECT 1 FROM pg_catalog.pg_stat_progress_create_index AS p WHERE p.index_relid = i.indexrelid)"
        )

    @property
    def row_estimate(self) -> sql.Composable | None:
        """The planner's estimate; -1 until the table is first vacuumed or analyzed."""
        return sql.SQL(
            "SELECT reltuples::bigint FROM pg_catalog.pg_class AS c "
            "JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace "
            "WHERE n.nspname = %(schema)s::text AND c.relname = %(table)s::text"
        )

    @property
    def server_identity(self) -> sql.Composable | None:
        """The identifier that initdb made; a physical replica has that of its primary."""
        return sql.SQL("SELECT system_identifier::text FROM pg_catalog.pg_control_system()")
