"""The statements of similarity search. `nearest` decides which of them is sent."""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from crdbvec_pipelines.database.aliases import ROW, aliased, reference, references, unused_name
from crdbvec_pipelines.database.column import ColumnDefinition
from crdbvec_pipelines.database.expressions import (
    InputExpressions,
    distance_operator,
    evenly_spread_keys,
    follower_read_clause,
    in_range,
    key_equals,
    key_list,
    placeholder,
    vector_parameter,
)
from crdbvec_pipelines.database.schema.column_metadata import recorded_models
from crdbvec_pipelines.database.search.conditions import filter_conditions
from crdbvec_pipelines.database.search.filters import Filter
from crdbvec_pipelines.database.statement import custom_plan, follower_read, statement
from crdbvec_pipelines.database.table import Column, Table

# The alias of the sub-query of an index scan.
_NEAREST = "crdbvec_nearest"


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
        cast: The type to which the index casts the column; None for an index over the column itself. The distance that
            is returned is that of the column.
        reads_models: Whether the recorded models of the column are returned, too, as the first column.
        all_chunks: Whether every chunk of a row may be returned, not only the nearest one.
        has_lower: Whether an exact scan compares only the rows from a key on, in the parameters `lower_0`, ...
        has_upper: Whether an exact scan compares only the rows before a key, in the parameters `upper_0`, ...
        returns_input: Whether the input of each row is returned; otherwise NULL. Not for chunks.
    """

    filters_inside: tuple[Filter, ...] = ()
    filters_outside: tuple[Filter, ...] = ()
    columns: tuple[str, ...] = ()
    has_max_distance: bool = False
    excludes_key: bool = False
    follower_read: sql.Composable | None = None
    requires_vector: bool = True
    cast: str | None = None
    reads_models: bool = False
    all_chunks: bool = False
    has_lower: bool = False
    has_upper: bool = False
    returns_input: bool = True


@custom_plan
def nearest_exact(column: ColumnDefinition, clauses: SearchClauses) -> sql.Composable:
    """Return the `limit` rows nearest to a vector by comparing every row. Rows without a vector are excluded.

    Neither server uses an index to sort by an expression of the distance. CockroachDB sorts NULL first, so without the
    filter the rows without a vector would come first. It also sorts NaN, the cosine distance of a vector of length
    zero, before all numbers; PostgreSQL sorts NaN last.
    """
    output = reference(column.spec.output)
    distance = sql.SQL("({} {} {})").format(output, distance_operator(column), vector_parameter(column))
    filters = (*clauses.filters_inside, *clauses.filters_outside)
    conditions = [sql.SQL("{} IS NOT NULL").format(output), *filter_conditions(column.table, filters)]
    if clauses.has_lower or clauses.has_upper:
        conditions.append(in_range(column.table, has_lower=clauses.has_lower, has_upper=clauses.has_upper))
    if clauses.has_max_distance:
        conditions.append(sql.SQL("{} <= %(max_distance)s::float8").format(distance))
    if clauses.excludes_key:
        conditions.append(sql.SQL("NOT ({})").format(key_equals(column.table)))
    return sql.SQL(
        "SELECT {models}{distance} AS crdbvec_distance, {value}, {returned} FROM {table}{follower_read} "
        "WHERE {conditions} "
        "ORDER BY nullif({distance}, 'NaN'::float8) NULLS LAST, {key} LIMIT %(limit)s"
    ).format(
        models=models(column, clauses),
        distance=distance,
        value=InputExpressions(column).value if clauses.returns_input else sql.SQL("NULL"),
        returned=references([*(part.name for part in column.table.key), *clauses.columns], ROW),
        table=aliased(column.table),
        follower_read=clauses.follower_read or sql.SQL(""),
        conditions=sql.SQL(" AND ").join(conditions),
        key=key_list(column.table),
    )


@custom_plan
def nearest_indexed(column: ColumnDefinition, clauses: SearchClauses) -> sql.Composable:
    """Return the `limit` rows nearest to a vector, from the nearest `fetch` rows that an index scan returns.

    The sub-query contains only what the index supports, because CockroachDB does not use the index for a sub-query with
    any other condition. CockroachDB accepts AS OF SYSTEM TIME only in the outermost query. Zero is added to the
    distance because otherwise PostgreSQL relies on the order of the index and does not sort; pgvector's order is
    approximate.
    """
    output, dialect = reference(column.spec.output), column.table.dialect
    inside = [
        *([sql.SQL("{} IS NOT NULL").format(output)] if clauses.requires_vector else []),
        *filter_conditions(column.table, clauses.filters_inside),
    ]
    returned = [*(part.name for part in column.table.key), *clauses.columns]
    filtered = [each.column.name for each in clauses.filters_outside]
    inputs = column.spec.input_columns if clauses.returns_input else ()
    # The sub-query returns columns of the table next to the distance, so its name must not be one of theirs.
    name = unused_name(column.table, "crdbvec_distance")
    distance = reference(name, _NEAREST)
    # If the server compares all rows instead, they include rows without a vector or with a vector of length zero.
    is_number = "{} <> 'NaN'::float8" if column.metric == "cosine" else "{} IS NOT NULL"
    outside = [
        sql.SQL(is_number).format(distance),
        *filter_conditions(column.table, clauses.filters_outside, _NEAREST),
    ]
    if clauses.has_max_distance:
        outside.append(sql.SQL("{} <= %(max_distance)s::float8").format(distance))
    if clauses.excludes_key:
        outside.append(sql.SQL("NOT ({})").format(key_equals(column.table, _NEAREST)))
    return sql.SQL(
        "SELECT {models}{distance}, {value}, {returned} FROM "
        "(SELECT {needed}, {output} {operator} {vector} AS {name} FROM {table}{inside} "
        "ORDER BY {indexed} {operator} {indexed_vector} LIMIT %(fetch)s) AS {nearest}{follower_read}{outside} "
        "ORDER BY {distance} + 0 LIMIT %(limit)s"
    ).format(
        models=models(column, clauses),
        distance=distance,
        name=sql.Identifier(name),
        nearest=sql.Identifier(_NEAREST),
        value=InputExpressions(column, _NEAREST).value if clauses.returns_input else sql.SQL("NULL"),
        returned=references(returned, _NEAREST),
        needed=references(dict.fromkeys([*inputs, *returned, *filtered]), ROW),
        output=output,
        vector=vector_parameter(column),
        indexed=output
        if clauses.cast is None
        else sql.SQL("({}::{})").format(output, dialect.vector_object(clauses.cast)),
        indexed_vector=vector_parameter(column, clauses.cast),
        operator=distance_operator(column),
        table=aliased(column.table),
        follower_read=clauses.follower_read or sql.SQL(""),
        inside=_where(inside),
        outside=_where(outside),
    )


@custom_plan
def application_search(column: ColumnDefinition, prefix: Sequence[Column]) -> sql.Composable:
    """Return the keys of the rows nearest to a vector as an application reads them; only for its query plan.

    It has no condition but those on the prefix columns, whose values are in the parameters `filter_<position>_0`.
    """
    conditions = filter_conditions(column.table, [Filter(part, 1) for part in prefix])
    return sql.SQL("SELECT {key} FROM {table}{where} ORDER BY {output} {operator} {vector} LIMIT %(limit)s").format(
        key=key_list(column.table),
        table=aliased(column.table),
        where=_where(conditions),
        output=reference(column.spec.output),
        operator=distance_operator(column),
        vector=vector_parameter(column),
    )


@statement
def next_value(table: Table, prefix_column: Column, *, has_after: bool) -> sql.Composable:
    """Return the next value of a prefix column after `after`, or the first one, which an index on it finds."""
    name = reference(prefix_column.name)
    condition = (
        sql.SQL("{} > {}").format(name, placeholder(prefix_column, "after"))
        if has_after
        else sql.SQL("{} IS NOT NULL").format(name)
    )
    return sql.SQL("SELECT {name} FROM {table} WHERE {condition} ORDER BY {name} LIMIT 1").format(
        name=name, table=aliased(table), condition=condition
    )


@statement
def has_null_value(table: Table, prefix_column: Column) -> sql.Composable:
    """Return one row if a prefix column of a row is NULL."""
    return sql.SQL("SELECT 1 FROM {} WHERE {} IS NULL LIMIT 1").format(aliased(table), reference(prefix_column.name))


@custom_plan
def first_row(column: ColumnDefinition, clauses: SearchClauses) -> sql.Composable:
    """Return one row if any row has a vector and matches filters, to explain a search that found none."""
    conditions = filter_conditions(column.table, clauses.filters_inside)
    if clauses.requires_vector:
        conditions.insert(0, sql.SQL("{} IS NOT NULL").format(reference(column.spec.output)))
    return sql.SQL("SELECT 1 FROM {}{} LIMIT 1").format(aliased(column.table), _where(conditions))


@statement
def value_in_other_case(table: Table, filter_column: Column) -> sql.Composable:
    """Return a value of a column that differs from another one at most in upper and lower case.

    The parameter is `filter_<column position>_0`.
    """
    position = list(table.columns).index(filter_column.name)
    name = sql.SQL("{}::text").format(reference(filter_column.name))
    return sql.SQL("SELECT {name} FROM {table} WHERE lower({name}) = lower({value}::text) LIMIT 1").format(
        name=name, table=aliased(table), value=sql.Placeholder(f"filter_{position}_0")
    )


@statement
def value_of_row(table: Table, prefix_column: Column) -> sql.Composable:
    """Return the value of a column in the row with a key."""
    return sql.SQL("SELECT {} FROM {} WHERE {}").format(
        reference(prefix_column.name), aliased(table), key_equals(table)
    )


@statement
def vector_of_row(column: ColumnDefinition) -> sql.Composable:
    """Return the vector of the row with a key, as an array."""
    return sql.SQL("SELECT {}::real[] FROM {} WHERE {}").format(
        reference(column.spec.output), aliased(column.table), key_equals(column.table)
    )


@follower_read
def sample_vectors(
    column: ColumnDefinition, prefix: Sequence[Column], *, has_lower: bool, has_upper: bool
) -> sql.Composable:
    """Return vector, prefix columns and key of at most `size` rows of a key range, evenly spread, in key order."""
    output = reference(column.spec.output)
    returned = [sql.SQL("{}::real[]").format(output), *(reference(part.name) for part in prefix)]
    has_vector = sql.SQL("{} IS NOT NULL").format(output)
    if has_lower or has_upper:
        has_vector = sql.SQL("{} AND {}").format(
            in_range(column.table, has_lower=has_lower, has_upper=has_upper), has_vector
        )
    return sql.SQL("SELECT {returned}, {key} FROM {table}{past} WHERE {evenly_spread} ORDER BY {key}").format(
        returned=sql.SQL(", ").join(returned),
        table=aliased(column.table),
        past=follower_read_clause(column.table),
        evenly_spread=evenly_spread_keys(column.table, has_vector),
        key=key_list(column.table),
    )


@custom_plan
def explain(search: sql.Composable) -> sql.Composable:
    """Return the query plan of a search, one line per row."""
    return sql.SQL("EXPLAIN {}").format(search)


def models(column: ColumnDefinition, clauses: SearchClauses) -> sql.Composable:
    """Return the recorded models as the first column of a search, if it reads them."""
    return sql.SQL("{}, ").format(recorded_models(column)) if clauses.reads_models else sql.SQL("")


def _where(conditions: Sequence[sql.Composable]) -> sql.Composable:
    return sql.SQL(" WHERE {}").format(sql.SQL(" AND ").join(conditions)) if conditions else sql.SQL("")
