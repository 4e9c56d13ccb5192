"""Pieces of SQL that several statements share: the input as text, its fingerprint, who is pending, key ranges.

Parameters, wherever these pieces are used: `seed` (what the fingerprint starts with, see `fingerprint_seed`),
`lower_0`, `upper_0`, `after_0` and so on (one for each key column).
"""

from collections.abc import Sequence

from psycopg import sql

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.introspect import Column, Table
from crdbvec_pipelines.keyspace import Bound, KeyRange

_BLANK = sql.SQL(r"E' \t\r\n\f\x0b'")


def fingerprint_seed(model_id: str) -> str:
    """What a fingerprint's text starts with. The line end keeps a model's name from running into the input."""
    return f"{model_id}\n"


def column_text(column: Column) -> sql.Composable:
    """A column's value as text, the same in every session of ours."""
    name = sql.Identifier(column.name)
    if column.is_bytes:
        # Not a cast: that depends on the setting bytea_output.
        return sql.SQL("encode({}, 'hex')").format(name)
    return name if column.is_text else sql.SQL("{}::text").format(name)


def has_content(column: Column) -> sql.Composable:
    """Whether a column holds anything to embed: not NULL, not blank, not empty. Never NULL itself."""
    name = sql.Identifier(column.name)
    if column.is_text:
        return sql.SQL("({0} IS NOT NULL AND btrim({0}, {1}) <> '')").format(name, _BLANK)
    if column.is_bytes:
        return sql.SQL("({0} IS NOT NULL AND length({0}) > 0)").format(name)
    return sql.SQL("({} IS NOT NULL)").format(name)


class InputExpressions:
    """The SQL of one vector column's input."""

    def __init__(self, table: Table, spec: VectorColumn) -> None:
        self._columns = [table.columns[name] for name in spec.input_columns]
        self._spec = spec

    @property
    def value(self) -> sql.Composable:
        """What the model is given: the column as it is, or one text made from several."""
        return sql.Identifier(self._columns[0].name) if self._is_plain else self.text

    @property
    def text(self) -> sql.Composable:
        """The input as text, as the fingerprint sees it."""
        if self._is_plain:
            return column_text(self._columns[0])
        if self._spec.template is None:
            # concat_ws leaves out the NULLs and their separators.
            return sql.SQL("concat_ws(E'\\n', {})").format(sql.SQL(", ").join(map(column_text, self._columns)))
        columns = {column.name: column for column in self._columns}
        pieces: list[sql.Composable] = []
        for literal, name in self._spec.template_parts:
            if literal:
                pieces.append(sql.Literal(literal))
            if name is not None:
                pieces.append(sql.SQL("coalesce({}, '')").format(column_text(columns[name])))
        return sql.SQL("({})").format(sql.SQL(" || ").join(pieces))

    @property
    def fingerprint(self) -> sql.Composable:
        """md5 over model and input; the one hash of text that both servers have under one name."""
        return sql.SQL("md5(%(seed)s::text || {})").format(self.text)

    @property
    def has_content(self) -> sql.Composable:
        """Whether any input column holds something to embed."""
        return sql.SQL("({})").format(sql.SQL(" OR ").join(map(has_content, self._columns)))

    @property
    def is_present(self) -> sql.Composable:
        """Whether any input column is not NULL; the part of `has_content` that an index predicate may hold."""
        tests = [sql.SQL("{} IS NOT NULL").format(sql.Identifier(column.name)) for column in self._columns]
        return tests[0] if len(tests) == 1 else sql.SQL("({})").format(sql.SQL(" OR ").join(tests))

    @property
    def _is_plain(self) -> bool:
        return self._spec.template is None and len(self._columns) == 1


def key_list(table: Table) -> sql.Composable:
    """The key columns, separated by commas."""
    return sql.SQL(", ").join(sql.Identifier(column.name) for column in table.key)


def key_equals(table: Table) -> sql.Composable:
    """`key = parameters key_0, key_1, ...`."""
    return sql.SQL(" AND ").join(
        sql.SQL("{} = {}").format(sql.Identifier(column.name), placeholder(column, f"key_{position}"))
        for position, column in enumerate(table.key)
    )


def key_compares(table: Table, operator: str, prefix: str) -> sql.Composable:
    """`key <operator> parameters prefix_0, prefix_1, ...`, as a row comparison where the key is composite."""
    values = sql.SQL(", ").join(
        placeholder(column, f"{prefix}_{position}") for position, column in enumerate(table.key)
    )
    if len(table.key) == 1:
        return sql.SQL("{} {} {}").format(key_list(table), sql.SQL(operator), values)
    return sql.SQL("({}) {} ({})").format(key_list(table), sql.SQL(operator), values)


def in_range(table: Table, *, lower: bool, upper: bool, after: bool = False) -> sql.Composable:
    """The predicate of a key range with the ends that are not open, and of rows behind a key already read."""
    tests = []
    if lower and not after:
        tests.append(key_compares(table, ">=", "lower"))
    if after:
        tests.append(key_compares(table, ">", "after"))
    if upper:
        tests.append(key_compares(table, "<", "upper"))
    return sql.SQL(" AND ").join(tests) if tests else sql.SQL("true")


def bound_parameters(prefix: str, bound: Bound | Sequence[object] | None) -> dict[str, object]:
    """The parameters of one bound, none for an open end."""
    return {f"{prefix}_{position}": value for position, value in enumerate(bound or ())}


def range_parameters(key_range: KeyRange) -> dict[str, object]:
    """The parameters of a key range's ends."""
    return {**bound_parameters("lower", key_range.lower), **bound_parameters("upper", key_range.upper)}


def placeholder(column: Column, name: str) -> sql.Composable:
    """A parameter cast to a column's type, since CockroachDB takes an uncast string for TEXT."""
    return sql.SQL("{}::{}").format(sql.Placeholder(name), sql.SQL(column.cast))
