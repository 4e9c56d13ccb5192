"""The chunk table: one row for each chunk of an input, in a table that this project owns.

Its key is that of the source table and the number of the chunk. In the source table, the output column contains the
number of chunks of each row in place of a vector: NULL makes a row pending, as everywhere. The chunk table is at the
same time a table with an ordinary vector column, which the vector index and its measurements use as such.
"""

from dataclasses import replace

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.column import BoundColumn, ColumnDefinition
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.errors import TableError
from crdbvec_pipelines.database.identifiers import short_name
from crdbvec_pipelines.database.metrics import VECTOR_TYPES
from crdbvec_pipelines.database.table import Column, Table, read_table, read_table_oid
from crdbvec_pipelines.naming import TableName

NUMBER, START, END, TEXT = "chunk_number", "chunk_start", "chunk_end", "chunk_text"
OWN_COLUMNS = (NUMBER, START, END, TEXT)
"""The columns of a chunk table besides those of the source table and the vector."""


def chunk_table_name(spec: VectorColumn) -> TableName:
    """Return the name of the chunk table of an entry."""
    return TableName(spec.table.schema, short_name(f"{spec.table.name}_{spec.output}", "chunks"))


def copied_columns(column: ColumnDefinition) -> list[Column]:
    """Return the columns that chunks have copies of: the prefix columns of the index that are not part of the key.

    Raises:
        TableError: A prefix column does not exist.
    """
    table, index = column.table, column.spec.index
    key = {part.name for part in table.key}
    missing = [name for name in (index.prefix if index else ()) if name not in table.columns]
    if missing:
        raise TableError(f"{column.spec.origin}.index.prefix: {column.spec.table} has no column {missing[0]}.")
    return [table.columns[name] for name in (index.prefix if index else ()) if name not in key]


def check_chunk_columns(column: ColumnDefinition) -> None:
    """Check that the columns of the source table can be copied into a chunk table.

    Raises:
        TableError: A key or prefix column has the name of a column of the chunk table.
    """
    for part in (*column.table.key, *copied_columns(column)):
        if part.name in (*OWN_COLUMNS, column.spec.output):
            raise TableError(
                f"{column.spec.origin}: the column {part.name} of {column.spec.table} would be copied into the chunk "
                "table, which has a column of this name already. Rename the column."
            )


def chunk_definition(column: ColumnDefinition) -> ColumnDefinition:
    """Return the chunk table as a table with a vector column, as it is created."""
    spec, source = column.spec, column.table
    own = [
        *(replace(part, generated="", is_domain=False) for part in (*source.key, *copied_columns(column))),
        *(Column(name, "int8", "bigint", -1, is_nullable=False) for name in (NUMBER, START, END)),
        *([Column(TEXT, "text", "text", -1)] if spec.chunking and spec.chunking.store_text else []),
        Column(spec.output, VECTOR_TYPES[0], VECTOR_TYPES[0], -1, is_nullable=False),
    ]
    columns = {each.name: each for each in own}
    key = (*(columns[part.name] for part in source.key), columns[NUMBER])
    table = Table(chunk_table_name(spec), columns, key, source.dialect)
    return ColumnDefinition(table, chunk_spec(spec), column.model)


def chunk_spec(spec: VectorColumn) -> VectorColumn:
    """Return the entry of the chunk table as that of a table with a vector column."""
    return spec.model_copy(
        update={
            "table": chunk_table_name(spec),
            "input": NUMBER,
            "template": None,
            "long_inputs": None,
            "chunks": None,
            "staleness": "nulls_only",
            "updated_at": None,
            "updated_at_timezone": None,
            "target_lag": None,
            "text_index": None,
        }
    )


def has_chunk_table(column: BoundColumn) -> bool:
    """Return whether the chunk table of a column exists."""
    return read_table_oid(column.database, chunk_table_name(column.spec)) is not None


def bind_chunks(column: BoundColumn) -> BoundColumn:
    """Return the chunk table as a table with a vector column, as the server describes it.

    Raises:
        TableError: There is no chunk table yet, or its vectors have another dimension than those of the model.
    """
    name = chunk_table_name(column.spec)
    if read_table_oid(column.database, name) is None:
        raise TableError(f"{column.spec.table} has no chunk table {name} yet. Run `crdbvec embed` first.")
    chunks = BoundColumn(read_table(column.database, name), chunk_spec(column.spec), column.model, column.database)
    output = chunks.table.columns.get(column.spec.output)
    if output is None or output.modifier != column.model.dim:
        found = "no vectors" if output is None else f"vectors of dimension {output.modifier}"
        raise TableError(
            f"{column.spec.origin}: the chunk table {name} has {found}, but those of the model {column.spec.model} "
            f"have {column.model.dim}. Choose another output, or run `crdbvec uninstall` for this one first."
        )
    return chunks


def vectors_of(column: BoundColumn) -> BoundColumn:
    """Return the column that the vector index and measurements of vectors are about: that of the chunk table, if any.

    Raises:
        TableError: As `bind_chunks`.
    """
    return column if column.spec.chunking is None else bind_chunks(column)


def read_chunk_columns(database: Database, spec: VectorColumn) -> set[str]:
    """Return the names of the columns of the chunk table; none if it does not exist."""
    name = chunk_table_name(spec)
    return set() if read_table_oid(database, name) is None else set(read_table(database, name).columns)
