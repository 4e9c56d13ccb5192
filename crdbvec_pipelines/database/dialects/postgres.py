"""PostgreSQL with pgvector: the embedded server, which is the default, and servers elsewhere."""

from collections.abc import Mapping
from functools import cache

import psycopg
from psycopg import sql

from crdbvec_pipelines.config import QualityOfService
from crdbvec_pipelines.content import content_ranges, encoded_characters, no_content_hex_pattern
from crdbvec_pipelines.database.dialects.base import Dialect, index_method, where_clause
from crdbvec_pipelines.database.dialects.postgres_vectors import PostgresVectors

_UTF8 = "UTF8"
# The code points that are content. `ascii` returns the code point of the first character, in a UTF-8 database.
_CONTENT_RANGES = sql.Literal(f"{{{','.join(f'[{first},{last}]' for first, last in content_ranges())}}}")
# Characters without content at the start of many texts: ASCII white space, no-break and ideographic space, zero-width
# space, byte order mark, soft hyphen.
_FREQUENT = sql.SQL(r"E' \t\r\n\f\x0b\u00a0\u3000\u200b\ufeff\u00ad'")
_OF_SEVERAL_BYTES = frozenset({"SQL_ASCII", "EUC_CN", "EUC_JIS_2004", "EUC_JP", "EUC_KR"})
# Python's names of the encodings that it knows by another name than PostgreSQL. A database without an encoding contains
# bytes that clients take for UTF-8. Python, and so psycopg, knows neither EUC_TW nor MULE_INTERNAL.
_CODECS = {
    "SQL_ASCII": "utf_8",
    "EUC_CN": "gb2312",
    "KOI8R": "koi8_r",
    "KOI8U": "koi8_u",
}


def _codec(encoding: str) -> str:
    """Return Python's name of an encoding of PostgreSQL."""
    return _CODECS.get(encoding, encoding.lower().replace("win", "cp"))


@cache
def _no_content_pattern(encoding: str) -> str:
    return no_content_hex_pattern(_codec(encoding))


@cache
def _single_bytes(encoding: str) -> list[int]:
    """Return the characters without content of an encoding with one byte per character."""
    return [each[0] for each in encoded_characters(_codec(encoding))]


class PostgresDialect(Dialect):
    """PostgreSQL 14 or later with the extension `vector`.

    Args:
        encoding: The encoding of the database.
    """

    vector_schema: str | None = "public"

    name = "postgres"
    display_name = "PostgreSQL"
    # Measured on PostgreSQL 18 with 384 dimensions: pipelined single-row updates in groups of some hundreds wrote about
    # 40,000 rows per second; larger groups were not faster and keep their row locks longer.
    rows_per_write = (500, 2_000)
    vectors = PostgresVectors()

    def __init__(self, encoding: str = "UTF8") -> None:
        self.encoding = encoding

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
        return sql.SQL("CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA {}").format(
            sql.Identifier(self.vector_schema or "public")
        )

    @property
    def extension_privilege(self) -> sql.Composable | None:
        """A superuser may create it, and a role with CREATE on the database if the extension is trusted."""
        return sql.SQL(
            "SELECT current_user, crdbvec_role.rolsuper OR (crdbvec_version.trusted "
            "AND has_database_privilege(current_database(), 'CREATE')) "
            "FROM pg_catalog.pg_available_extensions AS crdbvec_extension "
            "JOIN pg_catalog.pg_available_extension_versions AS crdbvec_version "
            "ON crdbvec_version.name = crdbvec_extension.name "
            "AND crdbvec_version.version = crdbvec_extension.default_version "
            "JOIN pg_catalog.pg_roles AS crdbvec_role ON crdbvec_role.rolname = current_user "
            "WHERE crdbvec_extension.name = 'vector'"
        )

    @property
    def text_settings(self) -> Mapping[str, str | int]:
        """The settings of money, XML and names. Those of numbers and times change only what `to_char` returns."""
        return {"lc_monetary": "C", "xmlbinary": "base64", "xmloption": "content", "quote_all_identifiers": "off"}

    def text_has_content(self, text: sql.Composable) -> sql.Composable:
        """Return a test of the first character that is not removed, and for the texts that it leaves open one of all.

        A regular expression over every text would take a multiple of the time of the rest of the statement.
        """
        differs, contains = self.operator("<>"), self.operator("@>")
        if self.encoding == _UTF8:
            first = sql.SQL("pg_catalog.ascii(pg_catalog.ltrim({}, {}::text))").format(text, _FREQUENT)
            return sql.SQL("({}::int4multirange {} {} OR ({} {} 0 AND {}))").format(
                _CONTENT_RANGES, contains, first, first, differs, self._has_content_in_bytes(text)
            )
        if self.encoding in _OF_SEVERAL_BYTES:
            # A printable character of ASCII, which all encodings contain.
            printable = sql.SQL("({0} COLLATE \"C\" {1} '!'::text AND {0} COLLATE \"C\" {2} '~'::text)").format(
                text, self.operator(">="), self.operator("<=")
            )
            return sql.SQL("({} OR {})").format(printable, self._has_content_in_bytes(text))
        removed = self.concatenation(
            [sql.SQL("pg_catalog.chr({})").format(sql.Literal(code)) for code in _single_bytes(self.encoding)]
        )
        return sql.SQL("pg_catalog.ascii(pg_catalog.ltrim({}, {})) {} 0").format(text, removed, differs)

    def _has_content_in_bytes(self, text: sql.Composable) -> sql.Composable:
        """Return a test of all bytes, without a conversion, which bytes that are no character would make fail."""
        return sql.SQL("pg_catalog.encode(pg_catalog.convert_to({}, {}::name), 'hex'::text) {} {}::text").format(
            text,
            sql.Literal(self.encoding),
            self.operator("!~"),
            sql.Literal(_no_content_pattern(self.encoding)),
        )

    @property
    def find_vector_schema(self) -> sql.Composable | None:
        """The schema of the extension."""
        return sql.SQL(
            "SELECT crdbvec_namespace.nspname FROM pg_catalog.pg_extension AS crdbvec_extension "
            "JOIN pg_catalog.pg_namespace AS crdbvec_namespace "
            "ON crdbvec_namespace.oid = crdbvec_extension.extnamespace WHERE crdbvec_extension.extname = 'vector'"
        )

    @property
    def function_settings(self) -> sql.Composable:
        """The schemas of the server only, because the trigger runs in sessions of every role."""
        return sql.SQL(" SET search_path = pg_catalog, pg_temp")

    @property
    def has_own_operators(self) -> bool:
        """True: CREATE OPERATOR."""
        return True

    @property
    def can_index_virtual_columns(self) -> bool:
        """False: PostgreSQL 18 has no indexes over virtual generated columns."""
        return False

    @property
    def max_columns(self) -> int | None:
        """The limit of PostgreSQL, which dropped columns count for too."""
        return 1_600

    @property
    def table_facts(self) -> sql.Composable:
        """The flags of the table, the privileges of the role, and the width of columns that are never NULL."""
        return sql.SQL(
            "SELECT crdbvec_class.relispartition, crdbvec_class.reloftype <> 0, crdbvec_class.relpersistence = 't', "
            "crdbvec_class.relkind = 'r' AND EXISTS (SELECT 1 FROM pg_catalog.pg_inherits AS crdbvec_inherits "
            "WHERE crdbvec_inherits.inhparent = crdbvec_class.oid), "
            "pg_has_role(crdbvec_class.relowner, 'USAGE'), current_user::text, "
            "has_schema_privilege(crdbvec_class.relnamespace, 'CREATE'), crdbvec_class.relnatts::int, "
            "(SELECT coalesce(sum(crdbvec_attribute.attlen), 0)::int FROM pg_catalog.pg_attribute AS crdbvec_attribute "
            "WHERE crdbvec_attribute.attrelid = crdbvec_class.oid AND crdbvec_attribute.attnum > 0 "
            "AND NOT crdbvec_attribute.attisdropped AND crdbvec_attribute.attnotnull "
            "AND crdbvec_attribute.attlen > 0), current_setting('block_size')::int "
            "FROM pg_catalog.pg_class AS crdbvec_class WHERE crdbvec_class.oid = %(oid)s"
        )

    @property
    def list_partitions(self) -> sql.Composable | None:
        """The leaves of the tree of partitions."""
        return sql.SQL(
            "SELECT crdbvec_class.oid, crdbvec_namespace.nspname, crdbvec_class.relname "
            "FROM pg_partition_tree(%(oid)s::oid::regclass) AS crdbvec_part "
            "JOIN pg_catalog.pg_class AS crdbvec_class ON crdbvec_class.oid = crdbvec_part.relid "
            "JOIN pg_catalog.pg_namespace AS crdbvec_namespace ON crdbvec_namespace.oid = crdbvec_class.relnamespace "
            "WHERE crdbvec_part.isleaf AND crdbvec_class.relkind = 'r' "
            "ORDER BY crdbvec_namespace.nspname, crdbvec_class.relname"
        )

    def index_bytes_per_row(self, dimension: int) -> float:
        """Return the size in HNSW with m = 16: the vector itself, and 2 m neighbors of 6 bytes on the lowest level."""
        return 4 * dimension + 8 + 2 * 16 * 6 + 64

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
        """Return a CREATE INDEX CONCURRENTLY, because a plain one blocks writers while it scans the table."""
        return sql.SQL("CREATE INDEX {concurrently}IF NOT EXISTS {index} ON {table} {method}({columns}){where}").format(
            concurrently=sql.SQL("CONCURRENTLY " if online else ""),
            index=index,
            table=table,
            method=index_method(inverted=inverted),
            columns=columns,
            where=where_clause(predicate),
        )

    def drop_index(self, *, schema: str, table: str, index: str) -> sql.Composable:
        """Return a DROP INDEX that names the schema, in which index names are unique."""
        return sql.SQL("DROP INDEX IF EXISTS {}").format(sql.Identifier(schema, index))

    @property
    def ddl_lock_settings(self) -> Mapping[str, str]:
        """A lock timeout of 2 s: while ALTER TABLE waits for a long transaction, all other sessions wait for it."""
        return {"lock_timeout": "2s"}

    @property
    def several_locks_settings(self) -> Mapping[str, str]:
        """A lock timeout of 300 ms: three waits end within the second after which a deadlock ends a session."""
        return {"lock_timeout": "300ms"}

    def lock(self, table: sql.Identifier, *, for_readers: bool) -> sql.Composable | None:
        """Return a LOCK TABLE in the mode of ALTER TABLE, or in the one that conflicts with writers and itself."""
        mode = "ACCESS EXCLUSIVE" if for_readers else "SHARE ROW EXCLUSIVE"
        return sql.SQL("LOCK TABLE {} IN {} MODE").format(table, sql.SQL(mode))

    @property
    def write_lock_settings(self) -> Mapping[str, str]:
        """A lock timeout of 100 ms: longer than most transactions, shorter than what users of an application notice."""
        return {"lock_timeout": "100ms"}

    def quality_of_service_settings(self, quality: QualityOfService) -> Mapping[str, str]:
        """Return nothing: PostgreSQL has no such setting."""
        return {}

    @property
    def renames_columns_together(self) -> bool:
        """False: ALTER TABLE renames one column, and several statements are one transaction."""
        return False

    @property
    def index_is_being_built(self) -> sql.Composable:
        """Whether the progress view lists the index: a failed build leaves an invalid index too, but no progress."""
        return sql.SQL(
            "EXISTS (SELECT 1 FROM pg_catalog.pg_stat_progress_create_index AS crdbvec_build "
            "WHERE crdbvec_build.index_relid = crdbvec_index.indexrelid)"
        )

    @property
    def unsupported_version(self) -> str | None:
        """None: an older server lacks CREATE OR REPLACE TRIGGER, and every statement that fails names it."""
        return None

    @property
    def announces_backend_pid(self) -> bool:
        """True: the process of the session."""
        return True

    @property
    def read_is_executing(self) -> sql.Composable | None:
        """The view of the sessions, of which a role sees its own. A session that waits for its client is idle."""
        return sql.SQL(
            "SELECT 1 FROM pg_catalog.pg_stat_activity AS crdbvec_session WHERE crdbvec_session.pid = %(pid)s::int4 "
            "AND crdbvec_session.wait_event_type IS DISTINCT FROM 'Client'"
        )

    @property
    def has_column_privileges(self) -> bool:
        """True."""
        return True

    @property
    def role_settings(self) -> sql.Composable:
        """The settings of the session, which this project does not change; idle_session_timeout exists since 14."""
        return sql.SQL(
            "SELECT current_user::text, current_setting('transaction_read_only') = 'on', pg_is_in_recovery(), "
            "(SELECT crdbvec_setting.setting::bigint FROM pg_catalog.pg_settings AS crdbvec_setting "
            "WHERE crdbvec_setting.name = 'statement_timeout'), "
            "(SELECT crdbvec_setting.setting::bigint FROM pg_catalog.pg_settings AS crdbvec_setting "
            "WHERE crdbvec_setting.name = 'idle_session_timeout')"
        )

    @property
    def row_security_applies(self) -> sql.Composable:
        """The server's own answer, which considers owners, superusers and BYPASSRLS."""
        return sql.SQL("SELECT row_security_active(%(oid)s::oid)")

    @property
    def row_estimate(self) -> sql.Composable | None:
        """The planner's estimate; -1 until the table is first vacuumed or analyzed."""
        return sql.SQL(
            "SELECT crdbvec_class.reltuples::bigint FROM pg_catalog.pg_class AS crdbvec_class "
            "JOIN pg_catalog.pg_namespace AS crdbvec_namespace ON crdbvec_namespace.oid = crdbvec_class.relnamespace "
            "WHERE crdbvec_namespace.nspname = %(schema)s::text AND crdbvec_class.relname = %(table)s::text"
        )

    @property
    def server_identity(self) -> sql.Composable | None:
        """The identifier that initdb made; a physical replica has that of its primary."""
        return sql.SQL(
            "SELECT crdbvec_control.system_identifier::text FROM pg_catalog.pg_control_system() AS crdbvec_control"
        )
