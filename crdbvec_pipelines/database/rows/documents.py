"""Rows as documents: a text with an id and metadata, for the vector stores of other libraries.

Only the key, the input and one column of JSON are written. The vector is left to a refresh, like that of any row.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from crdbvec_pipelines.database.aliases import aliased, reference
from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.database.errors import TableError
from crdbvec_pipelines.database.expressions import key_equals, key_list, placeholder
from crdbvec_pipelines.database.statement import statement
from crdbvec_pipelines.database.table import Column, Table

_JSON_TYPES = ("json", "jsonb")


@dataclass(frozen=True)
class Document:
    """A row as a document.

    Attributes:
        id: The value of the key as text.
        text: The input.
        metadata: The content of the column of JSON; empty without one.
    """

    id: str
    text: str
    metadata: Mapping[str, Any]


@statement
def write_document(table: Table, text_column: Column, metadata_column: Column | None) -> sql.Composable:
    """Insert a row with a key, an input and metadata, or update the row with this key."""
    columns = [text_column, *([metadata_column] if metadata_column else [])]
    names = ["text", "metadata"]
    return sql.SQL(
        "INSERT INTO {table} ({names}) VALUES ({values}) ON CONFLICT ({key}) DO UPDATE SET {changes}"
    ).format(
        table=table.identifier,
        names=sql.SQL(", ").join(sql.Identifier(each.name) for each in (*table.key, *columns)),
        values=sql.SQL(", ").join(
            [
                *(placeholder(each, f"key_{position}") for position, each in enumerate(table.key)),
                *(placeholder(each, name) for each, name in zip(columns, names, strict=False)),
            ]
        ),
        key=sql.SQL(", ").join(sql.Identifier(each.name) for each in table.key),
        changes=sql.SQL(", ").join(sql.SQL("{0} = excluded.{0}").format(sql.Identifier(each.name)) for each in columns),
    )


@statement
def read_document(table: Table, text_column: Column, metadata_column: Column | None) -> sql.Composable:
    """Return key, input and metadata of the row with a key."""
    metadata = sql.SQL("NULL") if metadata_column is None else reference(metadata_column.name)
    return sql.SQL("SELECT {}, {}, {} FROM {} WHERE {}").format(
        key_list(table), reference(text_column.name), metadata, aliased(table), key_equals(table)
    )


@statement
def delete_document(table: Table) -> sql.Composable:
    """Delete the row with a key."""
    return sql.SQL("DELETE FROM {} WHERE {}").format(aliased(table), key_equals(table))


@statement
def delete_documents_of(table: Table, metadata_column: Column) -> sql.Composable:
    """Delete the rows whose metadata have a text at a path: the parts of one source document."""
    return sql.SQL("DELETE FROM {} WHERE ({}::jsonb #>> %(path)s::text[]) = %(value)s::text").format(
        aliased(table), reference(metadata_column.name)
    )


class Documents:
    """The rows of one vector column as documents.

    Args:
        column: The vector column. Its input is one column of text, and the key of its table is one column.
        metadata_column: The column of type jsonb with the metadata; None if there is none.

    Raises:
        TableError: The table cannot hold documents.
    """

    def __init__(self, column: BoundColumn, metadata_column: str | None = None) -> None:
        table, inputs = column.table, column.spec.input_columns
        self._table = table
        self._database = column.database
        if len(table.key) != 1:
            raise TableError(f"{table.name} has a key of {len(table.key)} columns, but a document has one id.")
        if column.spec.template is not None or len(inputs) != 1 or not table.columns[inputs[0]].is_text:
            raise TableError(f"The input of {column} is not one column of text, so its rows are not documents.")
        self._text = table.columns[inputs[0]]
        self._metadata: Column | None = None
        if metadata_column is not None:
            self._metadata = table.columns.get(metadata_column)
            if self._metadata is None or self._metadata.type_name not in _JSON_TYPES:
                raise TableError(f"{table.name} has no column {metadata_column} of type jsonb for metadata.")

    @property
    def has_text_ids(self) -> bool:
        """Whether a random UUID is a valid id."""
        return self._table.key[0].is_text or self._table.key[0].type_name == "uuid"

    def subject(self, name: str) -> str:
        """Return the subject of a filter on a piece of metadata: a column of the table, or a path into the metadata."""
        if name in self._table.columns or self._metadata is None:
            return name
        return f"{self._metadata.name}.{name}"

    def write(self, documents: Sequence[Document]) -> None:
        """Insert documents, or update the rows that have their ids."""
        if self._metadata is None and any(each.metadata for each in documents):
            raise TableError(f"The documents have metadata, but no column of {self._table.name} is given for them.")
        query = write_document(self._table, self._text, self._metadata)
        rows = [
            {"key_0": each.id, "text": each.text, "metadata": json.dumps(dict(each.metadata))} for each in documents
        ]
        if rows:
            self._database.execute_many(query, rows)

    def read(self, ids: Sequence[str]) -> list[Document]:
        """Return the documents with some ids, without those that do not exist."""
        query = read_document(self._table, self._text, self._metadata)
        rows = [row for each in ids for row in self._database.fetch(query, {"key_0": each})]
        return [Document(str(key), str(text or ""), metadata or {}) for key, text, metadata in rows]

    def delete(self, ids: Sequence[str]) -> int:
        """Delete the rows with some ids, and return how many there were."""
        rows = [{"key_0": each} for each in ids]
        return self._database.execute_many(delete_document(self._table), rows).rows if rows else 0

    def delete_where(self, path: Sequence[str], value: str) -> int:
        """Delete the rows whose metadata have a text at a path, and return how many there were."""
        if self._metadata is None:
            raise TableError(f"No column of {self._table.name} is given for metadata, so no row can be found by it.")
        query = delete_documents_of(self._table, self._metadata)
        return self._database.execute(query, {"path": list(path), "value": value})
