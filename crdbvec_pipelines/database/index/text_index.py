"""The text index of a column: whether it exists and matches the configuration, its build, its removal."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from psycopg import sql

from crdbvec_pipelines.database.column import BoundColumn, ColumnDefinition
from crdbvec_pipelines.database.dialects import Dialect
from crdbvec_pipelines.database.index.text_document import (
    document,
    is_configured_text_index,
    is_text_index_name,
    text_index_name,
)
from crdbvec_pipelines.database.schema.ddl import change_schema
from crdbvec_pipelines.database.schema.prepare import partition_columns
from crdbvec_pipelines.database.schema.statements import drop_index, table_indexes
from crdbvec_pipelines.database.statement import online_ddl, statement

TextIndexState = Literal["none", "not built", "built", "differs"]
"""Not configured; configured and missing; as configured; another language or input than configured."""


@online_ddl
def create_text_index(dialect: Dialect, column: ColumnDefinition, text_index: str) -> sql.Composable:
    """Create the inverted index over the words of the input, without blocking writers."""
    return dialect.create_index(
        index=sql.Identifier(text_index),
        table=column.table.identifier,
        columns=document(column, None),
        predicate=None,
        inverted=True,
    )


@statement
def combine_text_indexes(dialect: Dialect, column: ColumnDefinition, text_index: str) -> sql.Composable:
    """Create the text index of a partitioned table from those of its partitions."""
    return dialect.create_index(
        index=sql.Identifier(text_index),
        table=column.table.identifier,
        columns=document(column, None),
        predicate=None,
        online=False,
        inverted=True,
    )


@dataclass(frozen=True)
class _Existing:
    """The text indexes of a column that the table has.

    Attributes:
        usable: The name of the one with the configured definition; None if there is none, or it is not complete.
        others: Those with another definition, and what failed builds have left.
    """

    usable: str | None
    others: list[str]


class TextIndex:
    """The text index of one column on an open database.

    Args:
        column: The vector column; it need not exist yet.
    """

    def __init__(self, column: BoundColumn) -> None:
        self._column = column
        self._database = column.database

    @property
    def name(self) -> str | None:
        """The name of the complete index with the configured definition; None if there is none."""
        return self._existing().usable

    @property
    def state(self) -> TextIndexState:
        """Whether the index is there, and as configured."""
        if self._column.spec.text_index is None:
            return "none"
        existing = self._existing()
        if existing.usable is not None:
            return "built"
        return "differs" if existing.others else "not built"

    def build(self) -> bool:
        """Build the index unless it exists, drop those with another definition, and return whether it was built.

        Raises:
            TableError: No column of the input can be part of a text index.
            ConfigurationError: The entry has no text index.
            DatabaseError: The server rejected the statement.
        """
        name = text_index_name(self._column)
        existing = self._existing()
        is_missing = existing.usable is None
        if is_missing:
            # What a failed build has left has the name of the index.
            self._drop(other for other in existing.others if other == name)
            self._create(name)
        self._drop(other for other in existing.others if other != name)
        return is_missing

    def _create(self, name: str) -> None:
        dialect, column = self._database.dialect, self._column
        if not column.table.is_partitioned:
            change_schema(self._database, create_text_index(dialect, column, name))
            return
        # An index of a partitioned table cannot be built without blocking writers; those of its partitions can.
        for partition in partition_columns(column):
            TextIndex(partition).build()
        change_schema(self._database, combine_text_indexes(dialect, column, name))

    def _drop(self, indexes: Iterable[str]) -> None:
        for index in indexes:
            change_schema(self._database, drop_index(self._database.dialect, self._column.table, index))

    def _existing(self) -> _Existing:
        column = self._column
        usable, others = None, []
        for index, is_usable, *_ in self._database.fetch(
            table_indexes(self._database.dialect), {"oid": column.table.oid}
        ):
            if is_usable and is_configured_text_index(column, index):
                usable = index
            elif is_text_index_name(column, index):
                others.append(index)
        return _Existing(usable, others)
