"""The differences between servers in vector indexes and searches. Each server's class derives from `VectorSupport`."""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from psycopg import sql

from crdbvec_pipelines.naming import TableName

Settings = Mapping[str, str | int]
"""Session settings by name. Numbers stay numbers, because CockroachDB rejects them as text."""

NOT_NULL = "IS NOT NULL"
"""The predicate of a partial index that excludes exactly the rows without a vector."""


@dataclass(frozen=True)
class IndexDefinition:
    """A vector index as it is configured, or as it exists.

    Attributes:
        operator_class: The operator class, which determines the distance, such as `vector_cosine_ops`.
        prefix: The columns before the vector. A search must fix the value of each of them to use the index.
        predicate: The rows that it contains: `NOT_NULL` (those with a vector), None (all), or any other predicate text.
        parameters: The storage parameters that were given.
        cast: The type to which the index casts the column, such as `halfvec(3072)`; None for an index over the column.
        is_ivfflat: Whether it is an index of pgvector's method ivfflat, which this project uses and does not build.
        is_visible: Whether the server may use it for a search that does not name it.
    """

    operator_class: str
    prefix: tuple[str, ...] = ()
    predicate: str | None = NOT_NULL
    parameters: Mapping[str, int] = field(default_factory=dict)
    cast: str | None = None
    is_ivfflat: bool = False
    is_visible: bool = True

    @property
    def distance_class(self) -> str:
        """The operator class of the same distance for the type `vector`."""
        return self.operator_class.replace("halfvec_", "vector_", 1)

    @property
    def is_partial(self) -> bool:
        """Whether a search must exclude rows without a vector explicitly, so that the server can use the index."""
        return self.predicate is not None

    @property
    def contains_every_vector(self) -> bool:
        """Whether it contains every row with a vector."""
        return self.predicate in (None, NOT_NULL)


@dataclass(frozen=True)
class SearchEffort:
    """The session setting that trades speed for recall.

    Attributes:
        setting: Its name on the server.
        default: The server's default.
        largest: The server's limit.
        choices: The values that a recall measurement tries.
    """

    setting: str
    default: int
    largest: int
    choices: tuple[int, ...]

    def measured(self, configured: int | None) -> list[int]:
        """Return the values that a measurement tries, in their order: the choices and the configured one."""
        return sorted({*self.choices, *([] if configured is None else [configured])})


class VectorSupport(ABC):
    """The vector index and search of one kind of server. It has no state and sends nothing itself.

    Attributes:
        effort: The setting of the search effort.
        has_prefixes: Whether the index can start with other columns, so that a search within one tenant can use it.
        parameters: The storage parameters of the index, with the server's defaults.
        has_schema_wide_index_names: Whether two tables of a schema cannot have indexes of the same name.
        rows_per_indexed_write: The rows of the first pipelined group of guarded writes, and the maximum, if the table
            has a vector index.
        can_filter_during_index_scan: Whether an index scan can continue until enough rows match a filter. If not, any
            filter other than the prefix prevents the use of the index.
    """

    effort: SearchEffort
    has_prefixes: bool
    parameters: Mapping[str, int]
    has_schema_wide_index_names: bool
    rows_per_indexed_write: tuple[int, int]
    can_filter_during_index_scan: bool

    @abstractmethod
    def check_index_support(self, dimension: int, type_name: str = "vector") -> None:
        """Check that the server can build a vector index for vectors of a dimension and a type.

        Raises:
            TableError: The server is too old, or the dimension is too high.
        """

    @abstractmethod
    def create(
        self,
        index: sql.Identifier,
        table: sql.Identifier,
        column: sql.Identifier,
        definition: IndexDefinition,
        schema: str | None = None,
        *,
        is_visible: bool = True,
    ) -> sql.Composable:
        """Return the statement that builds the index without blocking writers, unless an index of that name exists.

        On a server that can hide indexes, searches do not use an index that is not visible.
        """

    @abstractmethod
    def drop_online(self, table: TableName, index: str) -> sql.Composable:
        """Return the statement that drops an index without blocking readers and writers."""

    @abstractmethod
    def rename(self, table: TableName, index: str, new_name: str) -> sql.Composable:
        """Return the statement that renames an index if it exists."""

    def show(self, table: TableName, index: str) -> sql.Composable | None:
        """Return the statement that makes an index visible; None if the server cannot hide one."""
        return None

    @property
    def hidden_index_settings(self) -> Settings:
        """The session settings with which a search may use an index that is not visible."""
        return {}

    @abstractmethod
    def describe(self, table: sql.Identifier) -> sql.Composable:
        """Return the query for a table's indexes (parameters `schema`, `table`); `parse_description` reads its rows."""

    @abstractmethod
    def parse_description(self, rows: Sequence[Sequence[object]], column: str) -> dict[str, IndexDefinition]:
        """Return the vector indexes over a column, by name, from the rows of the `describe` query."""

    @property
    @abstractmethod
    def progress(self) -> sql.Composable:
        """The query for the progress of a build: one row with a fraction from 0 to 1, no row if there is no build."""

    @abstractmethod
    def table_size(self, table: TableName) -> sql.Composable:
        """Return the query for the size of a table with its indexes, in bytes."""

    @abstractmethod
    def index_size(self, table: TableName, index: str) -> sql.Composable:
        """Return the query for the size of an index, in bytes."""

    def live_records(self, table: TableName, index: str) -> sql.Composable | None:
        """Return the query for the live bytes and the number of live records of an index; None if there are none."""
        return None

    def effort_of(self, index: IndexDefinition) -> SearchEffort:
        """Return the search effort of an index; servers with several kinds of index have several."""
        return self.effort

    @abstractmethod
    def settings(self, effort: int | None, *, filtered: bool, is_ivfflat: bool = False) -> Settings:
        """Return the session settings of an index search. `filtered`: it has a filter other than the prefix."""

    @abstractmethod
    def is_exhaustive(self, found: int, effort: int | None) -> bool:
        """Return whether an index search without other filters that found fewer rows than its limit found all."""

    @abstractmethod
    def uses_index(self, plan: Sequence[str], index: str) -> bool:
        """Return whether a query plan, as the lines of EXPLAIN, searches the vector index of that name."""

    @property
    @abstractmethod
    def follower_read_clause(self) -> sql.Composable | None:
        """The clause after a table's name that reads slightly old data from the nearest replica; None without one."""


def with_parameters(parameters: Mapping[str, int]) -> sql.Composable:
    """Return a WITH clause of storage parameters, or nothing if there are none."""
    if not parameters:
        return sql.SQL("")
    pairs = [sql.SQL("{} = {}").format(sql.SQL(name), sql.Literal(value)) for name, value in sorted(parameters.items())]
    return sql.SQL(" WITH ({})").format(sql.SQL(", ").join(pairs))


def parse_predicate(predicate: str | None, column: str) -> str | None:
    """Return an index's predicate as an `IndexDefinition` stores it: `NOT_NULL`, None, or its text."""
    if predicate is None:
        return None
    quoted = column.replace('"', '""')
    forms = {f"{name} IS NOT NULL" for name in (column, f'"{quoted}"')}
    return NOT_NULL if predicate.removeprefix("(").removesuffix(")") in forms else predicate


def parse_parameters(pairs: str) -> dict[str, int]:
    """Return storage parameters, such as `m=16, ef_construction=64`, as numbers by name."""
    return {name: int(value) for name, value in re.findall(r"(\w+)\s*=\s*'?(\d+)'?", pairs)}
