"""A sample of the inputs whose vectors are in the table."""

from psycopg import sql

from crdbvec_pipelines.database.aliases import aliased, reference
from crdbvec_pipelines.database.column import BoundColumn, ColumnDefinition
from crdbvec_pipelines.database.expressions import (
    InputExpressions,
    bound_flags,
    evenly_spread_keys,
    follower_read_clause,
    in_range,
    range_parameters,
)
from crdbvec_pipelines.database.statement import follower_read
from crdbvec_pipelines.keyspace import KeyRange


@follower_read
def sample_embedded(column: ColumnDefinition, *, has_lower: bool, has_upper: bool) -> sql.Composable:
    """Return the inputs of at most `size` rows of a key range that have an input and a vector, spread over their keys.

    The distance between two rows of the sample is a number of keys, so few keys are compared with many rows in between.
    """
    expressions = InputExpressions(column)
    condition = sql.SQL("{range} AND {output} IS NOT NULL AND {content}").format(
        range=in_range(column.table, has_lower=has_lower, has_upper=has_upper),
        output=reference(column.spec.output),
        content=expressions.has_content,
    )
    return sql.SQL("SELECT {value} FROM {table}{past} WHERE {evenly_spread}").format(
        value=expressions.value,
        table=aliased(column.table),
        past=follower_read_clause(column.table),
        evenly_spread=evenly_spread_keys(column.table, condition),
    )


def embedded_inputs(column: BoundColumn, key_range: KeyRange, size: int) -> list[object]:
    """Return the inputs of at most `size` rows of a key range that have an input and a vector."""
    query = sample_embedded(column, **bound_flags(key_range)).as_of("follower_read")
    return [value for (value,) in column.database.fetch(query, {**range_parameters(key_range), "size": size})]
