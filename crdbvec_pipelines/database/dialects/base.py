"""What may differ between servers. Anything not named here is the same statement on both."""

from abc import ABC, abstractmethod

import psycopg
from psycopg import sql


class Dialect(ABC):
    """One kind of server. Stateless: holds facts and statements, sends nothing itself."""

    name: str
    """`cockroachdb` or `postgres`, as messages and metadata show it."""

    kind: str
    """The Dagster kind (its icon in the UI)."""

    rows_per_write: int
    """Rows in one pipelined group of guarded writes, while no vector index has to be kept up."""

    @property
    @abstractmethod
    def connection_class(self) -> type[psycopg.Connection]:
        """The psycopg class whose type adapters fit the server."""

    @property
    @abstractmethod
    def create_extension(self) -> sql.Composable | None:
        """Makes the VECTOR type available; None where it is built in."""

    @abstractmethod
    def create_pending_index(
        self, *, index: sql.Identifier, table: sql.Identifier, key: sql.Composable, predicate: sql.Composable
    ) -> sql.Composable:
        """Creates the partial index over pending rows without blocking writers, unless it exists."""

    @property
    @abstractmethod
    def estimate_rows(self) -> sql.Composable | None:
        """The server's own estimate of a table's rows, from parameters `schema` and `table`; None where there is none.

        One row with one number, NULL or negative where the server has no statistics yet.
        """
