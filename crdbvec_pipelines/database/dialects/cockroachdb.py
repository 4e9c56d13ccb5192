"""CockroachDB. Embedding needs 25.3, the first version with vectors in binary form; vector indexes need 25.4."""

from collections.abc import Mapping

import psycopg
from psycopg import sql
from psycopg.crdb import CrdbConnection

from crdbvec_pipelines.config import QualityOfService
from crdbvec_pipelines.content import content_pattern
from crdbvec_pipelines.database.dialects.base import Dialect, index_method, where_clause
from crdbvec_pipelines.database.dialects.cockroachdb_vectors import MIN_VECTOR_INDEX_VERSION, CockroachVectors
from crdbvec_pipelines.database.errors import TableError

# CREATE OR REPLACE TRIGGER exists since 26.2.
_MIN_REPLACE_TRIGGER_VERSION = 260200
# Before 25.3, a parameter in binary form cannot be a vector.
_MIN_BINARY_VECTORS_VERSION = 250300
# How the regular expressions of Go write a character.
_GO_ESCAPE = r"\x{{{:X}}}"


class CockroachDialect(Dialect):
    """CockroachDB, self-hosted or cloud.

    Args:
        version: The version as psycopg returns it: 260205 for 26.2.5.
    """

    name = "cockroachdb"
    display_name = "CockroachDB"
    # CockroachDB's documentation advises small statements for vectors. Every row is an UPDATE of its own, and this many
    # are sent at once.
    rows_per_write = (100, 500)

    def __init__(self, version: int = MIN_VECTOR_INDEX_VERSION) -> None:
        self.version = version
        self.vectors = CockroachVectors(version)

    @property
    def can_replace_triggers(self) -> bool:
        """Whether the version has CREATE OR REPLACE TRIGGER."""
        return self.version >= _MIN_REPLACE_TRIGGER_VERSION

    def check_triggers(self) -> None:
        """Check the version. pg_trigger, which shows whether the trigger exists, is filled since 25.3.

        The required version is that of vector indexes, so that a cluster has one minimum version.
        """
        if self.version < MIN_VECTOR_INDEX_VERSION:
            raise TableError(
                "staleness: trigger needs CockroachDB 25.4 or later. "
                "Use staleness: fingerprint, or upgrade the cluster."
            )

    def describe_server(self, connection: psycopg.Connection) -> str:
        """Return `CockroachDB` and the version, which psycopg reads at connecting."""
        return f"CockroachDB {self.version // 10000}.{self.version // 100 % 100}.{self.version % 100}"

    @property
    def connection_class(self) -> type[psycopg.Connection]:
        """Psycopg's CockroachDB connection, whose adapters omit the types that the server does not have."""
        return CrdbConnection

    @property
    def create_extension(self) -> sql.Composable | None:
        """None, because VECTOR is built in."""
        return None

    @property
    def extension_privilege(self) -> sql.Composable | None:
        """None, because VECTOR is built in."""
        return None

    @property
    def text_settings(self) -> Mapping[str, str | int]:
        """None: there are no types for money or XML, whose text has settings of its own on PostgreSQL."""
        return {}

    def text_has_content(self, text: sql.Composable) -> sql.Composable:
        """Return a match of one character of content. Text is always UTF-8; patterns have the syntax of Go."""
        return sql.SQL("{} ~ {}").format(text, sql.SQL(f"'{content_pattern(_GO_ESCAPE)}'"))

    @property
    def find_vector_schema(self) -> sql.Composable | None:
        """None, because VECTOR is built in."""
        return None

    @property
    def function_settings(self) -> sql.Composable:
        """Nothing: a function has no settings of its own, and its names are resolved when it is created."""
        return sql.SQL("")

    @property
    def has_own_operators(self) -> bool:
        """False: there is no CREATE OPERATOR."""
        return False

    @property
    def can_index_virtual_columns(self) -> bool:
        """True: an index can contain virtual computed columns."""
        return True

    @property
    def max_columns(self) -> int | None:
        """None: there is no fixed maximum."""
        return None

    @property
    def table_facts(self) -> sql.Composable:
        """Only the privilege to create tables, because the other kinds of tables exist on PostgreSQL only."""
        return sql.SQL(
            "SELECT false, false, crdbvec_class.relpersistence = 't', false, true, current_user, "
            "has_schema_privilege(crdbvec_namespace.nspname, 'CREATE'), 0, 0, 0 "
            "FROM pg_catalog.pg_class AS crdbvec_class JOIN pg_catalog.pg_namespace AS crdbvec_namespace "
            "ON crdbvec_namespace.oid = crdbvec_class.relnamespace WHERE crdbvec_class.oid = %(oid)s"
        )

    @property
    def list_partitions(self) -> sql.Composable | None:
        """None: partitions are not tables of their own."""
        return None

    def index_bytes_per_row(self, dimension: int) -> float:
        """Return the size in C-SPANN: one bit per dimension (RaBitQ), the key, a share of its partition's centroid.

        A partition of about 64 rows stores one full vector as its centroid.
        """
        return dimension / 8 + 48 + 4 * dimension / 64

    def create_index(
        self,
        *,
        index: sql.Identifier,
        table: sql.Identifier,
        columns: sql.Composable,
        predicate: sql.Composable | None,
        online: bool = True,
        inverted: bool = False,
    ) -> sql.Composable:
        """Return a plain CREATE INDEX, because CockroachDB builds every index online."""
        return sql.SQL("CREATE INDEX IF NOT EXISTS {index} ON {table} {method}({columns}){where}").format(
            index=index,
            table=table,
            method=index_method(inverted=inverted),
            columns=columns,
            where=where_clause(predicate),
        )

    def drop_index(self, *, schema: str, table: str, index: str) -> sql.Composable:
        """Return a DROP INDEX that names the table, because index names are unique per table only."""
        return sql.SQL("DROP INDEX IF EXISTS {}@{}").format(sql.Identifier(schema, table), sql.Identifier(index))

    @property
    def ddl_lock_settings(self) -> Mapping[str, str]:
        """None: schema changes run online, without blocking readers and writers."""
        return {}

    @property
    def several_locks_settings(self) -> Mapping[str, str]:
        """None: schema changes run online."""
        return {}

    def lock(self, table: sql.Identifier, *, for_readers: bool) -> sql.Composable | None:
        """Return None: CockroachDB has no LOCK TABLE."""
        return None

    @property
    def write_lock_settings(self) -> Mapping[str, str]:
        """A lock timeout of 100 ms. It also applies to reads that wait for a lock, so it is set for writes only."""
        return {"lock_timeout": "100ms"}

    def quality_of_service_settings(self, quality: QualityOfService) -> Mapping[str, str]:
        """Return the setting with which admission control runs the work of other sessions first."""
        return {} if quality == "regular" else {"default_transaction_quality_of_service": quality}

    @property
    def renames_columns_together(self) -> bool:
        """True: the parts of one ALTER TABLE take effect together, but not several statements of a transaction."""
        return True

    @property
    def index_is_being_built(self) -> sql.Composable:
        """False, because pg_index lists finished indexes only."""
        return sql.SQL("false")

    @property
    def unsupported_version(self) -> str | None:
        """Writing vectors needs 25.3; vector indexes and triggers need 25.4."""
        if self.version >= MIN_VECTOR_INDEX_VERSION:
            return None
        if self.version < _MIN_BINARY_VECTORS_VERSION:
            return "Before 25.3, CockroachDB rejects vectors in the binary form in which they are sent."
        return "Before 25.4, CockroachDB can embed and search exactly, but has no vector index and no usable triggers."

    @property
    def announces_backend_pid(self) -> bool:
        """False: it is not documented which number each of the two is."""
        return False

    @property
    def read_is_executing(self) -> sql.Composable | None:
        """None, because the server does not announce its processes."""
        return None

    @property
    def has_column_privileges(self) -> bool:
        """False: privileges are those of a whole table."""
        return False

    @property
    def role_settings(self) -> sql.Composable:
        """The settings of the session; a node is never a read-only replica."""
        return sql.SQL(
            "SELECT current_user, current_setting('default_transaction_read_only') = 'on', false, "
            "current_setting('statement_timeout')::int8, current_setting('idle_in_session_timeout')::int8"
        )

    @property
    def row_security_applies(self) -> sql.Composable:
        """Whether the table has it, and the role is not its owner or its owner is subject to it, too."""
        return sql.SQL(
            "SELECT crdbvec_class.relrowsecurity AND (crdbvec_class.relforcerowsecurity "
            "OR NOT pg_has_role(crdbvec_class.relowner, 'USAGE')) FROM pg_catalog.pg_class AS crdbvec_class "
            "WHERE crdbvec_class.oid = %(oid)s"
        )

    @property
    def row_estimate(self) -> sql.Composable | None:
        """None: SHOW STATISTICS takes no placeholders, and it is not known whether `reltuples` is filled."""
        return None

    @property
    def server_identity(self) -> sql.Composable | None:
        """None: the cluster's id is in crdb_internal, which is closed by default since 26.1."""
        return None
