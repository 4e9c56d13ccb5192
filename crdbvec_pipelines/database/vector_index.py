"""The vector index of a column: which there is, which is asked for, building it, and how large it is."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from psycopg import sql

from crdbvec_pipelines.config import IndexSpec, VectorColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.dialects import Dialect
from crdbvec_pipelines.database.dialects.vectors import NOT_NULL, IndexDefinition
from crdbvec_pipelines.database.errors import DatabaseError, DatabaseUnavailable, TableError
from crdbvec_pipelines.database.introspect import Table
from crdbvec_pipelines.database.metrics import DISTANCES
from crdbvec_pipelines.database.names import short_name
from crdbvec_pipelines.database.schema import change_schema, drop_index
from crdbvec_pipelines.database.session import NO_TIMEOUT
from crdbvec_pipelines.database.statement import Statement, statement
from crdbvec_pipelines.encoding.contract import Metric
from crdbvec_pipelines.errors import CrdbvecError

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_LOOKS = 1.0
_BUILDS = 3


@dataclass(frozen=True)
class IndexSizes:
    """How large a table and its vector index are.

    Attributes:
        table: bytes of the table, all its indexes counted in; None where the user may not see it.
        index: bytes of the index; None where there is none, or the user may not see it.
        vectors: how many rows have a vector.
        full_precision: bytes of these vectors, uncompressed.
    """

    table: int | None
    index: int | None
    vectors: int
    full_precision: int


@statement
def create_vector_index(dialect: Dialect, table: Table, spec: VectorColumn, metric: Metric) -> sql.Composable:
    """Builds the vector index."""
    return dialect.vectors.create(
        sql.Identifier(vector_index_name(spec)),
        table.identifier,
        sql.Identifier(spec.output),
        wanted_definition(dialect, spec, metric),
    )


@statement
def describe_indexes(dialect: Dialect, table: Table) -> sql.Composable:
    """The indexes of a table, vector indexes among them."""
    return dialect.vectors.describe(table.identifier)


@statement
def index_progress(dialect: Dialect) -> sql.Composable:
    """How far the build of an index has come."""
    return dialect.vectors.progress


@statement
def table_size(dialect: Dialect, table: Table) -> sql.Composable:
    """Bytes of a table, its indexes counted in."""
    return dialect.vectors.table_size(table.name)


@statement
def index_size(dialect: Dialect, table: Table, index: str) -> sql.Composable:
    """Bytes of an index."""
    return dialect.vectors.index_size(table.name, index)


@statement
def indexes_of_name(dialect: Dialect) -> sql.Composable:
    """The tables of a schema that have an index of some name, and whether it is whole or about to be."""
    return sql.SQL(
        "SELECT t.relname, i.indisvalid OR {} FROM pg_catalog.pg_index AS i "
        "JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid "
        "JOIN pg_catalog.pg_class AS t ON t.oid = i.indrelid "
        "JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace "
        "WHERE n.nspname = %(schema)s::text AND c.relname = %(index)s::text"
    ).format(dialect.index_is_being_built)


@statement
def count_vectors(table: Table, spec: VectorColumn) -> sql.Composable:
    """How many rows have a vector."""
    return sql.SQL("SELECT count({}) FROM {}").format(sql.Identifier(spec.output), table.identifier)


def vector_index_name(spec: VectorColumn) -> str:
    """The name of a column's vector index."""
    return short_name(f"{spec.table.name}_{spec.output}", "index")


def wanted_definition(dialect: Dialect, spec: VectorColumn, metric: Metric) -> IndexDefinition:
    """The index that the configuration asks for, as far as the server has it."""
    asked = spec.index or IndexSpec()
    known = dialect.vectors.parameters
    return IndexDefinition(
        DISTANCES[metric].operator_class,
        asked.prefix if dialect.vectors.has_prefixes else (),
        NOT_NULL if asked.partial else None,
        {name: value for name, value in asked.parameters.items() if name in known},
    )


def left_out(dialect: Dialect, spec: VectorColumn) -> str | None:
    """What the configuration asks of the index and the server does not have, as a sentence."""
    asked = spec.index or IndexSpec()
    missing = sorted(asked.parameters.keys() - dialect.vectors.parameters.keys())
    prefix = [] if dialect.vectors.has_prefixes else list(asked.prefix)
    if not missing and not prefix:
        return None
    parts = [*(["prefix columns"] if prefix else []), *missing]
    all_the_same = "; searches filtered by the prefix are answered correctly all the same" if prefix else ""
    return f"{dialect.name} has no {', '.join(parts)} in a vector index, so the index is built without{all_the_same}."


class VectorIndex:
    """The vector index of one column on an open database.

    Args:
        database: an open connection.
        table: the table, with the vector column in place.
        spec: what the configuration says.
        metric: the column's metric.
        dimension: of the column's vectors.

    Raises:
        TableError: a prefix column does not exist.
    """

    def __init__(self, database: Database, table: Table, spec: VectorColumn, metric: Metric, dimension: int) -> None:
        for name in spec.index.prefix if spec.index else ():
            if name not in table.columns:
                raise TableError(f"{spec.origin}.index.prefix: {spec.table} has no column {name}.")
        self.name = vector_index_name(spec)
        self.wanted = wanted_definition(database.dialect, spec, metric)
        self._database = database
        self._table = table
        self._spec = spec
        self._metric = metric
        self._dimension = dimension

    @property
    def has_column(self) -> bool:
        """Whether the column to index is there."""
        return self._spec.output in self._table.columns

    def existing(self) -> dict[str, IndexDefinition]:
        """The finished vector indexes over the column, by name, whoever made them."""
        return existing_indexes(self._database, self._table, self._spec)

    def differences(self) -> list[str]:
        """How the existing index of our name differs from what is asked; empty if it does not, or is not there."""
        found = self.existing().get(self.name)
        if found is None:
            return []
        wanted = self.wanted
        defaults = self._database.dialect.vectors.parameters
        pairs = [
            ("metric", found.operator_class, wanted.operator_class),
            ("prefix", ", ".join(found.prefix) or "none", ", ".join(wanted.prefix) or "none"),
            ("predicate", found.predicate or "none", wanted.predicate or "none"),
            *((name, found.parameters.get(name, defaults[name]), value) for name, value in wanted.parameters.items()),
        ]
        return [f"{what} is {is_} and should be {should}" for what, is_, should in pairs if is_ != should]

    def build(self, *, replace: bool = False, on_progress: Callable[[float], None] | None = None) -> bool:
        """Builds the index unless it is there; returns whether it built one.

        The statement runs alone in autocommit, in a thread, while its progress is asked for over another connection. If
        the connection is lost, the build is waited for, or begun again where it died.

        Args:
            replace: drop an index that differs from what is asked, and build anew.
            on_progress: told the share done, from 0 to 1, about once a second.

        Raises:
            TableError: the server cannot index this, the existing index differs and `replace` is off, or something
                else has the index's name.
            DatabaseError: the server refused the statement.
        """
        self._database.dialect.vectors.check(self._dimension)
        differences = self.differences()
        if differences and not replace:
            raise TableError(
                f"The vector index {self.name} of {self._spec.table} is not what {self._spec.origin} asks for: "
                f"{'; '.join(differences)}. Change the entry, or build it anew: crdbvec index build --replace."
            )
        if differences:
            self.drop()
        if self.name in self.existing():
            return False
        tell = on_progress or (lambda _: None)
        for _ in range(_BUILDS):
            self._clear_the_name()
            self._build_once(tell)
            if self.name in self.existing():
                tell(1.0)
                return True
        self._clear_the_name()
        raise CrdbvecError(
            f"The vector index {self.name} of {self._spec.table} was begun {_BUILDS} times and never finished; "
            "the server's log says why. Searches are answered exactly meanwhile."
        )

    def drop(self) -> None:
        """Removes the index, if it is there.

        Raises:
            DatabaseUnavailable: somebody's transaction holds the table and does not end.
        """
        change_schema(self._database, drop_index(self._database.dialect, self._table, self.name))

    def sizes(self) -> IndexSizes:
        """How large table and index are."""
        dialect = self._database.dialect
        (vectors,) = self._database.fetch_one(count_vectors(self._table, self._spec)) if self.has_column else (0,)
        return IndexSizes(
            self._size(table_size(dialect, self._table)),
            self._size(index_size(dialect, self._table, self.name)) if self.name in self.existing() else None,
            vectors,
            vectors * (4 * self._dimension + 8),
        )

    def _size(self, asked: Statement) -> int | None:
        try:
            (size,) = self._database.fetch_one(asked)
        except DatabaseUnavailable:
            raise
        except DatabaseError as error:
            # Who may search and build need not be allowed to see ranges.
            logger.info("a size is not to be seen: %s", error)
            return None
        return None if size is None else int(size)

    def _clear_the_name(self) -> None:
        """Removes what a build that died left under our name, which would be taken for done; nothing else."""
        own, spans = self._table.name, self._database.dialect.vectors.names_span_tables
        names = {"schema": own.schema, "index": self.name}
        for table, is_whole in self._database.fetch(indexes_of_name(self._database.dialect), names):
            if table != own.name:
                if spans:
                    raise TableError(
                        f"The schema {own.schema} already has an index {self.name}, on the table {table}; rename it: "
                        f"ALTER INDEX {self.name} RENAME TO <another name>."
                    )
            elif not is_whole:
                self.drop()
            elif self._progress() is None:
                raise TableError(
                    f"{own} already has an index {self.name}, and it is no vector index over {self._spec.output} that "
                    f"a search could use; rename it (ALTER INDEX {self.name} RENAME TO <another name>), or drop it."
                )

    def _build_once(self, on_progress: Callable[[float], None]) -> None:
        errors: list[CrdbvecError] = []

        def create() -> None:
            ddl = create_vector_index(self._database.dialect, self._table, self._spec, self._metric)
            try:
                self._database.execute(ddl, settings=NO_TIMEOUT)
            except CrdbvecError as error:
                errors.append(error)

        builder = threading.Thread(target=create, name="crdbvec-index", daemon=True)
        # Two builds of one index at once end one another by deadlock on PostgreSQL, so another process's is waited for.
        # CockroachDB puts them in a row by itself, and what looks like this index's job may be another table's.
        if not self._database.dialect.vectors.names_span_tables or self._progress() is None:
            builder.start()
        done = 0.0
        while builder.is_alive() or self._is_being_built():
            if builder.is_alive():
                builder.join(_SECONDS_BETWEEN_LOOKS)
            # Each phase of a build counts from zero again.
            done = max(done, self._progress() or 0.0)
            on_progress(done)
        if errors and not isinstance(errors[0], DatabaseUnavailable) and self.name not in self.existing():
            raise errors[0]

    def _progress(self) -> float | None:
        names = {"schema": self._table.name.schema, "table": self._table.name.name, "index": self.name}
        try:
            found = self._database.fetch(index_progress(self._database.dialect), names)
        except DatabaseError as error:
            # Who may build an index need not be allowed to see jobs.
            logger.info("the progress of the build is not to be seen: %s", error)
            return None
        return float(found[0][0] or 0.0) if found else None

    def _is_being_built(self) -> bool:
        """Whether the server goes on building for a connection that is gone."""
        if self.name in self.existing() or self._progress() is None:
            return False
        time.sleep(_SECONDS_BETWEEN_LOOKS)
        return True


def existing_indexes(database: Database, table: Table, spec: VectorColumn) -> dict[str, IndexDefinition]:
    """The finished vector indexes over a column, by name."""
    rows = database.fetch(
        describe_indexes(database.dialect, table), {"schema": table.name.schema, "table": table.name.name}
    )
    return database.dialect.vectors.parse_description(rows, spec.output)
