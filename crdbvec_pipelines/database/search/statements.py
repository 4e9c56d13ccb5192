"""The statements of similarity search. `nearest` decides which of them is sent."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from psycopg import sql

from crdbvec_pipelines.database.column import ColumnDefinition
from crdbvec_pipelines.database.expressions import InputExpressions, key_equals, key_list, placeholder
from crdbvec_pipelines.database.metrics import DISTANCES
from crdbvec_pipelines.database.statement import statement
from crdbvec_pipelines.database.table import Column, Table


@dataclass(frozen=True)
class Filter:
    """The values that one column may have.

    Attributes:
        column: The column.
        value_count: The number of values, in the parameters `filter_<column position>_<value number>`.
        allows_null: Whether NULL is allowed too.
    """

    column: Column
    value_count: int
    allows_null: bool = False


@dataclass(frozen=True)
class SearchClauses:
    """The clauses of a search statement, without their values.

    Attributes:
        filters_inside: Filters in the scan that finds the nearest rows.
        filters_outside: Filters on the nearest `fetch` rows that an index scan returns.
        columns: Further columns to return.
        has_max_distance: Whether rows farther than the parameter `max_distance` are excluded.
        excludes_key: Whether the row whose key is in the parameters `key_0`, ... is excluded.
        follower_read: The clause after FROM for a follower read; None to read current data.
        requires_vector: Whether an index scan repeats the predicate of a partial index, `IS NOT NULL`.
    """

    filters_inside: tuple[Filter, ...] = ()
    filters_outside: tuple[Filter, ...] = ()
    columns: tuple[str, ...] = ()
    has_max_distance: bool = False
    excludes_key: bool = False
    follower_read: sql.Composable | None = None
    requires_vector: bool = True


@statement
def nearest_exact(column: ColumnDefinition, clauses: SearchClauses) -> sql.Composable:
    """Return the `limit` rows nearest to a vector by comparing every row. Rows without a vector are excluded.

    Neither server uses an index to sort by an expression of the distance. CockroachDB sorts NULL first, so without the
    filter the rows without a vector would come first. It also sorts NaN, the cosine distance of a vector of length
    zero, before all numbers; PostgreSQL sorts NaN last.
    """
    output = sql.Identifier(column.spec.output)
    distance = sql.SQL("({} {} %(vector)s::vector)").format(output, DISTANCES[column.metric].operator)
    filters = (*clauses.filters_inside, *clauses.filters_outside)
    conditions = [sql.SQL("{} IS NOT NULL").format(output), *_filter_conditions(column.table, filters)]
    if clauses.has_max_distance:
        conditions.append(sql.SQL("{} <= %(max_distance)s::float8").format(distance))
    if clauses.excludes_key:
        conditions.append(sql.SQL("NOT ({})").format(key_equals(column.table)))
    return sql.SQL(
        "SELECT {distance} AS crdbvec_distance, {value}, {returned} FROM {table}{follower_read} WHERE {conditions} "
        "ORDER BY nullif({distance}, 'NaN'::float8) NULLS LAST, {key} LIMIT %(limit)s"
    ).format(
        distance=distance,
        value=InputExpressions(column).value,
        returned=_identifiers([*(part.name for part in column.table.key), *clauses.columns]),
        table=column.table.identifier,
        follower_read=clauses.follower_read or sql.SQL(""),
        conditions=sql.SQL(" AND ").join(conditions),
        key=key_list(column.table),
    )


@statement
def nearest_indexed(column: ColumnDefinition, clauses: SearchClauses) -> sql.Composable:
    """Return the `limit` rows nearest to a vector, from the nearest `fetch` rows that an index scan returns.

    The sub-query contains only what the index supports, because CockroachDB does not use the index for a sub-query with
    any other condition. CockroachDB accepts AS OF SYSTEM TIME only in the outermost query. Zero is added to the
    distance because otherwise PostgreSQL relies on the order of the index and does not sort; pgvector's order is
    approximate.
    """
    output = sql.Identifier(column.spec.output)
    inside = [
        *([sql.SQL("{} IS NOT NULL").format(output)] if clauses.requires_vector else []),
        *_filter_conditions(column.table, clauses.filters_inside),
    ]
    returned = [*(part.name for part in column.table.key), *clauses.columns]
    filtered = [each.column.name for each in clauses.filters_outside]
    # If the server compares all rows instead, they include rows without a vector or with a vector of length zero.
    is_number = "crdbvec_distance <> 'NaN'::float8" if column.metric == "cosine" else "crdbvec_distance IS NOT NULL"
    outside = [sql.SQL(is_number), *_filter_conditions(column.table, clauses.filters_outside)]
    if clauses.has_max_distance:
        outside.append(sql.SQL("crdbvec_distance <= %(max_distance)s::float8"))
    if clauses.excludes_key:
        outside.append(sql.SQL("NOT ({})").format(key_equals(column.table)))
    return sql.SQL(
        "SELECT crdbvec_distance, {value}, {returned} FROM "
        "(SELECT {needed}, {output} {operator} %(vector)s::vector AS crdbvec_distance FROM {table}{inside} "
        "ORDER BY {output} {operator} %(vector)s::vector LIMIT %(fetch)s) AS nearest{follower_read}{outside} "
        "ORDER BY crdbvec_distance + 0 LIMIT %(limit)s"
    ).format(
        value=InputExpressions(column).value,
        returned=_identifiers(returned),
        needed=_identifiers(dict.fromkeys([*column.spec.input_columns, *returned, *filtered])),
        output=output,
        operator=DISTANCES[column.metric].operator,
        table=column.table.identifier,
        follower_read=clauses.follower_read or sql.SQL(""),
        inside=_where(inside),
        outside=_where(outside),
    )


@statement
def vector_of_row(column: ColumnDefinition) -> sql.Composable:
    """Return the vector of the row with a key, as an array."""
    return sql.SQL("SELECT {}::real[] FROM {} WHERE {}").format(
        sql.Identifier(column.spec.output), column.table.identifier, key_equals(column.table)
    )


@statement
def sample_vectors(column: ColumnDefinition, prefix: Sequence[Column]) -> sql.Composable:
    """Return the vectors and prefix columns of at most `size` rows, evenly spread over the keys, in key order."""
    output = sql.Identifier(column.spec.output)
    returned = [sql.SQL("{}::real[]").format(output), *(sql.Identifier(part.name) for part in prefix)]
    return sql.SQL(
        "SELECT {returned} FROM {table} WHERE ({key}) IN (SELECT {key} FROM ("
        "SELECT {key}, row_number() OVER (ORDER BY {key}) AS place, count(*) OVER () AS total "
        "FROM {table} WHERE {output} IS NOT NULL) AS embedded_rows "
        "WHERE (place - 1) % div(total + %(size)s::bigint - 1, %(size)s::bigint) = 0) ORDER BY {key}"
    ).format(
        returned=sql.SQL(", ").join(returned),
        table=column.table.identifier,
        key=key_list(column.table),
        output=output,
    )


@statement
def explain(search: sql.Composable) -> sql.Composable:
    """Return the query plan of a search, one line per row."""
    return sql.SQL("EXPLAIN {}").format(search)


def _identifiers(names: Iterable[str]) -> sql.Composable:
    return sql.SQL(", ").join(map(sql.Identifier, names))


def _filter_conditions(table: Table, filters: Sequence[Filter]) -> list[sql.Composable]:
    """Return `column = value` or `column IN (values)` for each filter.

    The name of a parameter contains the position of the column, because the name of a column may be any text.
    """
    positions = {name: position for position, name in enumerate(table.columns)}
    conditions: list[sql.Composable] = []
    for each in filters:
        position = positions[each.column.name]
        values = [placeholder(each.column, f"filter_{position}_{number}") for number in range(each.value_count)]
        name = sql.Identifier(each.column.name)
        has_value = (
            sql.SQL("{} = {}").format(name, values[0])
            if len(values) == 1
            else sql.SQL("{} IN ({})").format(name, sql.SQL(", ").join(values))
        )
        if not each.allows_null:
            conditions.append(has_value if values else sql.SQL("false"))
        elif values:
            conditions.append(sql.SQL("({} OR {} IS NULL)").format(has_value, name))
        else:
            conditions.append(sql.SQL("{} IS NULL").format(name))
    return conditions


def _where(conditions: Sequence[sql.Composable]) -> sql.Composable:
    return sql.SQL(" WHERE {}").format(sql.SQL(" AND ").join(conditions)) if conditions else sql.SQL("")
