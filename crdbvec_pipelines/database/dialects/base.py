"""What may differ between servers. Anything not named here is the same statement on both."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import psycopg
from psycopg import sql

from crdbvec_pipelines.database.dialects.vectors import VectorSupport


class Dialect(ABC):
    """One kind of server. Stateless: holds facts and statements, sends nothing itself."""

    name: str
    """`cockroachdb` or `postgres`, as messages and metadata show it."""

    rows_per_write: tuple[int, int]
    """Rows in the first pipelined group of guarded writes, and at most, while no vector index has to be kept up."""

    vectors: VectorSupport
    """The server's vector index and search."""

    @property
    @abstractmethod
    def replaces_triggers(self) -> bool:
        """Whether the server has CREATE OR REPLACE TRIGGER."""

    def check_triggers(self) -> None:  # noqa: B027
        """Refuses a server whose triggers cannot be relied on.

        Raises:
            TableError: the server is too old.
        """

    @property
    @abstractmethod
    def connection_class(self) -> type[psycopg.Connection]:
        """The psycopg class whose type adapters fit the server."""

    @property
    @abstractmethod
    def create_extension(self) -> sql.Composable | None:
        """Makes the VECTOR type available; None where it is built in."""

    @abstractmethod
    def index_bytes_per_row(self, dimension: int) -> float:
        """About what one vector takes in a vector index, in bytes; an estimate for plans."""

    @abstractmethod
    def create_index(
        self, *, index: sql.Identifier, table: sql.Identifier, columns: sql.Composable, predicate: sql.Composable | None
    ) -> sql.Composable:
        """Creates an index, over the rows that fulfil a predicate, without blocking writers, unless it exists."""

    @abstractmethod
    def drop_index(self, *, schema: str, table: str, index: str) -> sql.Composable:
        """Removes an index, if it is there."""

    @property
    @abstractmethod
    def brief_lock(self) -> Mapping[str, str]:
        """Session settings under which a statement that locks a whole table gives up before others wait for it."""

    @property
    @abstractmethod
    def index_is_being_built(self) -> sql.Composable:
        """Whether the index `i` of `pg_index` is under construction; true only where such an index is listed at all."""

    @property
    @abstractmethod
    def estimate_rows(self) -> sql.Composable | None:
        """The server's own estimate of a table's rows, from parameters `schema` and `table`; None where there is none.

        One row with one number, NULL or negative where the server has no statistics yet.
        """


def where(predicate: sql.Composable | None) -> sql.Composable:
    """A WHERE clause, or nothing."""
    return sql.SQL("") if predicate is None else sql.SQL(" WHERE {}").format(predicate)
