"""What differs between servers in vector indexes and searches: the base of the `vectors_...` modules."""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from psycopg import sql

from crdbvec_pipelines.naming import TableName

Settings = Mapping[str, str | int]
"""Session settings, by name. A number stays one: CockroachDB refuses it as text."""

NOT_NULL = "IS NOT NULL"
"""The predicate of a partial index that leaves out rows without a vector and nothing else."""


@dataclass(frozen=True)
class IndexDefinition:
    """A vector index as it is asked for, or as it is.

    Attributes:
        operator_class: the distance it serves, such as `vector_cosine_ops`.
        prefix: the columns before the vector, each of which a search must pin.
        predicate: which rows it holds: `NOT_NULL` (those with a vector), None (no predicate), or whatever else it says.
        parameters: its storage parameters, those that were given.
    """

    operator_class: str
    prefix: tuple[str, ...] = ()
    predicate: str | None = NOT_NULL
    parameters: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_partial(self) -> bool:
        """Whether a search must say that it wants rows with a vector, for the index to serve it."""
        return self.predicate is not None

    @property
    def holds_every_vector(self) -> bool:
        """Whether no row with a vector is missing from it."""
        return self.predicate in (None, NOT_NULL)


@dataclass(frozen=True)
class Effort:
    """The session setting that trades recall for speed, the server's default and limit, and values worth trying."""

    setting: str
    default: int
    largest: int
    choices: tuple[int, ...]


class VectorSupport(ABC):
    """One kind of server's vector index and search. Stateless."""

    effort: Effort
    has_prefixes: bool
    """Whether the index can start with other columns, so that a search within one tenant stays an index search."""
    parameters: Mapping[str, int]
    """The storage parameters that the index knows, and the server's defaults."""
    names_span_tables: bool
    """Whether two tables of a schema cannot have indexes of one name."""
    rows_per_indexed_write: tuple[int, int]
    """Rows in the first pipelined group of guarded writes, and at most, while a vector index has to be kept up."""
    searches_within_filters: bool
    """Whether an index search can go on until enough rows fulfil a filter; else any filter beside the prefix disables
    the index."""

    @abstractmethod
    def check(self, dimension: int) -> None:
        """Refuses what the server cannot index.

        Raises:
            TableError: the server is too old, or the dimension too high.
        """

    @abstractmethod
    def create(
        self, index: sql.Identifier, table: sql.Identifier, column: sql.Identifier, definition: IndexDefinition
    ) -> sql.Composable:
        """Builds the index without blocking writers, unless one of that name exists."""

    @abstractmethod
    def describe(self, table: sql.Identifier) -> sql.Composable:
        """The table's indexes: rows that `parse_description` understands; parameters `schema`, `table`."""

    @abstractmethod
    def parse_description(self, rows: Sequence[Sequence[object]], column: str) -> dict[str, IndexDefinition]:
        """The vector indexes over a column, by name, from the rows of `describe`."""

    @property
    @abstractmethod
    def progress(self) -> sql.Composable:
        """How far a build of the index has come: one row with a share from 0 to 1, none while nothing is built."""

    @abstractmethod
    def table_size(self, table: TableName) -> sql.Composable:
        """Bytes of the table with all that belongs to it."""

    @abstractmethod
    def index_size(self, table: TableName, index: str) -> sql.Composable:
        """Bytes of an index of the table."""

    @abstractmethod
    def settings(self, effort: int | None, *, filtered: bool) -> Settings:
        """The session settings of an index search; `filtered` when it has to fulfil a filter beside the prefix."""

    @abstractmethod
    def has_seen_all(self, found: int, effort: int | None) -> bool:
        """Whether an index search without other filters, that found fewer rows than wanted, can have missed none."""

    @abstractmethod
    def uses_index(self, plan: Sequence[str], index: str) -> bool:
        """Whether the lines of an EXPLAIN show a search in the vector index of that name."""

    @property
    @abstractmethod
    def slightly_past(self) -> sql.Composable | None:
        """What follows a table's name to read a little in the past from the nearest replica; None without such."""


def with_parameters(parameters: Mapping[str, int]) -> sql.Composable:
    """A WITH clause of storage parameters, or nothing."""
    if not parameters:
        return sql.SQL("")
    pairs = [sql.SQL("{} = {}").format(sql.SQL(name), sql.Literal(value)) for name, value in sorted(parameters.items())]
    return sql.SQL(" WITH ({})").format(sql.SQL(", ").join(pairs))


def parse_predicate(predicate: str | None, column: str) -> str | None:
    """The text of an index's predicate as a definition holds it."""
    if predicate is None:
        return None
    quoted = column.replace('"', '""')
    forms = {f"{name} IS NOT NULL" for name in (column, f'"{quoted}"')}
    return NOT_NULL if predicate.removeprefix("(").removesuffix(")") in forms else predicate


def parse_parameters(pairs: str) -> dict[str, int]:
    """`m=16, ef_construction=64` as numbers by name."""
    return {name: int(value) for name, value in re.findall(r"(\w+)\s*=\s*'?(\d+)'?", pairs)}
