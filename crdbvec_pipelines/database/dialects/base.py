"""The differences between servers. A statement that no dialect provides is the same on both."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import psycopg
from psycopg import sql

from crdbvec_pipelines.config import QualityOfService
from crdbvec_pipelines.database.dialects.vector_support import VectorSupport


class Dialect(ABC):
    """One kind of server. It contains facts and statements, has no state and sends nothing itself.

    Attributes:
        name: `cockroachdb` or `postgres`, the identifier in metadata and JSON.
        display_name: `CockroachDB` or `PostgreSQL`, as messages show it.
        rows_per_write: The rows of the first pipelined group of guarded writes, and the maximum, if the table has no
            vector index.
        vectors: The server's vector index and search.
        vector_schema: The schema of the VECTOR type, or where it will be created; None if the type is built in. It is
            the only attribute that depends on the database, and is set when a connection is opened.
    """

    name: str
    display_name: str
    rows_per_write: tuple[int, int]
    vectors: VectorSupport
    vector_schema: str | None = None

    @property
    @abstractmethod
    def can_replace_triggers(self) -> bool:
        """Whether the server has CREATE OR REPLACE TRIGGER."""

    def check_triggers(self) -> None:  # noqa: B027
        """Check that the server's triggers can be used.

        Raises:
            TableError: The server is too old.
        """

    @abstractmethod
    def describe_server(self, connection: psycopg.Connection) -> str:
        """Return the product and version of the server, such as `PostgreSQL 18.4`, for metadata and messages."""

    @property
    @abstractmethod
    def connection_class(self) -> type[psycopg.Connection]:
        """The psycopg class whose type adapters match the server."""

    @property
    @abstractmethod
    def create_extension(self) -> sql.Composable | None:
        """The statement that makes the VECTOR type available; None if the type is built in."""

    @property
    @abstractmethod
    def extension_privilege(self) -> sql.Composable | None:
        """SELECT of the role and whether it may create that extension; no row if the server does not have it."""

    @property
    @abstractmethod
    def text_settings(self) -> Mapping[str, str | int]:
        """The session settings that change the text of a value and that only this kind of server has."""

    @abstractmethod
    def text_has_content(self, text: sql.Composable) -> sql.Composable:
        """Return the predicate of texts that have content, as `crdbvec_pipelines.content` defines it.

        Args:
            text: An expression of the type TEXT that is not NULL.
        """

    @property
    @abstractmethod
    def find_vector_schema(self) -> sql.Composable | None:
        """The query for the schema of the VECTOR type, which returns no row without it; None if it is built in."""

    @property
    @abstractmethod
    def function_settings(self) -> sql.Composable:
        """The clause of CREATE FUNCTION that fixes the search path of a trigger function."""

    @property
    @abstractmethod
    def has_own_operators(self) -> bool:
        """Whether users can create operators, so that a statement must say which one it means."""

    def operator(self, symbol: str, schema: str = "pg_catalog") -> sql.Composable:
        """Return an operator of a schema, whatever operators with the same symbol exist in other schemas."""
        if not self.has_own_operators:
            return sql.SQL(symbol)
        return sql.SQL("OPERATOR({}.{})").format(_schema(schema), sql.SQL(symbol))

    def concatenation(self, texts: Sequence[sql.Composable]) -> sql.Composable:
        """Return the concatenation of expressions of the type TEXT."""
        first, *others = texts
        symbol = self.operator("||")
        return sql.Composed([first, *(sql.SQL(" {} {}").format(symbol, other) for other in others)])

    def vector_object(self, name: str) -> sql.Composable:
        """Return a type, function or operator class of the extension with its schema, such as `public.vector(384)`."""
        if self.vector_schema is None:
            return sql.SQL(name)
        return sql.SQL("{}.{}").format(sql.Identifier(self.vector_schema), sql.SQL(name))

    def vector_operator(self, symbol: str) -> sql.Composable:
        """Return an operator of the extension with its schema."""
        if self.vector_schema is None:
            return sql.SQL(symbol)
        return sql.SQL("OPERATOR({}.{})").format(sql.Identifier(self.vector_schema), sql.SQL(symbol))

    @property
    @abstractmethod
    def can_index_virtual_columns(self) -> bool:
        """Whether the predicate of a partial index can contain a virtual generated column."""

    @property
    @abstractmethod
    def max_columns(self) -> int | None:
        """The maximum number of columns of a table, dropped ones included; None if there is no fixed one."""

    @property
    @abstractmethod
    def table_facts(self) -> sql.Composable:
        """The query for what decides whether a table can be changed: the values of `schema.requirements.TableFacts`.

        Its parameter is the table's `oid`.
        """

    @property
    @abstractmethod
    def list_partitions(self) -> sql.Composable | None:
        """The query for OID, schema and name of each partition that contains rows; None if the server has none.

        Its parameter is the `oid` of the partitioned table.
        """

    @abstractmethod
    def index_bytes_per_row(self, dimension: int) -> float:
        """Return the approximate size of one vector in a vector index, in bytes, for estimates."""

    @abstractmethod
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
        """Return the statement that creates an index without blocking writers, unless the index exists.

        With `online=False`, writers may be blocked while it runs. An inverted index contains the words of a text.
        """

    @abstractmethod
    def drop_index(self, *, schema: str, table: str, index: str) -> sql.Composable:
        """Return the statement that drops an index if it exists."""

    @property
    @abstractmethod
    def ddl_lock_settings(self) -> Mapping[str, str]:
        """The session settings with which DDL that locks a whole table gives up before other sessions wait for it."""

    @property
    @abstractmethod
    def several_locks_settings(self) -> Mapping[str, str]:
        """The session settings of a schema change that locks several tables.

        Another session that holds a lock which it waits for, and waits for one that it holds, must not end in a
        deadlock, so it gives up before the server looks for one.
        """

    @abstractmethod
    def lock(self, table: sql.Identifier, *, for_readers: bool) -> sql.Composable | None:
        """Return the statement that locks a table in a transaction; None if schema changes lock nothing.

        Args:
            table: The table.
            for_readers: Whether readers wait for the lock, too, and not only writers.
        """

    @property
    @abstractmethod
    def write_lock_settings(self) -> Mapping[str, str]:
        """The session settings with which a write gives up soon if another transaction holds a lock that it needs.

        While it waits, other transactions wait for the locks that it already holds.
        """

    @abstractmethod
    def quality_of_service_settings(self, quality: QualityOfService) -> Mapping[str, str]:
        """Return the session settings of a quality of service; none if it is that of any session."""

    @property
    @abstractmethod
    def renames_columns_together(self) -> bool:
        """Whether one statement renames several columns at once, and a schema change is no part of a transaction."""

    @property
    @abstractmethod
    def index_is_being_built(self) -> sql.Composable:
        """The predicate of an index of `pg_index` that is being built, for servers that list unfinished indexes.

        The alias of `pg_index` is `crdbvec_index`.
        """

    @property
    @abstractmethod
    def unsupported_version(self) -> str | None:
        """A sentence about what the version of the server does not support; None if it supports everything."""

    @property
    @abstractmethod
    def announces_backend_pid(self) -> bool:
        """Whether the server announces at connecting the process that `pg_backend_pid()` returns."""

    @property
    @abstractmethod
    def read_is_executing(self) -> sql.Composable | None:
        """The query that returns a row if the process `pid` executes a statement; None if it cannot be asked."""

    @property
    @abstractmethod
    def has_column_privileges(self) -> bool:
        """Whether a privilege can be granted for single columns."""

    @property
    @abstractmethod
    def role_settings(self) -> sql.Composable:
        """The query for the role, whether it is read-only, whether the server is a replica, and two time-outs in ms.

        The time-outs are those of statements and of idle sessions; 0 for none.
        """

    @property
    @abstractmethod
    def row_security_applies(self) -> sql.Composable:
        """The query for whether row-level security applies to the role; its parameter is the table's `oid`."""

    @property
    @abstractmethod
    def row_estimate(self) -> sql.Composable | None:
        """The query for the server's own estimate of a table's rows; None if there is none.

        Its parameters are `schema` and `table`. It returns one row with one number, which is NULL or negative if the
        server has no statistics yet.
        """

    @property
    @abstractmethod
    def server_identity(self) -> sql.Composable | None:
        """The query for a text that no other server has; None if the server does not tell it to every role."""


def _schema(name: str) -> sql.Composable:
    return sql.SQL(name) if name == "pg_catalog" else sql.Identifier(name)


def index_method(*, inverted: bool) -> sql.Composable:
    """Return the method of an index in CREATE INDEX; nothing for the default, a B-tree."""
    return sql.SQL("USING gin " if inverted else "")


def where_clause(predicate: sql.Composable | None) -> sql.Composable:
    """Return a WHERE clause, or nothing if there is no predicate."""
    return sql.SQL("") if predicate is None else sql.SQL(" WHERE {}").format(predicate)
