"""Tables with every kind of primary key: creating and filling them, and reading their vectors."""

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import sql

from crdbvec_pipelines.config import VectorColumn, vector_column
from crdbvec_pipelines.keyspace import Bound

TABLE = sql.Identifier("public", "passage")

Key = Bound

_NAMESPACE = uuid.UUID("a3bb189e-8bf9-3888-9912-ace4e6543002")
# Texts that reveal errors in quoting and encoding: quotes, backslashes, percent signs, placeholders, the separators of
# partition keys, blanks, line breaks, other scripts, an emoji outside the basic multilingual plane.
_SPECIAL_TEXTS = (
    "plain",
    "it's",
    'say "so"',
    "back\\slash\\",
    "100%",
    "%(limit)s",
    "%s",
    "a:b::c-d",
    " spaces  ",
    "tab\tline\n",
    "{brace}",
    "Ünïcödé",
    "東京",
    "🐘",
    "$1;--",
    "min",
)


def special_text(number: int) -> str:
    """Return a different text for each number; the empty text for 0."""
    return "" if number == 0 else f"{_SPECIAL_TEXTS[number % len(_SPECIAL_TEXTS)]}{number}"


@dataclass(frozen=True)
class KeyShape:
    """A kind of primary key: its columns with their types, and the key of each row number."""

    name: str
    columns: Mapping[str, str]
    key: Callable[[int], Key]

    def __str__(self) -> str:
        return self.name


SHAPES = (
    KeyShape("uuid", {"id": "UUID"}, lambda number: (uuid.uuid5(_NAMESPACE, str(number)),)),
    KeyShape("int8", {"id": "INT8"}, lambda number: (number * 1_000_003 - 7_000_000,)),
    KeyShape("text", {"id": "TEXT"}, lambda number: (special_text(number),)),
    KeyShape(
        "composite",
        {"realm": "TEXT", "chapter": "INT4", "verse": "INT8"},
        lambda number: (special_text(number % 5), number // 5 % 13 - 6, number),
    ),
)
UUID_SHAPE, INT_SHAPE, TEXT_SHAPE, COMPOSITE_SHAPE = SHAPES


def create_table(
    connection: psycopg.Connection,
    shape: KeyShape = INT_SHAPE,
    texts: Sequence[str | None] = (),
    table: sql.Identifier = TABLE,
) -> None:
    """Create a table with a key of this shape and a column `passage`, and insert the texts."""
    columns = [sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(kind)) for name, kind in shape.columns.items()]
    connection.execute(
        sql.SQL("CREATE TABLE {} ({}, passage TEXT, PRIMARY KEY ({}))").format(
            table, sql.SQL(", ").join(columns), sql.SQL(", ").join(map(sql.Identifier, shape.columns))
        )
    )
    insert_rows(connection, shape, dict(enumerate(texts)), table)


def insert_rows(
    connection: psycopg.Connection,
    shape: KeyShape,
    texts: Mapping[int, str | None],
    table: sql.Identifier = TABLE,
) -> None:
    """Insert rows by number."""
    if not texts:
        return
    values = [sql.SQL("{}::{}").format(sql.Placeholder(), sql.SQL(kind)) for kind in shape.columns.values()]
    insert = sql.SQL("INSERT INTO {} ({}, passage) VALUES ({}, %s::TEXT)").format(
        table, sql.SQL(", ").join(map(sql.Identifier, shape.columns)), sql.SQL(", ").join(values)
    )
    with connection.cursor() as cursor:
        cursor.executemany(insert, [(*shape.key(number), text) for number, text in texts.items()])


def set_text(connection: psycopg.Connection, shape: KeyShape, number: int, text: str | None) -> None:
    """Update the text of one row."""
    conditions = [
        sql.SQL("{} = {}::{}").format(sql.Identifier(name), sql.Placeholder(), sql.SQL(kind))
        for name, kind in shape.columns.items()
    ]
    updated = connection.execute(
        sql.SQL("UPDATE {} SET passage = %s::TEXT WHERE {}").format(TABLE, sql.SQL(" AND ").join(conditions)),
        (text, *shape.key(number)),
    )
    assert updated.rowcount == 1


def column(**values: object) -> VectorColumn:
    """Return the vector column of these tables with the counting stub as model; `values` override the entry."""
    entry: dict[str, object] = {
        "table": "public.passage",
        "input": "passage",
        "output": "passage_vector",
        "model": "stub_counting",
        **values,
    }
    if "template" in values:
        entry.pop("input")
    return vector_column(**entry)


def vectors(
    connection: psycopg.Connection,
    shape: KeyShape = INT_SHAPE,
    output: str = "passage_vector",
    table: sql.Identifier = TABLE,
) -> dict[Key, NDArray[np.float32] | None]:
    """Return the vector of each row by key."""
    keys = sql.SQL(", ").join(map(sql.Identifier, shape.columns))
    rows = connection.execute(
        sql.SQL("SELECT {}::TEXT, {} FROM {}").format(sql.Identifier(output), keys, table)
    ).fetchall()
    return {tuple(key): None if vector is None else np.array(json.loads(vector), np.float32) for vector, *key in rows}


def schema_objects(connection: psycopg.Connection) -> list[tuple[object, ...]]:
    """Return all columns, indexes, triggers, functions and extensions of a database on PostgreSQL."""
    found = connection.execute(
        "SELECT c.oid, c.relname, a.attname FROM pg_class AS c LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid "
        "WHERE c.relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace, "
        "'pg_toast'::regnamespace) UNION ALL SELECT oid, tgname, NULL FROM pg_trigger "
        "UNION ALL SELECT oid, proname, NULL FROM pg_proc UNION ALL SELECT oid, extname, NULL FROM pg_extension "
        "ORDER BY 1, 2, 3"
    )
    return found.fetchall()
