"""What is wrong with the filters and columns of a search, as errors that name the column and the value."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.database.errors import DatabaseError, TableError
from crdbvec_pipelines.database.search.conditions import convert_filter_value
from crdbvec_pipelines.database.search.filters import Condition, Filter, resolve_filters
from crdbvec_pipelines.database.search.query import SearchQuery
from crdbvec_pipelines.database.sqlstate import is_data_exception, is_undefined_operator
from crdbvec_pipelines.database.table import Table


def check_columns(table: Table, query: SearchQuery) -> None:
    """Check that the columns of a search exist.

    Raises:
        TableError: One does not exist, or its type does not have the operator of a filter.
    """
    resolve_filters(table, query.filters)
    for name in query.columns:
        if name not in table.columns:
            columns = ", ".join(table.columns)
            raise TableError(f"{table.name} has no column {name}. Its columns are {columns}.")


@contextmanager
def translate_invalid_filters(column: BoundColumn, conditions: Sequence[Condition]) -> Iterator[None]:
    """Raise a `TableError` that names the filter if the server rejects one, because the cause is the query."""
    try:
        with translate_invalid_values():
            yield
    except TableError:
        for condition in conditions:
            _check_values(column, condition)
        raise
    except DatabaseError as error:
        if not is_undefined_operator(error.sqlstate) or not conditions:
            raise
        used = ", ".join(f"{each.subject} {each.filter.operator} ({each.filter.column.cast})" for each in conditions)
        raise TableError(
            f"A filter of {column.spec.table} uses an operator that the type of its column does not have: {used}."
        ) from None


@contextmanager
def translate_invalid_values() -> Iterator[None]:
    """Raise a `TableError` if the server rejects a value, because the cause is the query and not the database."""
    try:
        yield
    except DatabaseError as error:
        if not is_data_exception(error.sqlstate):
            raise
        raise TableError(f"A value is not valid for the type of its column: {error.server_message}.") from None


def _check_values(column: BoundColumn, condition: Condition) -> None:
    """Check that the server accepts the values of a filter, one by one.

    Raises:
        TableError: It rejects one; the message names the column, its type and the value.
    """
    filtered = condition.filter.column
    for value in condition.column_values:
        probe = Condition(condition.subject, Filter(filtered, 1), (value,))
        try:
            column.database.fetch(convert_filter_value(column.table, filtered), probe.parameters(column.table))
        except DatabaseError as error:
            if not is_data_exception(error.sqlstate):
                raise
            raise TableError(
                f"The column {filtered.name} of {column.spec.table} is of type {filtered.cast}, and {value!r} of the "
                f"filter on {condition.subject} is not a value of it: {error.server_message}."
            ) from None
