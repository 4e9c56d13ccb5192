"""Filters of a search: from columns and their values to conditions with parameters. Contains no SQL.

`conditions` writes a condition as SQL. A filter has a subject: a column, or a path into a column of JSON such as
`attributes.color`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Literal, get_args

from crdbvec_pipelines.database.errors import TableError
from crdbvec_pipelines.database.table import Column, Table

Operator = Literal["=", "!=", "<", "<=", ">", ">=", "~", "~*", "!~", "!~*"]
"""Comparisons by the order of the column's type, and regular expressions; those with `*` ignore case."""

Filters = Mapping[str, object]
"""Subjects and what they must be: a value, a collection of which it must be one, or operators with their values.

None is NULL. `{"lang": ["en", None], "year": {">=": 1990, "<": 2000}, "title": {"~": "^the "}, "attributes.size": 4}`
"""

OPERATORS: tuple[Operator, ...] = get_args(Operator)
PATTERN_OPERATORS: tuple[Operator, ...] = ("~", "~*", "!~", "!~*")
_EQUALITY_OPERATORS = ("=", "!=")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_JSON_TYPES = ("json", "jsonb")


@dataclass(frozen=True)
class Range:
    """All values from one to another, both included.

    Attributes:
        lower: The smallest value; None if there is none.
        upper: The largest value; None if there is none.
    """

    lower: object = None
    upper: object = None


@dataclass(frozen=True)
class Filter:
    """A condition on one subject, without its values.

    Attributes:
        column: The column.
        value_count: The number of values.
        allows_null: Whether NULL is one of the values.
        is_list: Whether the values are one parameter, a list with the name `filter_<column position>`.
        operator: The comparison with the values.
        ranges: For each range among the values, whether it has a lower and an upper bound.
        is_path: Whether the subject is a path into a column of JSON, which is the first parameter.
        is_numeric: Whether the values of a path are numbers.
        first: The number of the first parameter.

    The parameters are `filter_<column position>_<number>`, because the name of a column may be any text: the path, the
    values, the bounds of the ranges.
    """

    column: Column
    value_count: int = 0
    allows_null: bool = False
    is_list: bool = False
    operator: Operator = "="
    ranges: tuple[tuple[bool, bool], ...] = ()
    is_path: bool = False
    is_numeric: bool = False
    first: int = 0


@dataclass(frozen=True)
class Condition:
    """A filter with its values.

    Attributes:
        subject: The column or path, as the query names it.
        filter: The condition without its values.
        values: The values of its parameters, in order.
    """

    subject: str
    filter: Filter
    values: tuple[object, ...]

    def parameters(self, table: Table) -> dict[str, object]:
        """Return its parameters by name."""
        position = list(table.columns).index(self.filter.column.name)
        return {f"filter_{position}_{self.filter.first + number}": value for number, value in enumerate(self.values)}

    @property
    def column_values(self) -> tuple[object, ...]:
        """The values of the column's type; none for a path and for a regular expression."""
        return () if self.filter.is_path or self.filter.operator in PATTERN_OPERATORS else self.values


def fixes_value(value: object) -> bool:
    """Return whether a filter names the values that its column may have, as the prefix of an index requires."""
    if isinstance(value, Mapping):
        return set(value) == {"="} and fixes_value(value["="])
    return not any(isinstance(each, Range) for each in _as_tuple(value))


def resolve_filters(table: Table, filters: Filters | None) -> list[Condition]:
    """Return the conditions of filters on a table.

    Raises:
        TableError: A column does not exist, or its type does not have the operator; the message names both.
    """
    next_number: dict[str, int] = {}
    conditions = []
    for subject, given in (filters or {}).items():
        column, path = find_subject(table, subject)
        for operator, values in _alternatives(subject, given):
            first = next_number.get(column.name, 0)
            condition = _condition(table, subject, column, path, operator, values, first)
            next_number[column.name] = first + len(condition.values)
            conditions.append(condition)
    return conditions


def find_subject(table: Table, subject: str) -> tuple[Column, tuple[str, ...]]:
    """Return the column of a filter, and the path into it, which is empty for the column itself.

    Raises:
        TableError: There is no such column, or it does not contain JSON.
    """
    parts = subject.split(".")
    for length in range(len(parts), 0, -1):
        column = table.columns.get(".".join(parts[:length]))
        if column is None:
            continue
        if length < len(parts) and column.type_name not in _JSON_TYPES:
            raise TableError(
                f"{table.name} has no column {subject}, and its column {column.name} is of type {column.cast}, which "
                "has no paths. A path such as attributes.color needs a column of type jsonb."
            )
        return column, tuple(parts[length:])
    raise TableError(f"{table.name} has no column {subject}. Its columns are {', '.join(table.columns)}.")


def is_number(value: object) -> bool:
    """Return whether a value is a number or the text of one."""
    if isinstance(value, bool):
        return False
    return isinstance(value, (int, float, Decimal)) or (isinstance(value, str) and bool(_NUMBER.fullmatch(value)))


def _alternatives(subject: str, given: object) -> Iterator[tuple[Operator, tuple[object, ...]]]:
    """Yield the conditions of one subject: an operator with the values of which one, or none, has to be equal."""
    for operator, value in (given if isinstance(given, Mapping) else {"=": given}).items():
        if operator not in OPERATORS:
            raise TableError(
                f"The filter on {subject} has the operator {operator!r}. The operators are {', '.join(OPERATORS)}."
            )
        values = _as_tuple(value)
        if operator in _EQUALITY_OPERATORS:
            yield operator, values
            continue
        for each in values:
            if each is None or isinstance(each, Range):
                raise TableError(f"The filter on {subject} compares with {each!r} by {operator}, which needs a value.")
            yield operator, (each,)


def _condition(
    table: Table,
    subject: str,
    column: Column,
    path: tuple[str, ...],
    operator: Operator,
    values: Sequence[object],
    first: int,
) -> Condition:
    if operator in PATTERN_OPERATORS and not path and not column.is_text:
        raise TableError(
            f"The column {column.name} of {table.name} is of type {column.cast}, and {operator} compares texts with a "
            "regular expression. Use =, !=, <, <=, > or >=."
        )
    single = [each for each in values if each is not None and not isinstance(each, Range)]
    ranges = [each for each in values if isinstance(each, Range)]
    bounds = [bound for each in ranges for bound in (each.lower, each.upper) if bound is not None]
    compared = [*single, *bounds]
    return Condition(
        subject,
        Filter(
            column,
            len(single),
            None in values,
            operator=operator,
            ranges=tuple((each.lower is not None, each.upper is not None) for each in ranges),
            is_path=bool(path),
            is_numeric=bool(path) and bool(compared) and all(map(is_number, compared)),
            first=first,
        ),
        (*([list(path)] if path else []), *(map(_json_text, compared) if path else compared)),
    )


def _json_text(value: object) -> object:
    """Return a value as the text that a path into JSON has."""
    if isinstance(value, bool):
        return str(value).lower()
    return value.isoformat() if isinstance(value, date) else str(value)


def _as_tuple(value: object) -> tuple[object, ...]:
    return tuple(value) if isinstance(value, (list, tuple, set, frozenset)) else (value,)
