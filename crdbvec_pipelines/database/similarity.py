"""The statements of similarity search. What asks them, and which of them, is `search`."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from psycopg import sql

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.expressions import InputExpressions, key_equals, key_list, placeholder
from crdbvec_pipelines.database.introspect import Column, Table
from crdbvec_pipelines.database.metrics import DISTANCES
from crdbvec_pipelines.database.statement import statement
from crdbvec_pipelines.encoding.contract import Metric


@dataclass(frozen=True)
class Filter:
    """What one column may hold: so many values (parameters `where_<column position>_<value number>`), perhaps NULL."""

    column: Column
    values: int
    or_null: bool = False


@dataclass(frozen=True)
class Shape:
    """What a search asks for, apart from its values.

    Attributes:
        pinned: filters of the rows that are compared.
        filtered: filters behind the nearest `fetch` rows rather than before.
        columns: further columns to show.
        within: whether rows farther than the parameter `within` are left out.
        without_self: whether the row whose key is in the parameters `key_0`, ... is left out.
        past: what follows the FROM clause to read a little in the past.
        partial: whether rows without a vector are left out by the very predicate of a partial index.
    """

    pinned: tuple[Filter, ...] = ()
    filtered: tuple[Filter, ...] = ()
    columns: tuple[str, ...] = ()
    within: bool = False
    without_self: bool = False
    past: sql.Composable | None = None
    partial: bool = True


@statement
def nearest_exact(table: Table, spec: VectorColumn, metric: Metric, shape: Shape) -> sql.Composable:
    """The `limit` rows nearest to a vector, compared one by one. Rows without a vector are left out.

    An order by an expression of the distance keeps an index from being used on either server. CockroachDB sorts NULL
    first, so without the filter rows without a vector would be the nearest of all; and NaN, the cosine distance of a
    vector of length zero, before all numbers, where PostgreSQL has it behind.
    """
    output = sql.Identifier(spec.output)
    distance = sql.SQL("({} {} %(vector)s::vector)").format(output, DISTANCES[metric].operator)
    tests = [sql.SQL("{} IS NOT NULL").format(output), *_tests(table, (*shape.pinned, *shape.filtered))]
    if shape.within:
        tests.append(sql.SQL("{} <= %(within)s::float8").format(distance))
    if shape.without_self:
        tests.append(sql.SQL("NOT ({})").format(key_equals(table)))
    return sql.SQL(
        "SELECT {distance} AS crdbvec_distance, {value}, {shown} FROM {table}{past} WHERE {tests} "
        "ORDER BY nullif({distance}, 'NaN'::float8) NULLS LAST, {key} LIMIT %(limit)s"
    ).format(
        distance=distance,
        value=InputExpressions(table, spec).value,
        shown=_names([*(column.name for column in table.key), *shape.columns]),
        table=table.identifier,
        past=shape.past or sql.SQL(""),
        tests=sql.SQL(" AND ").join(tests),
        key=key_list(table),
    )


@statement
def nearest_indexed(table: Table, spec: VectorColumn, metric: Metric, shape: Shape) -> sql.Composable:
    """The `limit` rows nearest to a vector by the index: what else is asked is asked of the nearest `fetch` rows.

    Inside stands only what the index serves, since any other test would disable it on CockroachDB. The past is said of
    the whole, since CockroachDB takes it nowhere else. Zero is added, or PostgreSQL takes the order of the index for
    that of the distance and does not sort; pgvector's is only about right.
    """
    output = sql.Identifier(spec.output)
    inside = [
        *([sql.SQL("{} IS NOT NULL").format(output)] if shape.partial else []),
        *_tests(table, shape.pinned),
    ]
    shown = [*(column.name for column in table.key), *shape.columns]
    # Where the server compares all rows after all, those without a vector, or without a direction, are among them.
    is_number = "crdbvec_distance <> 'NaN'::float8" if metric == "cosine" else "crdbvec_distance IS NOT NULL"
    outside = [sql.SQL(is_number), *_tests(table, shape.filtered)]
    if shape.within:
        outside.append(sql.SQL("crdbvec_distance <= %(within)s::float8"))
    if shape.without_self:
        outside.append(sql.SQL("NOT ({})").format(key_equals(table)))
    return sql.SQL(
        "SELECT crdbvec_distance, {value}, {shown} FROM "
        "(SELECT {needed}, {output} {operator} %(vector)s::vector AS crdbvec_distance FROM {table}{inside} "
        "ORDER BY {output} {operator} %(vector)s::vector LIMIT %(fetch)s) AS nearest{past}{outside} "
        "ORDER BY crdbvec_distance + 0 LIMIT %(limit)s"
    ).format(
        value=InputExpressions(table, spec).value,
        shown=_names(shown),
        needed=_names(dict.fromkeys([*spec.input_columns, *shown, *(each.column.name for each in shape.filtered)])),
        output=output,
        operator=DISTANCES[metric].operator,
        table=table.identifier,
        past=shape.past or sql.SQL(""),
        inside=_where(inside),
        outside=_where(outside),
    )


@statement
def vector_of_row(table: Table, spec: VectorColumn) -> sql.Composable:
    """The vector of the row with a key, as an array."""
    return sql.SQL("SELECT {}::real[] FROM {} WHERE {}").format(
        sql.Identifier(spec.output), table.identifier, key_equals(table)
    )


@statement
def sample_vectors(table: Table, spec: VectorColumn, prefix: Sequence[Column]) -> sql.Composable:
    """The vectors of at most `size` rows, evenly spread over the keys and in their order, with their prefix columns."""
    output = sql.Identifier(spec.output)
    shown = [sql.SQL("{}::real[]").format(output), *(sql.Identifier(column.name) for column in prefix)]
    return sql.SQL(
        "SELECT {shown} FROM {table} WHERE ({key}) IN (SELECT {key} FROM ("
        "SELECT {key}, row_number() OVER (ORDER BY {key}) AS place, count(*) OVER () AS total "
        "FROM {table} WHERE {output} IS NOT NULL) AS embedded_rows "
        "WHERE (place - 1) % div(total + %(size)s::bigint - 1, %(size)s::bigint) = 0) ORDER BY {key}"
    ).format(shown=sql.SQL(", ").join(shown), table=table.identifier, key=key_list(table), output=output)


@statement
def explain(search: sql.Composable) -> sql.Composable:
    """The plan of a search, line by line."""
    return sql.SQL("EXPLAIN {}").format(search)


def _names(names: Iterable[str]) -> sql.Composable:
    return sql.SQL(", ").join(map(sql.Identifier, names))


def _tests(table: Table, filters: Sequence[Filter]) -> list[sql.Composable]:
    """`column = value`, or `column IN (values)`; the parameter's name holds the column's place in the table."""
    places = {name: place for place, name in enumerate(table.columns)}
    tests: list[sql.Composable] = []
    for each in filters:
        values = [placeholder(each.column, f"where_{places[each.column.name]}_{n}") for n in range(each.values)]
        name = sql.Identifier(each.column.name)
        has_value = (
            sql.SQL("{} = {}").format(name, values[0])
            if len(values) == 1
            else sql.SQL("{} IN ({})").format(name, sql.SQL(", ").join(values))
        )
        if not each.or_null:
            tests.append(has_value if values else sql.SQL("false"))
        elif values:
            tests.append(sql.SQL("({} OR {} IS NULL)").format(has_value, name))
        else:
            tests.append(sql.SQL("{} IS NULL").format(name))
    return tests


def _where(tests: Sequence[sql.Composable]) -> sql.Composable:
    return sql.SQL(" WHERE {}").format(sql.SQL(" AND ").join(tests)) if tests else sql.SQL("")
