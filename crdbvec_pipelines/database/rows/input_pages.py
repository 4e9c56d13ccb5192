"""The inputs of a table, with or without a vector: a sample that is spread over the keys, or all of them in pages."""

from collections.abc import Iterator, Sequence

from psycopg import sql

from crdbvec_pipelines.database.aliases import aliased
from crdbvec_pipelines.database.column import BoundColumn, ColumnDefinition
from crdbvec_pipelines.database.expressions import (
    InputExpressions,
    bound_parameters,
    evenly_spread_keys,
    follower_read_clause,
    in_range,
    key_list,
)
from crdbvec_pipelines.database.statement import follower_read

KeyedInput = tuple[tuple[object, ...], object]
"""The key of a row and its input."""


@follower_read
def sample_all_inputs(column: ColumnDefinition) -> sql.Composable:
    """Return input and key of at most `size` rows that have an input, spread over their keys, in order."""
    return sql.SQL("SELECT {value}, {key} FROM {table}{past} WHERE {evenly_spread} ORDER BY {key}").format(
        value=InputExpressions(column).value,
        key=key_list(column.table),
        table=aliased(column.table),
        past=follower_read_clause(column.table),
        evenly_spread=evenly_spread_keys(column.table, InputExpressions(column).has_content),
    )


@follower_read
def inputs_page(column: ColumnDefinition, *, has_after: bool) -> sql.Composable:
    """Return input and key of at most `limit` rows that have an input, in key order."""
    return sql.SQL(
        "SELECT {value}, {key} FROM {table}{past} WHERE {range} AND {has_content} ORDER BY {key} LIMIT %(limit)s"
    ).format(
        value=InputExpressions(column).value,
        key=key_list(column.table),
        table=aliased(column.table),
        past=follower_read_clause(column.table),
        range=in_range(column.table, has_lower=False, has_upper=False, has_after=has_after),
        has_content=InputExpressions(column).has_content,
    )


def sample_of_inputs(column: BoundColumn, size: int) -> list[KeyedInput]:
    """Return key and input of at most `size` rows that have an input, in the order of the keys."""
    query = sample_all_inputs(column).as_of("follower_read")
    return [(tuple(key), value) for value, *key in column.database.fetch(query, {"size": size})]


def all_inputs(column: BoundColumn, page_rows: int) -> Iterator[list[KeyedInput]]:
    """Yield key and input of all rows that have an input, in pages, in the order of the keys."""
    after: Sequence[object] = ()
    while True:
        rows = column.database.fetch(
            inputs_page(column, has_after=bool(after)).as_of("follower_read"),
            {"limit": page_rows, **bound_parameters("after", after)},
        )
        if rows:
            yield [(tuple(key), value) for value, *key in rows]
        if len(rows) < page_rows:
            return
        after = rows[-1][1:]
