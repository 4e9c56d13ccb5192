"""A sample of the inputs whose vectors are in the table."""

from collections.abc import Sequence

from psycopg import sql

from crdbvec_pipelines.database.aliases import aliased, reference
from crdbvec_pipelines.database.column import BoundColumn, ColumnDefinition
from crdbvec_pipelines.database.expressions import (
    InputExpressions,
    bound_flags,
    bound_parameters,
    evenly_spread_keys,
    follower_read_clause,
    in_range,
    key_equals,
    key_list,
    range_parameters,
)
from crdbvec_pipelines.database.statement import follower_read, statement
from crdbvec_pipelines.keyspace import KeyRange


@follower_read
def sample_embedded(column: ColumnDefinition, *, has_lower: bool, has_upper: bool) -> sql.Composable:
    """Return the inputs of at most `size` rows of a key range that have an input and a vector, spread over their keys.

    The distance between two rows of the sample is a number of keys, so few keys are compared with many rows in between.
    """
    in_this_range = in_range(column.table, has_lower=has_lower, has_upper=has_upper)
    return sql.SQL("SELECT {value} FROM {table}{past} WHERE {evenly_spread}").format(
        value=InputExpressions(column).value,
        table=aliased(column.table),
        past=follower_read_clause(column.table),
        evenly_spread=evenly_spread_keys(
            column.table, sql.SQL("{} AND {}").format(in_this_range, _is_embedded(column))
        ),
    )


@follower_read
def sample_embedded_keys(column: ColumnDefinition, column_name: str) -> sql.Composable:
    """Return the keys of at most `size` rows with a vector in this and in another column, spread over their keys."""
    condition = sql.SQL("{} IS NOT NULL AND {} IS NOT NULL").format(
        reference(column.spec.output), reference(column_name)
    )
    return sql.SQL("SELECT {key} FROM {table}{past} WHERE {evenly_spread} ORDER BY {key}").format(
        key=key_list(column.table),
        table=aliased(column.table),
        past=follower_read_clause(column.table),
        evenly_spread=evenly_spread_keys(column.table, condition),
    )


def sample_keys(column: BoundColumn, other: str, size: int) -> list[tuple[object, ...]]:
    """Return the keys of at most `size` rows with a vector in a column and in another one of the same table."""
    return [tuple(row) for row in column.database.fetch(sample_embedded_keys(column, other), {"size": size})]


@follower_read
def sample_keyed_inputs(column: ColumnDefinition) -> sql.Composable:
    """Return input and key of at most `size` rows that have an input and a vector, spread over their keys, in order."""
    return sql.SQL("SELECT {value}, {key} FROM {table}{past} WHERE {evenly_spread} ORDER BY {key}").format(
        value=InputExpressions(column).value,
        key=key_list(column.table),
        table=aliased(column.table),
        past=follower_read_clause(column.table),
        evenly_spread=evenly_spread_keys(column.table, _is_embedded(column)),
    )


def keyed_inputs(column: BoundColumn, size: int) -> list[tuple[tuple[object, ...], object]]:
    """Return key and input of at most `size` rows that have an input and a vector, in the order of the keys."""
    query = sample_keyed_inputs(column).as_of("follower_read")
    return [(tuple(key), value) for value, *key in column.database.fetch(query, {"size": size})]


def embedded_inputs(column: BoundColumn, key_range: KeyRange, size: int) -> list[object]:
    """Return the inputs of at most `size` rows of a key range that have an input and a vector."""
    query = sample_embedded(column, **bound_flags(key_range)).as_of("follower_read")
    return [value for (value,) in column.database.fetch(query, {**range_parameters(key_range), "size": size})]


@statement
def embedded_input(column: ColumnDefinition) -> sql.Composable:
    """Return the input of the row with a key, if it has an input and a vector."""
    return sql.SQL("SELECT {value} FROM {table} WHERE {key} AND {is_embedded}").format(
        value=InputExpressions(column).value,
        table=aliased(column.table),
        key=key_equals(column.table),
        is_embedded=_is_embedded(column),
    )


def input_of(column: BoundColumn, key: Sequence[object]) -> object:
    """Return the input of the row with a key; None if the row does not exist any more, or has no vector."""
    found = column.database.fetch(embedded_input(column), bound_parameters("key", key))
    return found[0][0] if found else None


def _is_embedded(column: ColumnDefinition) -> sql.Composable:
    return sql.SQL("{} IS NOT NULL AND {}").format(reference(column.spec.output), InputExpressions(column).has_content)
