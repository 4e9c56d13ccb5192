"""Tables of every key shape, filled with as many rows as a test wants, and what is in them afterwards."""

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
# What people put into keys, and what trips over quoting: quotes, backslashes, percent signs, placeholders, separators
# of our own partition keys, blanks, line ends, other scripts, an emoji outside the basic plane.
_ODD = (
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


def odd_text(number: int) -> str:
    """A text for each number, all different; the empty one for 0."""
    return "" if number == 0 else f"{_ODD[number % len(_ODD)]}{number}"


@dataclass(frozen=True)
class KeyShape:
    """One kind of primary key: its columns with their types, and the key of each row."""

    name: str
    columns: Mapping[str, str]
    key: Callable[[int], Key]

    def __str__(self) -> str:
        return self.name


SHAPES = (
    KeyShape("uuid", {"id": "UUID"}, lambda number: (uuid.uuid5(_NAMESPACE, str(number)),)),
    KeyShape("int8", {"id": "INT8"}, lambda number: (number * 1_000_003 - 7_000_000,)),
    KeyShape("text", {"id": "TEXT"}, lambda number: (odd_text(number),)),
    KeyShape(
        "composite",
        {"realm": "TEXT", "chapter": "INT4", "verse": "INT8"},
        lambda number: (odd_text(number % 5), number // 5 % 13 - 6, number),
    ),
)
UUID_SHAPE, INT_SHAPE, TEXT_SHAPE, COMPOSITE_SHAPE = SHAPES


def create_table(
    connection: psycopg.Connection,
    shape: KeyShape = INT_SHAPE,
    texts: Sequence[str | None] = (),
    table: sql.Identifier = TABLE,
) -> None:
    """Creates a table with a key of this shape and a column `passage`, and fills it with the texts."""
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
    """Adds rows by number."""
    if not texts:
        return
    places = [sql.SQL("{}::{}").format(sql.Placeholder(), sql.SQL(kind)) for kind in shape.columns.values()]
    insert = sql.SQL("INSERT INTO {} ({}, passage) VALUES ({}, %s::TEXT)").format(
        table, sql.SQL(", ").join(map(sql.Identifier, shape.columns)), sql.SQL(", ").join(places)
    )
    with connection.cursor() as cursor:
        cursor.executemany(insert, [(*shape.key(number), text) for number, text in texts.items()])


def set_text(connection: psycopg.Connection, shape: KeyShape, number: int, text: str | None) -> None:
    """Edits one row."""
    tests = [
        sql.SQL("{} = {}::{}").format(sql.Identifier(name), sql.Placeholder(), sql.SQL(kind))
        for name, kind in shape.columns.items()
    ]
    done = connection.execute(
        sql.SQL("UPDATE {} SET passage = %s::TEXT WHERE {}").format(TABLE, sql.SQL(" AND ").join(tests)),
        (text, *shape.key(number)),
    )
    assert done.rowcount == 1


def column(**values: object) -> VectorColumn:
    """The vector column of these tables, by the counting stub, unless told otherwise."""
    given: dict[str, object] = {
        "table": "public.passage",
        "input": "passage",
        "output": "passage_vector",
        "model": "stub_counting",
        **values,
    }
    if "template" in values:
        given.pop("input")
    return vector_column(**given)


def vectors(
    connection: psycopg.Connection,
    shape: KeyShape = INT_SHAPE,
    output: str = "passage_vector",
    table: sql.Identifier = TABLE,
) -> dict[Key, NDArray[np.float32] | None]:
    """Each row's vector, by key."""
    keys = sql.SQL(", ").join(map(sql.Identifier, shape.columns))
    found = connection.execute(
        sql.SQL("SELECT {}::TEXT, {} FROM {}").format(sql.Identifier(output), keys, table)
    ).fetchall()
    return {tuple(key): None if vector is None else np.array(json.loads(vector), np.float32) for vector, *key in found}
