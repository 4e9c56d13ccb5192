"""What a table looks like on the server: its key, its columns, and whether a vector column can live there.

Only `pg_catalog` is read, which both servers have; `crdb_internal` is closed by default since CockroachDB 26.1.
"""

import difflib
import re
from dataclasses import dataclass

from psycopg import sql

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.errors import TableError
from crdbvec_pipelines.database.statement import statement
from crdbvec_pipelines.keyspace import KeyRange
from crdbvec_pipelines.naming import TableName

# A hash-sharded key starts with a hidden column that CockroachDB computes from the others; a REGIONAL BY ROW table with
# the row's region. Neither tells rows apart, and a range over the shard would cut the table into meaningless pieces.
_HIDDEN_KEY_COLUMN = re.compile(r"crdb_internal_.*_shard_\d+|crdb_region")
_TABLE_KINDS = {"r", "p"}
_KIND_NAMES = {"v": "a view", "m": "a materialized view", "f": "a foreign table", "S": "a sequence", "i": "an index"}
_TEXT_TYPES = frozenset({"text", "varchar", "bpchar", "name", "citext", "char"})


@dataclass(frozen=True)
class Column:
    """One column. `type_name` is the catalogue's short name (`int8`, `text`), `cast` what a placeholder is cast to."""

    name: str
    type_name: str
    cast: str
    modifier: int

    @property
    def is_text(self) -> bool:
        """Whether its values are text as they stand."""
        return self.type_name in _TEXT_TYPES

    @property
    def is_bytes(self) -> bool:
        """Whether its values are binary."""
        return self.type_name == "bytea"


@dataclass(frozen=True)
class Table:
    """A table that exists, with its primary key in key order."""

    name: TableName
    columns: dict[str, Column]
    key: tuple[Column, ...]

    @property
    def identifier(self) -> sql.Identifier:
        """The schema-qualified name, quoted."""
        return sql.Identifier(self.name.schema, self.name.name)

    def check_range(self, key_range: KeyRange) -> None:
        """Refuses a key range whose bounds have another number of values than the key has columns.

        Raises:
            TableError: the range was made for another key.
        """
        for bound in (key_range.lower, key_range.upper):
            if bound is not None and len(bound) != len(self.key):
                raise TableError(
                    f"A key range with {len(bound)} value(s) a bound does not fit {self.name}, whose primary key is "
                    f"({', '.join(column.name for column in self.key)}); sync the partitions of this table."
                )


@statement
def find_relation() -> sql.Composable:
    """What kind of thing has this name, and its oid."""
    return sql.SQL(
        "SELECT c.oid, c.relkind FROM pg_catalog.pg_class AS c "
        "JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace "
        "WHERE n.nspname = %(schema)s::text AND c.relname = %(table)s::text"
    )


@statement
def list_relations() -> sql.Composable:
    """Tables somebody may have meant instead."""
    return sql.SQL(
        "SELECT n.nspname, c.relname FROM pg_catalog.pg_class AS c "
        "JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace "
        "WHERE c.relkind IN ('r', 'p') "
        "AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'crdb_internal', 'pg_extension') "
        "ORDER BY n.nspname, c.relname LIMIT 1000"
    )


@statement
def list_columns() -> sql.Composable:
    """Every column, hidden ones included: CockroachDB's hidden `rowid` may be the key."""
    return sql.SQL(
        "SELECT a.attname, t.typname, format_type(a.atttypid, NULL), a.atttypmod "
        "FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid "
        "WHERE a.attrelid = %(oid)s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"
    )


@statement
def list_key_columns() -> sql.Composable:
    """The primary key's columns in key order, then those that PostgreSQL's INCLUDE adds; and how many the key has."""
    return sql.SQL(
        "SELECT a.attname, i.indnkeyatts FROM pg_catalog.pg_index AS i "
        "JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey) "
        "WHERE i.indrelid = %(oid)s AND i.indisprimary ORDER BY array_position(i.indkey::int2[], a.attnum)"
    )


def read_table(database: Database, name: TableName) -> Table:
    """Reads a table's shape.

    Raises:
        TableError: there is no such table, it is no table, or it has no primary key.
    """
    found = database.fetch(find_relation(), {"schema": name.schema, "table": name.name})
    if not found:
        raise TableError(f"There is no table {name} in the database {database.name}{_nearest(database, name)}.")
    oid, kind = found[0]
    kind = kind.decode() if isinstance(kind, bytes) else kind
    if kind not in _TABLE_KINDS:
        raise TableError(
            f"{name} is {_KIND_NAMES.get(kind, 'no table')}, which cannot hold a vector column; "
            "name the table that it reads from."
        )
    columns = {
        column: Column(column, type_name, _cast(type_name, full_name), modifier)
        for column, type_name, full_name, modifier in database.fetch(list_columns(), {"oid": oid})
    }
    names = [
        column
        for number, (column, length) in enumerate(database.fetch(list_key_columns(), {"oid": oid}))
        if number < length
    ]
    key = tuple(columns[column] for column in names if not _HIDDEN_KEY_COLUMN.fullmatch(column))
    if not key:
        raise TableError(
            f"{name} has no primary key, so its rows cannot be told apart; "
            "add one (ALTER TABLE ... ADD PRIMARY KEY) and run this again."
        )
    return Table(name, columns, key)


def check_column(table: Table, spec: VectorColumn, dimension: int) -> None:
    """Checks that a vector column fits a table, before any work starts.

    Raises:
        TableError: an input column is missing, or the output column exists and is no vector of the model's dimension.
    """
    for name in spec.input_columns:
        if name not in table.columns:
            close = difflib.get_close_matches(name, table.columns, n=1)
            hint = f"did you mean {close[0]}?" if close else f"its columns are {', '.join(table.columns)}"
            raise TableError(f"{spec.origin}: {table.name} has no column {name} to embed; {hint}.")
    if spec.updated_at is not None and spec.updated_at not in table.columns:
        raise TableError(f"{spec.origin}: {table.name} has no column {spec.updated_at} to tell when a row was updated.")
    output = table.columns.get(spec.output)
    if output is None:
        return
    if output.type_name != "vector":
        raise TableError(
            f"{spec.origin}: the column {spec.output} of {table.name} exists and is of type {output.cast}, not VECTOR; "
            "choose another output."
        )
    if output.modifier != dimension:
        found = "any" if output.modifier < 0 else str(output.modifier)
        raise TableError(
            f"{spec.origin}: the column {spec.output} of {table.name} takes vectors of dimension {found}, but the "
            f"model {spec.model} makes {dimension}; choose another output or another model."
        )


def _nearest(database: Database, name: TableName) -> str:
    existing = {str(TableName(*row)): None for row in database.fetch(list_relations())}
    lowered = {text.lower(): text for text in existing}
    exact = lowered.get(str(name).lower())
    close = [exact] if exact else difflib.get_close_matches(str(name), existing, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _cast(type_name: str, full_name: str) -> str:
    # format_type calls bpchar "character", which as a cast means character(1) and cuts the value.
    return "bpchar" if type_name == "bpchar" else full_name
