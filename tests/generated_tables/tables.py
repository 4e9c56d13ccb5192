"""Generated tables: names, key columns, input columns and rows, as a strategy of hypothesis.

What the input of a row is, is computed here in Python from its values, independently of the product's SQL.
"""

import string
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any, Literal

import psycopg
from hypothesis import strategies as st
from psycopg import sql

from crdbvec_pipelines.config import VectorColumn, vector_column
from crdbvec_pipelines.naming import TableName

# Words that the product uses for its own columns, aliases and parameters, and names that need quotation marks.
NAMES = (
    *("total", "place", "position", "distance", "query", "key", "keys", "input", "value", "text", "rows", "id", "e"),
    *("t", "c", "v", "s", "n", "excluded", "vector", "fingerprint", "seed", "lower_0", "key_0", "embedded", "hits"),
    *("select", "user", "order", "Größe", 'with "quotes"', "per%cent", "semi;colon", "brace{s}", "a.b", "MixedCase"),
)
_WORDS = ("amber", "birch", "copper", "delta", "ember", "fjord", "garnet", "harbor", "iris", "jade")
_BLANKS = ("", " ", "\t\n", "  \r\n")


@dataclass(frozen=True)
class Kind:
    """A type of a column.

    Attributes:
        sql_type: The type in SQL.
        values: The strategy of its values that have content.
        text: The text of a value in an input of several columns.
        blanks: Values without content, other than NULL.
    """

    sql_type: str
    values: st.SearchStrategy[Any]
    text: Callable[[Any], str] = str
    blanks: Sequence[Any] = ()

    def __str__(self) -> str:
        return self.sql_type

    def has_content(self, value: object) -> bool:
        return value is not None and value not in self.blanks


_words = st.lists(st.sampled_from(_WORDS), min_size=1, max_size=4).map(" ".join)
_no_separators = st.characters(codec="utf-8", exclude_categories=["Cc", "Cf", "Zs", "Zl", "Zp", "Mn"])
_dates = st.dates(date(1900, 1, 1), date(2100, 1, 1))
_numbers = st.decimals(-10_000, 10_000, places=3, allow_nan=False)

INPUT_KINDS = (
    Kind("TEXT", _words | st.text(_no_separators, min_size=1, max_size=30), blanks=_BLANKS),
    Kind("VARCHAR(200)", _words, blanks=_BLANKS),
    Kind("INT8", st.integers(-(2**62), 2**62)),
    Kind("BOOLEAN", st.booleans(), text=lambda value: "true" if value else "false"),
    Kind("NUMERIC(12,3)", _numbers, text=lambda value: f"{value:.3f}"),
    Kind("UUID", st.uuids()),
    Kind("DATE", _dates),
)
KEY_KINDS = (
    Kind("INT8", st.integers(-(2**62), 2**62)),
    Kind("INT4", st.integers(-(2**31), 2**31 - 1)),
    Kind("TEXT", st.text(string.printable, max_size=20)),
    Kind("VARCHAR(60)", st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)),
    Kind("UUID", st.uuids()),
    Kind("DATE", _dates),
    Kind("TIMESTAMPTZ", st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))),
    Kind("NUMERIC(12,3)", _numbers),
    Kind("BYTEA", st.binary(max_size=12)),
)

TEXT_TYPES = ("TEXT", "VARCHAR(200)")

Hindrance = Literal["none", "discard", "rewrite"]
Key = tuple[Any, ...]
Values = tuple[Any, ...]


@dataclass(frozen=True)
class GeneratedTable:
    """A table, a vector column of it, and what happens to its rows.

    Attributes:
        schema: The name of its schema, which contains nothing else.
        name: The name of the table.
        keys: The key columns with their kinds, by name.
        inputs: The input columns with their kinds, by name.
        form: Whether the input is one column, a list of columns or a template.
        staleness: How edited rows are found.
        rows: The first rows by key.
        inserted: Rows that are inserted later.
        edited: New values of some of the first rows.
        deleted: Keys of first rows that are deleted.
        batch_size: Rows per batch.
        is_followed: Whether the changed rows are embedded by a follower, and not by a run.
        hindrance: What a trigger of the application does with each update: nothing, discard it, or change the input.
        has_chunks: Whether texts are divided into chunks.
    """

    schema: str
    name: str
    keys: dict[str, Kind]
    inputs: dict[str, Kind]
    form: str
    staleness: str
    rows: dict[Key, Values]
    inserted: dict[Key, Values]
    edited: dict[Key, Values]
    deleted: frozenset[Key]
    batch_size: int
    is_followed: bool
    hindrance: Hindrance
    has_chunks: bool = False

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)

    @property
    def column(self) -> VectorColumn:
        """The configuration entry."""
        names = list(self.inputs)
        entry: dict[str, object] = {
            "table": str(TableName(self.schema, self.name)),
            "output": "crdb_vector",
            "model": "stub_hash",
            "staleness": self.staleness,
            "batch_size": self.batch_size,
        }
        if self.form == "template":
            entry["template"] = "; ".join(f"{number} {{{name}}}" for number, name in enumerate(names))
        else:
            entry["input"] = names[0] if self.form == "column" else names
        if self.has_chunks:
            entry |= {"long_inputs": "chunks", "chunks": {"size": 8, "overlap": 2}}
        return vector_column(**entry)

    def input(self, values: Values) -> object:
        """Return the input of a row; None if it has no content."""
        kinds = list(self.inputs.values())
        if not any(kind.has_content(value) for kind, value in zip(kinds, values, strict=True)):
            return None
        # A list of one column is that column.
        if self.form != "template" and len(values) == 1:
            return values[0]
        texts = [None if value is None else kind.text(value) for kind, value in zip(kinds, values, strict=True)]
        if self.form == "template":
            return "; ".join(f"{number} {text or ''}" for number, text in enumerate(texts))
        return "\n".join(text for text in texts if text is not None)

    @contextmanager
    def created(self, connection: psycopg.Connection) -> Iterator[None]:
        """Create the table in a new schema, and drop the schema with everything in it at the end."""
        schema = sql.Identifier(self.schema)
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(schema))
        try:
            self._create(connection)
            yield
        finally:
            connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(schema))

    def _create(self, connection: psycopg.Connection) -> None:
        """Create the table with its first rows, and a column that must never change."""
        definitions = [
            sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(kind.sql_type))
            for name, kind in {**self.keys, **self.inputs}.items()
        ]
        connection.execute(
            sql.SQL("CREATE TABLE {} ({}, untouched UUID NOT NULL DEFAULT gen_random_uuid(), PRIMARY KEY ({}))").format(
                self.identifier,
                sql.SQL(", ").join(definitions),
                sql.SQL(", ").join(map(sql.Identifier, self.keys)),
            )
        )
        self.insert(connection, self.rows)
        if self.hindrance != "none":
            self._hinder(connection)

    def _hinder(self, connection: psycopg.Connection) -> None:
        """Create the trigger that hinders updates."""
        function = sql.Identifier(self.schema, "hinder")
        first = sql.Identifier(next(iter(self.inputs)))
        body = {
            "discard": sql.SQL("BEGIN RETURN NULL; END"),
            "rewrite": sql.SQL("BEGIN NEW.{0} := NEW.{0} || '!'; RETURN NEW; END").format(first),
        }[self.hindrance]
        connection.execute(
            sql.SQL("CREATE FUNCTION {}() RETURNS TRIGGER LANGUAGE plpgsql AS {}").format(
                function, sql.Literal(body.as_string(connection))
            )
        )
        connection.execute(
            sql.SQL("CREATE TRIGGER hinder BEFORE UPDATE ON {} FOR EACH ROW EXECUTE FUNCTION {}()").format(
                self.identifier, function
            )
        )

    def insert(self, connection: psycopg.Connection, rows: dict[Key, Values]) -> None:
        """Insert rows. Values are literals, because psycopg takes a percent sign in a name for a parameter."""
        columns = {**self.keys, **self.inputs}
        for key, values in rows.items():
            connection.execute(
                sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
                    self.identifier,
                    sql.SQL(", ").join(map(sql.Identifier, columns)),
                    sql.SQL(", ").join(
                        _literal(kind, value) for kind, value in zip(columns.values(), (*key, *values), strict=True)
                    ),
                )
            )

    def edit(self, connection: psycopg.Connection) -> None:
        """Edit and delete rows."""
        for key, values in self.edited.items():
            assignments = sql.SQL(", ").join(_equations(self.inputs, values))
            connection.execute(
                sql.SQL("UPDATE {} SET {} WHERE {}").format(self.identifier, assignments, self._has_key(key))
            )
        for key in self.deleted:
            connection.execute(sql.SQL("DELETE FROM {} WHERE {}").format(self.identifier, self._has_key(key)))

    def _has_key(self, key: Key) -> sql.Composable:
        return sql.SQL(" AND ").join(_equations(self.keys, key))

    def rows_after(self) -> dict[Key, Values]:
        """Return all rows after the edits, deletions and insertions."""
        kept = {key: values for key, values in {**self.rows, **self.edited}.items() if key not in self.deleted}
        return {**kept, **self.inserted}


def _literal(kind: Kind, value: object) -> sql.Composable:
    return sql.SQL("CAST({} AS {})").format(sql.Literal(value), sql.SQL(kind.sql_type))


def _equations(columns: dict[str, Kind], values: Sequence[object]) -> list[sql.Composable]:
    return [
        sql.SQL("{} = {}").format(sql.Identifier(name), _literal(kind, value))
        for (name, kind), value in zip(columns.items(), values, strict=True)
    ]


def _values(inputs: dict[str, Kind]) -> st.SearchStrategy[Values]:
    return st.tuples(
        *(st.one_of(kind.values, kind.values, st.sampled_from([None, *kind.blanks])) for kind in inputs.values())
    )


@st.composite
def generated_tables(draw: st.DrawFn) -> GeneratedTable:
    """Draw a table."""
    form = draw(st.sampled_from(["column", "columns", "template"]))
    names = st.sampled_from([name for name in NAMES if form != "template" or not set("{}") & set(name)])
    key_count = draw(st.integers(1, 3))
    input_count = 1 if form == "column" else draw(st.integers(1, 3))
    columns = draw(st.lists(names, min_size=key_count + input_count, max_size=key_count + input_count, unique=True))
    keys = {name: draw(st.sampled_from(KEY_KINDS)) for name in columns[:key_count]}
    inputs = {name: draw(st.sampled_from(INPUT_KINDS)) for name in columns[key_count:]}
    values = _values(inputs)
    found = draw(st.dictionaries(st.tuples(*(kind.values for kind in keys.values())), values, max_size=14))
    split = draw(st.integers(0, len(found)))
    rows, inserted = dict(list(found.items())[:split]), dict(list(found.items())[split:])
    # Only a text can be changed by each update.
    can_be_rewritten = form == "column" and next(iter(inputs.values())).sql_type == "TEXT"
    hindrances: tuple[Hindrance, ...] = (*("none",) * 6, "discard", "rewrite" if can_be_rewritten else "none")
    chosen = st.sets(st.sampled_from(sorted(rows, key=repr)), max_size=4) if rows else st.just(set[Key]())
    return GeneratedTable(
        schema=draw(st.sampled_from([name for name in NAMES if name != "user"])),
        name=draw(st.sampled_from(NAMES)),
        keys=keys,
        inputs=inputs,
        form=form,
        staleness=draw(st.sampled_from(["fingerprint", "trigger"])),
        rows=rows,
        inserted=inserted,
        edited={key: draw(values) for key in draw(chosen)},
        deleted=frozenset(draw(chosen)),
        batch_size=draw(st.integers(1, 6)),
        is_followed=draw(st.booleans()),
        hindrance=draw(st.sampled_from(hindrances)),
    )


@st.composite
def tables_with_chunks(draw: st.DrawFn) -> GeneratedTable:
    """Draw a table whose inputs are texts, which are divided into chunks. No trigger hinders its updates."""
    table = draw(
        generated_tables().filter(
            # The input of a single column that is no text is its value.
            lambda table: (
                table.form == "template"
                or len(table.inputs) > 1
                or next(iter(table.inputs.values())).sql_type in TEXT_TYPES
            )
        )
    )
    return replace(table, has_chunks=True, hindrance="none")
