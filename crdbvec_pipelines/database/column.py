"""A vector column bound to its table, its configuration entry and its model, and optionally to an open database.

Statements are built from a `ColumnDefinition`. Code that sends statements takes a `BoundColumn`. `open_column` only
reads; the function that changes the schema is `database.schema.prepare.prepare_column`.
"""

from dataclasses import dataclass, replace
from typing import Protocol

from crdbvec_pipelines.config import Metric, VectorColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.errors import TableError
from crdbvec_pipelines.database.metrics import VECTOR_TYPES
from crdbvec_pipelines.database.table import Table, check_column, read_table, read_table_oid


class ModelIdentity(Protocol):
    """The properties of a model that this layer needs. `encoding.encoder.Encoder` computes them on first use."""

    @property
    def model_id(self) -> str:
        """The text that distinguishes the vectors of this model from those of any other; part of each fingerprint."""
        ...

    @property
    def dim(self) -> int:
        """The dimension of its vectors."""
        ...

    @property
    def metric(self) -> Metric:
        """The metric that its vectors are made for."""
        ...


def fingerprint_seed(model_id: str) -> str:
    """Return the text that every fingerprint of a model starts with.

    The newline separates the model's name from the input.
    """
    return f"{model_id}\n"


@dataclass(frozen=True)
class ColumnDefinition:
    """A vector column of an existing table.

    Attributes:
        table: The table as the server describes it.
        spec: The configuration entry.
        model: The model that makes the vectors.
    """

    table: Table
    spec: VectorColumn
    model: ModelIdentity

    @property
    def metric(self) -> Metric:
        """The metric of index and searches: the configured one, otherwise the model's."""
        return (self.spec.index.metric if self.spec.index else None) or self.model.metric

    @property
    def seed(self) -> dict[str, object]:
        """The parameter `seed` of every statement that computes a fingerprint."""
        return {"seed": fingerprint_seed(self.model.model_id)}

    @property
    def vector_type(self) -> str:
        """The type of the vector column: `vector`, or the type of an existing column, which may be `halfvec`."""
        output = self.table.columns.get(self.spec.output)
        return output.type_name if output is not None and output.type_name in VECTOR_TYPES else VECTOR_TYPES[0]

    @property
    def exists(self) -> bool:
        """Whether the table has the vector column."""
        return self.spec.output in self.table.columns

    def __str__(self) -> str:
        return str(self.spec)


@dataclass(frozen=True)
class BoundColumn(ColumnDefinition):
    """A vector column on an open database.

    Attributes:
        database: The open database.
    """

    database: Database

    @property
    def is_replaced(self) -> bool:
        """Whether the name of the table is now that of another table, or of none."""
        return read_table_oid(self.database, self.spec.table) != self.table.oid

    def reread(self) -> "BoundColumn":
        """Return the column with the table as it is now, after a change of the schema."""
        return replace(self, table=read_table(self.database, self.spec.table))


def bind_column(database: Database, spec: VectorColumn, model: ModelIdentity) -> BoundColumn:
    """Bind a vector column to its table, which is read but not checked; no property of the model is read.

    Raises:
        TableError: The table is missing or has no primary key.
    """
    return BoundColumn(read_table(database, spec.table), spec, model, database)


def open_column(database: Database, spec: VectorColumn, model: ModelIdentity) -> BoundColumn:
    """Bind a vector column to its table, which is read and checked but not changed.

    Raises:
        TableError: The table is missing, has no primary key, or cannot hold the column.
    """
    column = bind_column(database, spec, model)
    check_column(column.table, spec, model.dim)
    return column


def open_existing_column(database: Database, spec: VectorColumn, model: ModelIdentity) -> BoundColumn:
    """Bind a vector column that must already exist.

    Raises:
        TableError: As `open_column`, or the table has no such column yet.
    """
    column = open_column(database, spec, model)
    if not column.exists:
        raise TableError(f"{spec.table} has no vector column {spec.output} yet. Run `crdbvec embed` first.")
    return column
