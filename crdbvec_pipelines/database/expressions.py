"""SQL expressions that several statements share: the input as text, its fingerprint, key ranges.

Their parameters: `seed` (the text that every fingerprint of a model starts with, see `fingerprint_seed`), and `key_0`,
`lower_0`, `upper_0`, `after_0` and so on, one for each key column. Every column is qualified by the alias of the table
in the statement, by default `aliases.ROW`.
"""

from collections.abc import Sequence
from typing import TypedDict

from psycopg import sql

from crdbvec_pipelines.config import TemplateParts
from crdbvec_pipelines.database.aliases import ROW, aliased, reference
from crdbvec_pipelines.database.column import ColumnDefinition
from crdbvec_pipelines.database.dialects import Dialect
from crdbvec_pipelines.database.metrics import DISTANCES
from crdbvec_pipelines.database.statement import FollowerReadClause
from crdbvec_pipelines.database.table import Column, Table
from crdbvec_pipelines.keyspace import Bound, KeyRange


def column_text(column: Column, dialect: Dialect, alias: str | None = ROW) -> sql.Composable:
    """Return a column's value as text: its hexadecimal digits if it is binary, otherwise its cast to text.

    All settings that change the text of a cast are set in every session of this project (`session.SESSION_SETTINGS`,
    `Dialect.text_settings`), so a value has one text, whatever the role, the database and the client's environment set.
    The text of a type never changes from one release to the next, because it is a part of stored fingerprints.
    """
    name = reference(column.name, alias)
    if column.is_bytes:
        # Release 0.1.0 cast a domain over a binary type, so its text begins with the prefix of such a cast.
        digits = sql.SQL("pg_catalog.encode({}::bytea, 'hex'::text)").format(name)
        return sql.SQL("(E'\\\\x'::text {} {})").format(dialect.operator("||"), digits) if column.is_domain else digits
    # A text type is cast too: CockroachDB has no operator || and no btrim for CITEXT and for text with a collation.
    return sql.SQL("{}::text").format(name)


def has_content(column: Column, dialect: Dialect, alias: str | None = ROW) -> sql.Composable:
    """Return the predicate of rows whose column is not NULL and has content. The predicate is never NULL.

    A text has content as `crdbvec_pipelines.content` defines it, a binary value if it is not empty.
    """
    name = reference(column.name, alias)
    if column.is_text:
        return sql.SQL("({} IS NOT NULL AND {})").format(
            name, dialect.text_has_content(column_text(column, dialect, alias))
        )
    if column.is_bytes:
        return sql.SQL("({0} IS NOT NULL AND pg_catalog.length({0}::bytea) {1} 0)").format(name, dialect.operator(">"))
    return sql.SQL("({} IS NOT NULL)").format(name)


def _list_item(column: Column, dialect: Dialect, alias: str | None) -> sql.Composable:
    """Return a column as an argument of concat_ws, which keeps the padding of a CHAR(n) that a cast would remove."""
    keeps_padding = column.type_name == "bpchar" and not column.is_domain
    return reference(column.name, alias) if keeps_padding else column_text(column, dialect, alias)


class InputExpressions:
    """SQL expressions of the input of one vector column.

    Args:
        column: The vector column.
        alias: The alias of its table in the statement; None for DDL.
    """

    def __init__(self, column: ColumnDefinition, alias: str | None = ROW) -> None:
        self._alias = alias
        self._table_columns = column.table.columns
        self._columns = [column.table.columns[name] for name in column.spec.input_columns]
        self._dialect = column.table.dialect
        self._spec = column.spec

    @property
    def value(self) -> sql.Composable:
        """The input: the column itself, or one text from several columns."""
        return reference(self._columns[0].name, self._alias) if self._is_plain else self._input_text

    @property
    def encoded_value(self) -> sql.Composable:
        """What the model encodes: the input, with the text before each of its chunks if there is one."""
        return self._with_chunk_prefix if self._spec.chunk_prefix_parts else self.value

    @property
    def text(self) -> sql.Composable:
        """The text that the fingerprint is computed from: all that the model reads, and what chunks have copies of."""
        text = self._with_chunk_prefix if self._spec.chunk_prefix_parts else self._input_text
        if self._spec.chunking is None or self._spec.index is None or not self._spec.index.prefix:
            return text
        copied = [self._with_length(self._value_text(name)) for name in self._spec.index.prefix]
        return sql.SQL("({})").format(self._dialect.concatenation([*copied, text]))

    @property
    def _with_chunk_prefix(self) -> sql.Composable:
        """The text before each chunk and the input, which `chunk_encoder.split_prefix` separates."""
        prefix = self._template_text(self._spec.chunk_prefix_parts)
        return sql.SQL("({})").format(self._dialect.concatenation([self._with_length(prefix), self._input_text]))

    def _with_length(self, text: sql.Composable) -> sql.Composable:
        """Return a text after its length and a colon, so that no other two texts are the same when joined."""
        length = sql.SQL("pg_catalog.length({})::text").format(text)
        return sql.SQL("({})").format(self._dialect.concatenation([length, sql.SQL("':'::text"), text]))

    def _value_text(self, name: str) -> sql.Composable:
        """Return the text of any column; an empty one for NULL."""
        return sql.SQL("coalesce({}, '')").format(column_text(self._table_columns[name], self._dialect, self._alias))

    def _template_text(self, parts: TemplateParts) -> sql.Composable:
        pieces: list[sql.Composable] = []
        for literal, name in parts:
            if literal:
                pieces.append(sql.SQL("{}::text").format(sql.Literal(literal)))
            if name is not None:
                pieces.append(self._value_text(name))
        return sql.SQL("({})").format(self._dialect.concatenation(pieces))

    @property
    def _input_text(self) -> sql.Composable:
        """The input as text."""
        if self._is_plain:
            return column_text(self._columns[0], self._dialect, self._alias)
        if self._spec.template is None:
            # concat_ws omits NULLs and their separators.
            items = [_list_item(column, self._dialect, self._alias) for column in self._columns]
            return sql.SQL("pg_catalog.concat_ws(E'\\n'::text, {})").format(sql.SQL(", ").join(items))
        return self._template_text(self._spec.template_parts)

    @property
    def fingerprint(self) -> sql.Composable:
        """The md5 of model and input; md5 is the only text hash with the same name on both servers."""
        return sql.SQL("pg_catalog.md5(%(seed)s::text {} {})").format(self._dialect.operator("||"), self.text)

    @property
    def has_content(self) -> sql.Composable:
        """The predicate of rows in which any input column has content to embed."""
        tests = [has_content(column, self._dialect, self._alias) for column in self._columns]
        return sql.SQL("({})").format(sql.SQL(" OR ").join(tests))

    @property
    def is_present(self) -> sql.Composable:
        """The predicate of rows in which any input column is not NULL: the part that an index predicate can contain.

        It is always true if one of the columns cannot be part of an index, so that no row is missing from the index.
        """
        if any(column.generated == "v" for column in self._columns) and not self._dialect.can_index_virtual_columns:
            return sql.SQL("true")
        tests = [sql.SQL("{} IS NOT NULL").format(reference(column.name, self._alias)) for column in self._columns]
        return tests[0] if len(tests) == 1 else sql.SQL("({})").format(sql.SQL(" OR ").join(tests))

    @property
    def _is_plain(self) -> bool:
        return self._spec.template is None and len(self._columns) == 1


def vector_parameter(column: ColumnDefinition, cast: str | None = None) -> sql.Composable:
    """Return the parameter `vector` in the type of the vector column, or of a cast of it.

    The parameter itself is a `vector`, because its binary form is that of this type.
    """
    dialect, wanted = column.table.dialect, cast or column.vector_type
    given = sql.SQL("%(vector)s::{}").format(dialect.vector_object("vector"))
    return given if wanted == "vector" else sql.SQL("{}::{}").format(given, dialect.vector_object(wanted))


def distance_operator(column: ColumnDefinition) -> sql.Composable:
    """Return the operator of the column's metric."""
    return column.table.dialect.vector_operator(DISTANCES[column.metric].operator)


def input_octets(column: ColumnDefinition) -> sql.Composable:
    """Return the length of a row's input in bytes, without the literal text of a template.

    The length of a text or of bytes is stored next to the value, which PostgreSQL does not load for it.
    """
    lengths = []
    for name in column.spec.encoded_columns:
        value: sql.Composable = reference(name)
        if not column.table.columns[name].is_bytes:
            value = sql.SQL("{}::text").format(value)
        lengths.append(sql.SQL("coalesce(octet_length({}), 0)").format(value))
    return lengths[0] if len(lengths) == 1 else sql.SQL("({})").format(sql.SQL(" + ").join(lengths))


class BoundFlags(TypedDict):
    """Which bounds a key range has: the keyword arguments of the builders of statements about a key range."""

    has_lower: bool
    has_upper: bool


def key_list(table: Table, alias: str | None = ROW) -> sql.Composable:
    """Return the key columns, separated by commas."""
    return sql.SQL(", ").join(reference(column.name, alias) for column in table.key)


def key_equals(table: Table, alias: str = ROW) -> sql.Composable:
    """Return `column = parameter` for each key column, with the parameters key_0, key_1 and so on."""
    return sql.SQL(" AND ").join(
        sql.SQL("{} {} {}").format(
            reference(column.name, alias),
            table.dialect.operator("=", column.operator_schema),
            placeholder(column, f"key_{position}"),
        )
        for position, column in enumerate(table.key)
    )


def key_compares(table: Table, operator: str, prefix: str, alias: str = ROW) -> sql.Composable:
    """Return a comparison of the key with the parameters prefix_0, prefix_1 and so on, as rows if it is composite."""
    values = sql.SQL(", ").join(
        placeholder(column, f"{prefix}_{position}") for position, column in enumerate(table.key)
    )
    if len(table.key) == 1:
        return sql.SQL("{} {} {}").format(key_list(table, alias), key_operator(table, operator), values)
    return sql.SQL("({}) {} ({})").format(key_list(table, alias), key_operator(table, operator), values)


def key_operator(table: Table, symbol: str) -> sql.Composable:
    """Return an operator for the key columns, with its schema if their type, such as citext, is of another schema.

    An operator of the server needs none in a statement that only reads: the search path contains no other schema.
    """
    schema = key_operator_schema(table)
    return sql.SQL(symbol) if schema == "pg_catalog" else table.dialect.operator(symbol, schema)


def key_operator_schema(table: Table) -> str:
    """Return the schema of the operators of the key; a comparison of several columns can name one schema only."""
    schemas = {column.operator_schema for column in table.key}
    return schemas.pop() if len(schemas) == 1 else "pg_catalog"


def named_key(table: Table) -> sql.Composable:
    """Return the key columns with the aliases crdbvec_key_0, crdbvec_key_1 and so on, for a derived table."""
    return sql.SQL(", ").join(
        sql.SQL("{} AS {}").format(reference(column.name), sql.Identifier(f"crdbvec_key_{position}"))
        for position, column in enumerate(table.key)
    )


def key_equals_named(table: Table, alias: str) -> sql.Composable:
    """Return the predicate of rows whose key is that of a derived table, whose columns `named_key` named."""
    return sql.SQL(" AND ").join(
        sql.SQL("{} {} {}").format(
            reference(column.name),
            table.dialect.operator("=", column.operator_schema),
            reference(f"crdbvec_key_{position}", alias),
        )
        for position, column in enumerate(table.key)
    )


def in_range(
    table: Table, *, has_lower: bool, has_upper: bool, has_after: bool = False, alias: str = ROW
) -> sql.Composable:
    """Return the predicate of a key range.

    Args:
        table: The table.
        has_lower: Whether the range has a lower bound, in the parameters lower_0, lower_1 and so on.
        has_upper: Whether the range has an upper bound, in the parameters upper_0, upper_1 and so on.
        has_after: Whether only the keys after the one in the parameters after_0, after_1 and so on are wanted.
        alias: The alias of the table.
    """
    tests = []
    if has_lower and not has_after:
        tests.append(key_compares(table, ">=", "lower", alias))
    if has_after:
        tests.append(key_compares(table, ">", "after", alias))
    if has_upper:
        tests.append(key_compares(table, "<", "upper", alias))
    return sql.SQL(" AND ").join(tests) if tests else sql.SQL("true")


def outside_ranges(table: Table, excluded: Sequence[tuple[bool, bool]]) -> sql.Composable:
    """Return the predicate of the rows outside of some key ranges.

    Args:
        table: The table.
        excluded: For each range, whether it has a lower and an upper bound (parameters `excluded_<n>_lower_0`, ...).
    """
    tests = []
    for number, (has_lower, has_upper) in enumerate(excluded):
        inside = [
            *([key_compares(table, ">=", f"excluded_{number}_lower")] if has_lower else []),
            *([key_compares(table, "<", f"excluded_{number}_upper")] if has_upper else []),
        ]
        tests.append(sql.SQL("NOT ({})").format(sql.SQL(" AND ").join(inside)) if inside else sql.SQL("false"))
    return sql.SQL(" AND ").join(tests)


def excluded_parameters(excluded: Sequence[KeyRange]) -> dict[str, object]:
    """Return the parameters of `outside_ranges`."""
    parameters: dict[str, object] = {}
    for number, part in enumerate(excluded):
        parameters |= bound_parameters(f"excluded_{number}_lower", part.lower)
        parameters |= bound_parameters(f"excluded_{number}_upper", part.upper)
    return parameters


def bound_parameters(prefix: str, bound: Bound | Sequence[object] | None) -> dict[str, object]:
    """Return the parameters of one bound; none if the range is open there."""
    return {f"{prefix}_{position}": value for position, value in enumerate(bound or ())}


def bound_flags(key_range: KeyRange) -> BoundFlags:
    """Return which bounds a key range has."""
    return {"has_lower": key_range.lower is not None, "has_upper": key_range.upper is not None}


def range_parameters(key_range: KeyRange) -> dict[str, object]:
    """Return the parameters of the bounds of a key range."""
    return {**bound_parameters("lower", key_range.lower), **bound_parameters("upper", key_range.upper)}


def placeholder(column: Column, name: str) -> sql.Composable:
    """Return a parameter cast to a column's type, because CockroachDB takes a string without a cast as TEXT."""
    return sql.SQL("{}::{}").format(sql.Placeholder(name), sql.SQL(column.cast))


def follower_read_clause(table: Table) -> FollowerReadClause:
    """Return the clause that ends the outermost FROM of a query marked with `@follower_read`."""
    return FollowerReadClause(table.dialect.vectors.follower_read_clause)


def evenly_spread_keys(table: Table, condition: sql.Composable) -> sql.Composable:
    """Return the predicate of at most `size` rows that match a condition, evenly spread over their keys."""
    names = [f"crdbvec_key_{position}" for position in range(len(table.key))]
    return sql.SQL(
        "({key}) {is_in} (SELECT {chosen} FROM (SELECT {named}, row_number() OVER (ORDER BY {key}) AS crdbvec_place, "
        "count(*) OVER () AS crdbvec_total FROM {table} WHERE {condition}) AS crdbvec_sample "
        "WHERE (crdbvec_sample.crdbvec_place - 1) "
        "% div(crdbvec_sample.crdbvec_total + %(size)s::bigint - 1, %(size)s::bigint) = 0)"
    ).format(
        key=key_list(table),
        chosen=sql.SQL(", ").join(reference(name, "crdbvec_sample") for name in names),
        named=named_key(table),
        is_in=sql.SQL("IN")
        if key_operator_schema(table) == "pg_catalog"
        else sql.SQL("{} ANY").format(key_operator(table, "=")),
        table=aliased(table),
        condition=condition,
    )
