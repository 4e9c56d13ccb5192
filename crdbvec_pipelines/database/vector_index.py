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
from crdbvec_pipelines.database.dialects.vectors import IndexDefinition
from crdbvec_pipelines.database.errors import DatabaseError, DatabaseUnavailable, TableError
from crdbvec_pipelines.database.introspect import Table
from crdbvec_pipelines.database.metrics import DISTANCES
from crdbvec_pipelines.database.names import short_name
from crdbvec_pipelines.database.schema import drop_index
from crdbvec_pipelines.database.statement import statement
from crdbvec_pipelines.encoding.contract import Metric
from crdbvec_pipelines.errors import CrdbvecError

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_LOOKS = 1.0
_BUILDS = 3


@dataclass(frozen=True)
class IndexSizes:
    """Bytes, and what vectors in full precision take of them. `table` counts all indexes in."""

    table: int
    index: int
    vectors: int


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
def index_sizes(dialect: Dialect, table: Table, index: str) -> sql.Composable:
    """Bytes of a table and of its index."""
    return dialect.vectors.sizes(table.name, index)


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
        asked.partial,
        {name: value for name, value in asked.parameters.items() if name in known},
    )


def left_out(dialect: Dialect, spec: VectorColumn) -> str | None:
    """What the configuration asks of the index and the server does not have, as a sentence."""
    asked = spec.index or IndexSpec()
    missing = sorted(set(asked.parameters) - dialect.vectors.parameters)
    prefix = [] if dialect.vectors.has_prefixes else list(asked.prefix)
    if not missing and not prefix:
        return None
    parts = [*(["prefix columns"] if prefix else []), *missing]
    return (
        f"{dialect.name} has no {', '.join(parts)} in a vector index, so the index is built without; "
        + ("searches filtered by the prefix are answered correctly all the same." if prefix else "")
    ).strip("; ")


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

    def existing(self) -> dict[str, IndexDefinition]:
        """The finished vector indexes over the column, by name, whoever made them."""
        return existing_indexes(self._database, self._table, self._spec)

    def differences(self) -> list[str]:
        """How the existing index of our name differs from what is asked; empty if it does not, or is not there."""
        found = self.existing().get(self.name)
        if found is None:
            return []
        wanted = self.wanted
        pairs = [
            ("metric", found.operator_class, wanted.operator_class),
            ("prefix", ", ".join(found.prefix) or "none", ", ".join(wanted.prefix) or "none"),
            ("predicate", _predicate(found), _predicate(wanted)),
            *((name, found.parameters.get(name, "default"), value) for name, value in wanted.parameters.items()),
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
            TableError: the server cannot index this, or the existing index differs and `replace` is off.
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
        for _ in range(_BUILDS):
            self._build_once(on_progress or (lambda _: None))
            if self.name in self.existing():
                return True
            # A build that died leaves an invalid index of the name, which would be taken for done.
            self.drop()
        raise CrdbvecError(
            f"The vector index {self.name} of {self._spec.table} was begun {_BUILDS} times and never finished; "
            "the server's log says why. Searches are answered exactly meanwhile."
        )

    def drop(self) -> None:
        """Removes the index, if it is there."""
        self._database.execute(drop_index(self._table, self.name))

    def sizes(self) -> IndexSizes:
        """How large table and index are, in bytes."""
        table, index = self._database.fetch_one(index_sizes(self._database.dialect, self._table, self.name))
        (vectors,) = self._database.fetch_one(count_vectors(self._table, self._spec))
        return IndexSizes(int(table or 0), int(index or 0), vectors * (4 * self._dimension + 8))

    def _build_once(self, on_progress: Callable[[float], None]) -> None:
        errors: list[CrdbvecError] = []

        def create() -> None:
            ddl = create_vector_index(self._database.dialect, self._table, self._spec, self._metric)
            try:
                self._database.execute(ddl)
            except CrdbvecError as error:
                errors.append(error)

        builder = threading.Thread(target=create, name="crdbvec-index", daemon=True)
        builder.start()
        while builder.is_alive() or self._is_being_built():
            builder.join(_SECONDS_BETWEEN_LOOKS)
            share = self._progress()
            if share is not None:
                on_progress(share)
        if errors and not isinstance(errors[0], DatabaseUnavailable):
            raise errors[0]
        on_progress(1.0)

    def _progress(self) -> float | None:
        names = {"schema": self._table.name.schema, "index": self.name}
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


def _predicate(definition: IndexDefinition) -> str:
    return "IS NOT NULL" if definition.partial else "none"
