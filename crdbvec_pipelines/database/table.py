"""Tables as the server describes them: primary key, columns, and whether a vector column fits.

Only `pg_catalog` is read, because both servers have it; `crdb_internal` is closed by default since CockroachDB 26.1.
"""

import difflib
import re
from dataclasses import dataclass

from psycopg import sql

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.dialects import Dialect
from crdbvec_pipelines.database.errors import TableError
from crdbvec_pipelines.database.metrics import VECTOR_TYPES
from crdbvec_pipelines.database.statement import statement
from crdbvec_pipelines.keyspace import KeyRange
from crdbvec_pipelines.naming import TableName

# The key of a hash-sharded table starts with a hidden column that CockroachDB computes from the others; that of a
# REGIONAL BY ROW table with the row's region. Neither identifies a row, and ranges over shards would not be key ranges.
_HIDDEN_KEY_COLUMN = re.compile(r"crdb_internal_.*_shard_\d+|crdb_region")
_TABLE_KINDS = {"r", "p"}
_KIND_NAMES = {"v": "a view", "m": "a materialized view", "f": "a foreign table", "S": "a sequence", "i": "an index"}
_TEXT_TYPES = frozenset({"text", "varchar", "bpchar", "name", "citext", "char"})
# Their text is the name of another object, which depends on the search path and changes when that object is renamed.
_REFERENCE_TYPES = frozenset(
    {
        "regclass",
        "regcollation",
        "regconfig",
        "regdictionary",
        "regnamespace",
        "regoper",
        "regoperator",
        "regproc",
        "regprocedure",
        "regrole",
        "regtype",
    }
)
# A fingerprint is an md5 of 32 characters; the modifier of a varchar is its length and 4.
_FINGERPRINT_TYPES = frozenset({"text", "varchar"})
_MIN_FINGERPRINT_MODIFIER = 36
# The number of chunks of a row, in the output column of an entry with chunks.
_MARKER_TYPE = "int8"
# The search path of a session contains no schema of users, so the types in them are named with their schema.
_QUALIFIED_TYPE = sql.SQL(
    "CASE WHEN crdbvec_namespace.nspname = 'pg_catalog' THEN format_type(crdbvec_type.oid, NULL) "
    "ELSE quote_ident(crdbvec_namespace.nspname) || '.' || quote_ident(crdbvec_type.typname) END"
)
# A base type of an extension has operators of its own; enums, arrays, ranges and composite types have those of all.
_OPERATOR_SCHEMA = sql.SQL(
    "CASE WHEN crdbvec_type.typtype = 'b' AND crdbvec_type.typcategory <> 'A' "
    "THEN crdbvec_namespace.nspname::text ELSE 'pg_catalog' END"
)


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: The name.
        type_name: The type's short name in the catalog, such as `int8` or `text`; for a domain that of its base type.
        cast: The type that a placeholder is cast to.
        modifier: The type modifier; for a VECTOR the dimension, -1 if it has none.
        is_domain: Whether the declared type is a domain.
        generated: `s` for a stored generated column, `v` for a virtual one, otherwise empty.
        is_nullable: Whether the column accepts NULL.
        operator_schema: The schema of the operators of the type.
    """

    name: str
    type_name: str
    cast: str
    modifier: int
    is_domain: bool = False
    generated: str = ""
    is_nullable: bool = True
    operator_schema: str = "pg_catalog"

    @property
    def is_text(self) -> bool:
        """Whether the type is a text type, in which a value can consist of white space only."""
        return self.type_name in _TEXT_TYPES

    @property
    def is_bytes(self) -> bool:
        """Whether the type is binary."""
        return self.type_name == "bytea"


@dataclass(frozen=True)
class Table:
    """A table that exists.

    Attributes:
        name: The qualified name.
        columns: All columns by name.
        key: The columns of the primary key, or of a unique index that takes its place, in key order.
        dialect: The dialect of its server.
        is_partitioned: Whether it is a partitioned table of PostgreSQL.
        oid: What identifies the table in the catalog, also after it was renamed; 0 if it was not read from a server.
    """

    name: TableName
    columns: dict[str, Column]
    key: tuple[Column, ...]
    dialect: Dialect
    is_partitioned: bool = False
    oid: int = 0

    @property
    def identifier(self) -> sql.Identifier:
        """The schema-qualified name, quoted."""
        return sql.Identifier(self.name.schema, self.name.name)

    def check_range(self, key_range: KeyRange) -> None:
        """Check that the bounds of a key range have one value for each key column.

        Raises:
            TableError: The range belongs to a table with another key.
        """
        for bound in (key_range.lower, key_range.upper):
            if bound is not None and len(bound) != len(self.key):
                key = ", ".join(column.name for column in self.key)
                raise TableError(
                    f"A key range with {len(bound)} value(s) per bound does not match {self.name}, whose primary key "
                    f"is ({key}). Run the job of this table that ends in `__sync_partitions`."
                )


@statement
def find_relation() -> sql.Composable:
    """Find the oid and the kind of the relation of a name."""
    return sql.SQL(
        "SELECT crdbvec_class.oid, crdbvec_class.relkind FROM pg_catalog.pg_class AS crdbvec_class "
        "JOIN pg_catalog.pg_namespace AS crdbvec_namespace ON crdbvec_namespace.oid = crdbvec_class.relnamespace "
        "WHERE crdbvec_namespace.nspname = %(schema)s::text AND crdbvec_class.relname = %(table)s::text"
    )


# Types of keys that Python represents by lists and dictionaries, which cannot be compared. Arrays are such, too.
_UNUSABLE_KEY_TYPES = frozenset({"json", "jsonb"})


@statement
def list_relations() -> sql.Composable:
    """List the tables of the database, for a choice, and to suggest one for a name that does not exist."""
    return sql.SQL(
        "SELECT crdbvec_namespace.nspname, crdbvec_class.relname FROM pg_catalog.pg_class AS crdbvec_class "
        "JOIN pg_catalog.pg_namespace AS crdbvec_namespace ON crdbvec_namespace.oid = crdbvec_class.relnamespace "
        "WHERE crdbvec_class.relkind IN ('r', 'p') AND crdbvec_namespace.nspname "
        "NOT IN ('pg_catalog', 'information_schema', 'crdb_internal', 'pg_extension') "
        "ORDER BY crdbvec_namespace.nspname, crdbvec_class.relname LIMIT 1000"
    )


@statement
def list_columns() -> sql.Composable:
    """List all columns, also hidden ones, because CockroachDB's hidden `rowid` can be the key."""
    return sql.SQL(
        "SELECT crdbvec_attribute.attname, crdbvec_type.oid, crdbvec_type.typname, "
        "{}, {}, crdbvec_attribute.atttypmod, crdbvec_type.typtype = 'd', "
        "coalesce(crdbvec_attribute.attgenerated::text, ''), NOT crdbvec_attribute.attnotnull "
        "FROM pg_catalog.pg_attribute AS crdbvec_attribute "
        "JOIN pg_catalog.pg_type AS crdbvec_type ON crdbvec_type.oid = crdbvec_attribute.atttypid "
        "JOIN pg_catalog.pg_namespace AS crdbvec_namespace ON crdbvec_namespace.oid = crdbvec_type.typnamespace "
        "WHERE crdbvec_attribute.attrelid = %(oid)s AND crdbvec_attribute.attnum > 0 "
        "AND NOT crdbvec_attribute.attisdropped ORDER BY crdbvec_attribute.attnum"
    ).format(_QUALIFIED_TYPE, _OPERATOR_SCHEMA)


@statement
def list_domains() -> sql.Composable:
    """List the domains of the database with their next type, which may be a domain again."""
    return sql.SQL(
        "SELECT crdbvec_domain.oid, crdbvec_type.oid, crdbvec_type.typname, "
        "{}, {}, crdbvec_domain.typtypmod, crdbvec_type.typtype = 'd', NOT crdbvec_domain.typnotnull "
        "FROM pg_catalog.pg_type AS crdbvec_domain "
        "JOIN pg_catalog.pg_type AS crdbvec_type ON crdbvec_type.oid = crdbvec_domain.typbasetype "
        "JOIN pg_catalog.pg_namespace AS crdbvec_namespace ON crdbvec_namespace.oid = crdbvec_type.typnamespace "
        "WHERE crdbvec_domain.typtype = 'd'"
    ).format(_QUALIFIED_TYPE, _OPERATOR_SCHEMA)


@statement
def list_key_columns() -> sql.Composable:
    """List the columns of the key in key order, then those of INCLUDE, each with the length of the key.

    The key is the primary key. Without one, it is the unique index with the fewest columns that are all NOT NULL.
    """
    return sql.SQL(
        "SELECT crdbvec_attribute.attname, crdbvec_index.indnkeyatts FROM pg_catalog.pg_index AS crdbvec_index "
        "JOIN pg_catalog.pg_attribute AS crdbvec_attribute ON crdbvec_attribute.attrelid = crdbvec_index.indrelid "
        "AND crdbvec_attribute.attnum = ANY(crdbvec_index.indkey) "
        "WHERE crdbvec_index.indexrelid = (SELECT crdbvec_unique.indexrelid FROM pg_catalog.pg_index AS crdbvec_unique "
        "WHERE crdbvec_unique.indrelid = %(oid)s AND (crdbvec_unique.indisprimary OR (crdbvec_unique.indisunique "
        "AND crdbvec_unique.indisvalid AND crdbvec_unique.indimmediate AND crdbvec_unique.indpred IS NULL "
        "AND crdbvec_unique.indexprs IS NULL AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_attribute AS crdbvec_part "
        "WHERE crdbvec_part.attrelid = crdbvec_unique.indrelid AND crdbvec_part.attnum = ANY(crdbvec_unique.indkey) "
        "AND NOT crdbvec_part.attnotnull))) "
        "ORDER BY crdbvec_unique.indisprimary DESC, crdbvec_unique.indnkeyatts, crdbvec_unique.indexrelid LIMIT 1) "
        "ORDER BY array_position(crdbvec_index.indkey::int2[], crdbvec_attribute.attnum)"
    )


def read_table_oid(database: Database, name: TableName) -> int | None:
    """Return what identifies the table that has a name now; None if there is none."""
    found = database.fetch(find_relation(), {"schema": name.schema, "table": name.name})
    return int(found[0][0]) if found else None


def read_table(database: Database, name: TableName) -> Table:
    """Return a table as the server describes it.

    Raises:
        TableError: The table does not exist, is not a table, or has no key of supported types.
    """
    found = database.fetch(find_relation(), {"schema": name.schema, "table": name.name})
    if not found:
        raise TableError(f"There is no table {name} in the database {database.name}{_suggestion(database, name)}")
    oid, kind = found[0]
    kind = kind.decode() if isinstance(kind, bytes) else kind
    if kind not in _TABLE_KINDS:
        raise TableError(
            f"{name} is {_KIND_NAMES.get(kind, 'not a table')}, which cannot have a vector column. "
            "Name the table that it reads from."
        )
    columns = _read_columns(database, oid)
    names = [
        column
        for number, (column, length) in enumerate(database.fetch(list_key_columns(), {"oid": oid}))
        if number < length
    ]
    key = tuple(columns[column] for column in names if not _HIDDEN_KEY_COLUMN.fullmatch(column))
    if not key:
        # Imported here, because that module needs the classes of this one.
        from crdbvec_pipelines.database.missing_key import missing_key_error

        raise missing_key_error(database, Table(name, columns, (), database.dialect, kind == "p", oid))
    unusable = [column for column in key if column.type_name in _UNUSABLE_KEY_TYPES or column.type_name.startswith("_")]
    if unusable:
        raise TableError(
            f"{name} has a key column of the type {unusable[0].cast}, {unusable[0].name}. Keys of arrays and JSON are "
            "not supported. Add a primary key of another type."
        )
    return Table(name, columns, key, database.dialect, is_partitioned=kind == "p", oid=oid)


def _read_columns(database: Database, oid: int) -> dict[str, Column]:
    """Return the columns of a table by name; the type of a domain is the one at the end of the chain of domains."""
    rows = database.fetch(list_columns(), {"oid": oid})
    domains = {}
    # CockroachDB has no domains, and few tables of PostgreSQL use them.
    if any(is_domain for *_, is_domain, _, _ in rows):
        domains = {domain: rest for domain, *rest in database.fetch(list_domains())}
    columns = {}
    for name, *declared, generated, is_nullable in rows:
        type_oid, type_name, full_name, schema, modifier, is_domain = declared
        while is_domain:
            type_oid, type_name, full_name, schema, modifier, is_domain, accepts_null = domains[type_oid]
            is_nullable = is_nullable and accepts_null
        columns[name] = Column(
            name, type_name, _cast(type_name, full_name), modifier, declared[-1], generated, is_nullable, schema
        )
    return columns


def check_column(table: Table, spec: VectorColumn, dimension: int) -> None:
    """Check that a vector column fits a table, before any work starts.

    Raises:
        TableError: An input column is missing, or the output exists and is not a vector of the model's dimension.
    """
    for name in spec.watched_columns:
        if name not in table.columns:
            close = difflib.get_close_matches(name, table.columns, n=1)
            hint = f"did you mean {close[0]}?" if close else f"its columns are {', '.join(table.columns)}."
            raise TableError(f"{spec.origin}: {table.name} has no column {name} to embed; {hint}")
        _check_input(table, spec, table.columns[name])
    _check_updated_at(table, spec)
    _check_fingerprint(table, spec)
    output = table.columns.get(spec.output)
    if output is None:
        return
    if spec.chunking is not None:
        _check_marker(table, spec, output)
        return
    if output.type_name not in VECTOR_TYPES:
        raise TableError(
            f"{spec.origin}: the column {spec.output} of {table.name} exists and is of type {output.cast}, not VECTOR. "
            "Choose another output."
        )
    if output.modifier != dimension:
        found = "any" if output.modifier < 0 else str(output.modifier)
        raise TableError(
            f"{spec.origin}: the column {spec.output} of {table.name} takes vectors of dimension {found}, but those of "
            f"the model {spec.model} have {dimension}. Choose another output or another model."
        )
    if output.generated or not output.is_nullable:
        kind = "is generated" if output.generated else "is NOT NULL"
        raise TableError(
            f"{spec.origin}: the column {spec.output} of {table.name} {kind}, so its vectors cannot be written and "
            "cleared. Choose another output."
        )


def _check_marker(table: Table, spec: VectorColumn, output: Column) -> None:
    if output.type_name != _MARKER_TYPE or output.generated or not output.is_nullable:
        raise TableError(
            f"{spec.origin}: the column {output.name} of {table.name} exists and is of type {output.cast}, but with "
            "long_inputs: chunks it is a nullable bigint, the number of chunks of each row. Choose another output, or "
            "run `crdbvec uninstall --drop-column` with the former configuration first."
        )


def _check_input(table: Table, spec: VectorColumn, column: Column) -> None:
    if column.type_name in _REFERENCE_TYPES:
        raise TableError(
            f"{spec.origin}: the column {column.name} of {table.name} is of type {column.cast}, whose text depends on "
            "the search path, so it cannot be embedded. Choose another input."
        )
    if column.generated and spec.staleness == "trigger":
        raise TableError(
            f"{spec.origin}: the column {column.name} of {table.name} is generated, and a trigger cannot read its new "
            "value. Use staleness: fingerprint."
        )


def _check_updated_at(table: Table, spec: VectorColumn) -> None:
    if spec.updated_at is None:
        return
    column = table.columns.get(spec.updated_at)
    if column is None:
        raise TableError(f"{spec.origin}: {table.name} has no column {spec.updated_at}, which updated_at names.")
    where = f"{spec.origin}: the column {spec.updated_at} of {table.name}, which updated_at names,"
    if column.generated == "v" and not table.dialect.can_index_virtual_columns:
        raise TableError(f"{where} is a virtual generated column, which cannot have an index. Choose another column.")
    if column.type_name == "timestamp" and spec.updated_at_timezone is None:
        raise TableError(
            f"{where} is a timestamp without time zone. Set updated_at_timezone to the time zone of its values, such "
            "as UTC or Europe/Berlin, or change the type to timestamptz."
        )
    if column.type_name == "timestamptz" and spec.updated_at_timezone is not None:
        raise TableError(f"{where} is a timestamptz, which needs no time zone. Remove updated_at_timezone.")
    if column.type_name not in ("timestamp", "timestamptz"):
        raise TableError(f"{where} is of type {column.cast}, but must be a timestamptz. Choose another column.")


def _check_fingerprint(table: Table, spec: VectorColumn) -> None:
    column = table.columns.get(spec.fingerprint_column or "")
    if column is None:
        return
    is_long_enough = column.modifier < 0 or column.modifier >= _MIN_FINGERPRINT_MODIFIER
    if column.type_name not in _FINGERPRINT_TYPES or not is_long_enough or column.generated or not column.is_nullable:
        raise TableError(
            f"{spec.origin}: the column {column.name} of {table.name} exists and is not a nullable TEXT column, so it "
            "cannot contain the fingerprints of the vectors. Choose another output."
        )


def read_table_names(database: Database) -> list[TableName]:
    """Return the names of the tables of a database, at most 1,000, in order."""
    return [TableName(*row) for row in database.fetch(list_relations())]


def _suggestion(database: Database, name: TableName) -> str:
    existing = [str(table) for table in read_table_names(database)]
    lowered = {text.lower(): text for text in existing}
    exact = lowered.get(str(name).lower())
    close = [exact] if exact else difflib.get_close_matches(str(name), existing, n=1)
    return f"; did you mean {close[0]}?" if close else "."


def _cast(type_name: str, full_name: str) -> str:
    # format_type returns "character" and "bit", which as casts mean character(1) and bit(1) and truncate the value.
    return {"bpchar": "bpchar", "bit": "varbit"}.get(type_name, full_name)
