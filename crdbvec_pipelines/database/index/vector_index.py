"""The vector index of a column: whether it exists and matches the configuration, its build, and its size."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.database.dialects.vector_support import IndexDefinition
from crdbvec_pipelines.database.errors import DatabaseError, DatabaseUnavailable, TableError
from crdbvec_pipelines.database.index.build import IndexBuild
from crdbvec_pipelines.database.index.replacement import IndexReplacement
from crdbvec_pipelines.database.index.statements import (
    configured_definition,
    count_vectors,
    existing_indexes,
    index_live_records,
    index_size,
    table_size,
    vector_index_name,
    vector_index_names,
)
from crdbvec_pipelines.database.metrics import DISTANCES
from crdbvec_pipelines.database.schema.statements import table_indexes
from crdbvec_pipelines.database.statement import Statement
from crdbvec_pipelines.database.table import read_table_oid
from crdbvec_pipelines.naming import TableName

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class IndexSizes:
    """The sizes of a table and its vector index.

    Attributes:
        table_bytes: The size of the table with all its indexes; None if the role may not read it.
        index_bytes: The size of the index; None if it does not exist, or if the role may not read its size.
        vectors: The number of rows that have a vector.
        full_precision_bytes: The size of these vectors without compression.
    """

    table_bytes: int | None
    index_bytes: int | None
    vectors: int
    full_precision_bytes: int


class VectorIndex:
    """The vector index of one column on an open database.

    Attributes:
        configured: The index as the configuration describes it.

    Args:
        column: The vector column; it need not exist yet.

    Raises:
        TableError: A prefix column does not exist.
    """

    def __init__(self, column: BoundColumn) -> None:
        spec, table = column.spec, column.table
        for name in spec.index.prefix if spec.index else ():
            if name not in table.columns:
                raise TableError(f"{spec.origin}.index.prefix: {spec.table} has no column {name}.")
        self.configured = configured_definition(column.database.dialect, column)
        self._column = column
        self._database = column.database

    @cached_property
    def name(self) -> str:
        """The name of the index.

        If the usual name is that of another table's index, because tables were renamed, it is that of an index with the
        configured definition, or the one to create it under.
        """
        return self._find_name()

    @cached_property
    def _build(self) -> IndexBuild:
        return IndexBuild(self._column, self.name)

    @property
    def replacement(self) -> IndexReplacement:
        """The index that takes the place of an existing one which differs from the configuration."""
        replacement = IndexReplacement(self._column, self.name)
        return replacement if replacement.index != self.name else IndexReplacement(self._column, self._usual_name())

    def existing(self) -> dict[str, IndexDefinition]:
        """Return the finished vector indexes over the column, by name, including those that users created."""
        return existing_indexes(self._column)

    def differences(self) -> list[str]:
        """Return how the existing index differs from the configuration; nothing if it matches or does not exist."""
        found = self.existing().get(self.name)
        return [] if found is None else self._differences(found)

    def _find_name(self) -> str:
        name = vector_index_name(self._column.spec)
        existing = self.existing()
        if name in existing:
            return name
        same = [other for other, found in sorted(existing.items()) if not self._differences(found)]
        if same:
            return same[0]
        return self._usual_name()

    def _usual_name(self) -> str:
        """Return the name to create the index under."""
        name, name_with_table, _ = vector_index_names(self._column.spec, self._column.table.oid)
        if not self._database.dialect.vectors.has_schema_wide_index_names or not self._is_taken(name):
            return name
        return name_with_table

    def _is_taken(self, name: str) -> bool:
        """Return whether the schema has an object of this name that is no index of the table."""
        table = self._column.table
        own = self._database.fetch(table_indexes(self._database.dialect), {"oid": table.oid})
        taken = read_table_oid(self._database, TableName(table.name.schema, name)) is not None
        return taken and name not in {index for index, *_ in own}

    def _differences(self, found: IndexDefinition) -> list[str]:
        configured = self.configured
        spec = self._column.spec.index
        if (spec is None or spec.partial is None) and found.contains_every_vector:
            # Searches use an index with and without the predicate, so a release with another default rebuilds none.
            configured = replace(configured, predicate=found.predicate)
        defaults = self._database.dialect.vectors.parameters
        pairs = [
            ("metric", _metric_name(found), _metric_name(configured)),
            ("prefix", ", ".join(found.prefix) or "none", ", ".join(configured.prefix) or "none"),
            ("predicate", found.predicate or "none", configured.predicate or "none"),
            ("cast", found.cast or "none", configured.cast or "none"),
            ("method", "ivfflat" if found.is_ivfflat else "hnsw", "ivfflat" if configured.is_ivfflat else "hnsw"),
            *(
                (name, found.parameters.get(name, defaults[name]), value)
                for name, value in configured.parameters.items()
            ),
        ]
        return [f"{name}: {actual}, configured: {expected}" for name, actual, expected in pairs if actual != expected]

    def build(
        self,
        *,
        replace: bool = False,
        on_progress: Callable[[float], None] | None = None,
        on_replacement: Callable[[str], None] = lambda _: None,
    ) -> bool:
        """Build the index unless it exists, and return whether it was built.

        The statement runs alone in autocommit mode, in a thread, while its progress is read over another connection.
        If the connection is lost, the function waits for the build, or starts it again if it has ended.

        Args:
            replace: Whether to build an index in place of one that differs from the configuration. Searches use the old
                index until the new one is built.
            on_progress: Receives the completed share, from 0 to 1, about once per second.
            on_replacement: Receives the present name of the new index before it takes the place of the old one. If it
                raises an error, both are kept.

        Raises:
            TableError: The server cannot index this column, the existing index differs and `replace` is false, or
                another object has the name of the index.
            DatabaseError: The server rejected the statement.
        """
        self._database.dialect.vectors.check_index_support(self._column.model.dim, self._column.vector_type)
        progress = on_progress or (lambda _: None)
        differences = self.differences()
        if replace and (differences or self.replacement.state is not None):
            return self._replace(progress, on_replacement)
        if differences:
            raise TableError(
                f"The vector index {self.name} of {self._column.spec.table} differs from the configuration "
                f"({self._column.spec.origin}): {'; '.join(differences)}. Run `crdbvec index build --replace`."
            )
        if self._build.is_complete:
            return False
        self._build.run(progress)
        return True

    def _replace(self, on_progress: Callable[[float], None], on_replacement: Callable[[str], None]) -> bool:
        """Continue the replacement of an index from the state that an earlier one has left; start it without one."""
        replacement = self.replacement
        existing = self.existing()
        if replacement.state == "in use":
            matches = not self._differences(existing[replacement.index])
            replacement.finish()
            return matches or VectorIndex(self._column).build(
                replace=True, on_progress=on_progress, on_replacement=on_replacement
            )
        if not self.differences():
            # The configuration is again that of the old index.
            replacement.drop()
            return VectorIndex(self._column).build(on_progress=on_progress)
        found = existing.get(replacement.index)
        if found is not None and self._differences(found):
            replacement.drop()
            found = None
        if found is None:
            replacement.build(on_progress)
        on_replacement(replacement.index)
        replacement.put_in_use()
        return True

    def drop(self) -> None:
        """Drop the index if it exists.

        Raises:
            DatabaseUnavailable: Another transaction holds a lock on the table and does not end.
        """
        self._build.drop()

    def sizes(self) -> IndexSizes:
        """Return the sizes of the table and the index."""
        dialect, table = self._database.dialect, self._column.table
        (vectors,) = self._database.fetch_one(count_vectors(self._column)) if self._column.exists else (0,)
        return IndexSizes(
            table_bytes=self._read_size(table_size(dialect, table)),
            index_bytes=self._read_size(index_size(dialect, table, self.name)) if self._build.is_complete else None,
            vectors=vectors,
            # Four bytes per dimension and a header of eight bytes.
            full_precision_bytes=vectors * (4 * self._column.model.dim + 8),
        )

    def live_records(self) -> tuple[int, int] | None:
        """Return the live bytes and the number of live records of the index, per replica.

        Returns:
            None if the server has no records, or the role may not read their number.
        """
        query = index_live_records(self._database.dialect, self._column.table, self.name)
        if not query.text:
            return None
        row = self._read_sizes(query)
        return None if row is None else (row[0], row[1])

    def _read_size(self, query: Statement) -> int | None:
        row = self._read_sizes(query)
        return None if row is None else row[0]

    def _read_sizes(self, query: Statement) -> list[int] | None:
        """Return the numbers of a row; None if one is NULL, or the role may not read them."""
        try:
            row = self._database.fetch_one(query)
        except DatabaseUnavailable:
            raise
        except DatabaseError as error:
            # A role that may search and build may still lack the privilege to see ranges.
            logger.info("A size cannot be read: %s", error)
            return None
        return None if None in row else [int(size) for size in row]


def _metric_name(definition: IndexDefinition) -> str:
    """Return the metric of an index, or its operator class if that is not the one of a supported metric."""
    names = {distance.operator_class: metric for metric, distance in DISTANCES.items()}
    return names.get(definition.distance_class, definition.operator_class)
