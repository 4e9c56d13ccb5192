"""The conditions of a search as SQL: filters on columns and on paths into columns of JSON."""

from collections.abc import Iterator, Sequence
from itertools import count

from psycopg import sql

from crdbvec_pipelines.database.aliases import ROW, reference
from crdbvec_pipelines.database.search.filters import PATTERN_OPERATORS, Filter
from crdbvec_pipelines.database.statement import statement
from crdbvec_pipelines.database.table import Column, Table


def filter_conditions(table: Table, filters: Sequence[Filter], alias: str = ROW) -> list[sql.Composable]:
    """Return one condition for each filter."""
    return [_condition(table, each, alias) for each in filters]


@statement
def convert_filter_value(table: Table, filter_column: Column) -> sql.Composable:
    """Convert a value to the type of a column, to find which value of a search the server rejects.

    The parameter is `filter_<column position>_0`.
    """
    name = sql.Placeholder(f"filter_{_position(table, filter_column)}_0")
    return sql.SQL("SELECT {}::{}").format(name, sql.SQL(filter_column.cast))


def _condition(table: Table, each: Filter, alias: str) -> sql.Composable:
    if each.is_list:
        return sql.SQL("{} = ANY({}::{}[])").format(
            reference(each.column.name, alias),
            sql.Placeholder(f"filter_{_position(table, each.column)}"),
            sql.SQL(each.column.cast),
        )
    names = _names(table, each)
    compared: _Compared
    if each.is_path:
        compared = _JsonPath(each, next(names), alias)
    elif each.operator in PATTERN_OPERATORS:
        # A column of citext compares by an operator of its own schema.
        compared = _Compared(sql.SQL("{}::text").format(reference(each.column.name, alias)), sql.SQL("text"))
    else:
        compared = _ColumnValue(table, each.column, alias)
    if each.operator not in ("=", "!="):
        # NOT is the same as the operators !~ and !~*, and both servers have it.
        test = compared.by(each.operator.removeprefix("!"), [next(names)])
        return sql.SQL("NOT ({})").format(test) if each.operator.startswith("!") else test
    values = [next(names) for _ in range(each.value_count)]
    tests = [compared.by("=", values)] if values else []
    for has_lower, has_upper in each.ranges:
        bounds = [
            compared.by(operator, [next(names)]) for operator, given in ((">=", has_lower), ("<=", has_upper)) if given
        ]
        tests.append(sql.SQL("({})").format(sql.SQL(" AND ").join(bounds)) if bounds else sql.SQL("true"))
    if each.operator == "!=":
        tests = [sql.SQL("NOT ({})").format(test) for test in tests]
        if each.allows_null:
            tests.append(sql.SQL("{} IS NOT NULL").format(compared.value))
        return sql.SQL(" AND ").join(tests) if tests else sql.SQL("true")
    if each.allows_null:
        tests.append(sql.SQL("{} IS NULL").format(compared.value))
    if len(tests) < 2:
        return tests[0] if tests else sql.SQL("false")
    return sql.SQL("({})").format(sql.SQL(" OR ").join(tests))


class _Compared:
    """A value of a row that is compared with parameters.

    Args:
        value: The value.
        cast: The type of the parameters.
    """

    def __init__(self, value: sql.Composable, cast: sql.Composable) -> None:
        self.value = value
        self._cast = cast

    def by(self, operator: str, names: Sequence[sql.Placeholder]) -> sql.Composable:
        """Return the comparison with one parameter, or with several of which one has to be equal."""
        values = [sql.SQL("{}::{}").format(name, self._cast) for name in names]
        return self._test(operator, values)

    def _test(self, operator: str, values: Sequence[sql.Composable]) -> sql.Composable:
        if len(values) == 1:
            return sql.SQL("{} {} {}").format(self.value, sql.SQL(operator), values[0])
        return sql.SQL("{} IN ({})").format(self.value, sql.SQL(", ").join(values))


class _ColumnValue(_Compared):
    """A column, compared by the operators of its type."""

    def __init__(self, table: Table, column: Column, alias: str) -> None:
        super().__init__(reference(column.name, alias), sql.SQL(column.cast))
        self._dialect = table.dialect
        self._schema = column.operator_schema

    def _test(self, operator: str, values: Sequence[sql.Composable]) -> sql.Composable:
        if self._schema == "pg_catalog":
            return super()._test(operator, values)
        qualified = self._dialect.operator(operator, self._schema)
        tests = [sql.SQL("{} {} {}").format(self.value, qualified, value) for value in values]
        return sql.SQL("({})").format(sql.SQL(" OR ").join(tests)) if operator == "=" else tests[0]


class _JsonPath(_Compared):
    """The value at a path: as text, and compared with numbers as a number, so that 1.0 is 1.

    A number is equal to a JSON string of the same text, too, because both are found by what a user types.
    """

    def __init__(self, each: Filter, path: sql.Placeholder, alias: str) -> None:
        document = sql.SQL("{}::jsonb").format(reference(each.column.name, alias))
        super().__init__(sql.SQL("({} #>> {}::text[])").format(document, path), sql.SQL("text"))
        self._is_number = sql.SQL("jsonb_typeof({} #> {}::text[]) = 'number'").format(document, path)
        self._compares_numbers = each.is_numeric and each.operator not in PATTERN_OPERATORS

    def by(self, operator: str, names: Sequence[sql.Placeholder]) -> sql.Composable:
        if not self._compares_numbers:
            return super().by(operator, names)
        number = _Compared(sql.SQL("{}::numeric").format(self.value), sql.SQL("numeric"))
        return sql.SQL("(CASE WHEN {} THEN {} ELSE {} END)").format(
            self._is_number,
            number.by(operator, names),
            super().by(operator, names) if operator == "=" else sql.SQL("false"),
        )


def _names(table: Table, each: Filter) -> Iterator[sql.Placeholder]:
    position = _position(table, each.column)
    return (sql.Placeholder(f"filter_{position}_{number}") for number in count(each.first))


def _position(table: Table, column: Column) -> int:
    return list(table.columns).index(column.name)
