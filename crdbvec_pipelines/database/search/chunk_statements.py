"""The statements of similarity search over a chunk table. `chunk_neighbors` decides which of them is sent.

Their parameters are those of `statements`, and `seed`, with which the fingerprint of the input of each hit is computed.
"""

from collections.abc import Sequence

from psycopg import sql

from crdbvec_pipelines.database.aliases import ROW, aliased, reference, unused_name
from crdbvec_pipelines.database.chunks.statements import CHUNK, chunk_of_row
from crdbvec_pipelines.database.chunks.table import END, NUMBER, START, TEXT, chunk_definition
from crdbvec_pipelines.database.column import ColumnDefinition
from crdbvec_pipelines.database.expressions import (
    InputExpressions,
    distance_operator,
    key_equals,
    key_list,
    vector_parameter,
)
from crdbvec_pipelines.database.search.conditions import filter_conditions
from crdbvec_pipelines.database.search.statements import SearchClauses, models
from crdbvec_pipelines.database.statement import custom_plan, statement

# The aliases of the scan that finds chunks, and of the nearest chunk of each row.
_SCAN, _NEAREST = "crdbvec_scan", "crdbvec_nearest"
_NAN = "'NaN'::float8"


@custom_plan
def nearest_chunks_exact(column: ColumnDefinition, clauses: SearchClauses) -> sql.Composable:
    """Return the `limit` rows whose nearest chunk is nearest to a vector, by comparing every chunk.

    Only rows that are embedded are compared. The last returned column says whether the input is the one that the chunks
    were made from.
    """
    distance = _distance(column)
    conditions = [
        sql.SQL("{} IS NOT NULL").format(reference(column.spec.output)),
        *filter_conditions(column.table, (*clauses.filters_inside, *clauses.filters_outside)),
    ]
    if clauses.excludes_key:
        conditions.append(sql.SQL("NOT ({})").format(key_equals(column.table)))
    scan = sql.SQL(
        "SELECT {chunk}, {distance} AS {name} FROM {chunks} JOIN {table} ON {is_own} WHERE {conditions}"
    ).format(
        chunk=_chunk_columns(column, CHUNK),
        distance=distance,
        name=sql.Identifier(_distance_name(column)),
        chunks=aliased(chunk_definition(column).table, CHUNK),
        table=aliased(column.table),
        is_own=chunk_of_row(column.table),
        conditions=sql.SQL(" AND ").join(conditions),
    )
    return _hits(column, clauses, scan, [])


@custom_plan
def nearest_chunks_indexed(column: ColumnDefinition, clauses: SearchClauses) -> sql.Composable:
    """Return the `limit` rows whose nearest chunk is nearest, from the nearest `fetch` chunks of an index scan.

    The innermost query contains only what the index supports. The conditions on the prefix columns are repeated on the
    source table, whose values are the present ones.
    """
    chunks = chunk_definition(column)
    inside = filter_conditions(column.table, clauses.filters_inside, CHUNK)
    output = reference(column.spec.output, CHUNK)
    indexed = (
        output
        if clauses.cast is None
        else sql.SQL("({}::{})").format(output, column.table.dialect.vector_object(clauses.cast))
    )
    scan = sql.SQL(
        "SELECT {chunk}, {distance} AS {name} FROM {chunks}{where} ORDER BY {indexed} {operator} {vector} "
        "LIMIT %(fetch)s"
    ).format(
        chunk=_chunk_columns(column, CHUNK),
        distance=_distance(column),
        name=sql.Identifier(_distance_name(column)),
        chunks=aliased(chunks.table, CHUNK),
        where=sql.SQL(" WHERE {}").format(sql.SQL(" AND ").join(inside)) if inside else sql.SQL(""),
        indexed=indexed,
        operator=distance_operator(column),
        vector=vector_parameter(column, clauses.cast),
    )
    outside = [
        sql.SQL("{} IS NOT NULL").format(reference(column.spec.output)),
        *filter_conditions(column.table, (*clauses.filters_inside, *clauses.filters_outside)),
    ]
    if clauses.excludes_key:
        outside.append(sql.SQL("NOT ({})").format(key_equals(column.table)))
    return _hits(column, clauses, scan, outside)


@statement
def vectors_of_row(column: ColumnDefinition) -> sql.Composable:
    """Return the vectors of the chunks of the row with a key, as arrays; one NULL for a row without chunks."""
    chunks = chunk_definition(column)
    return sql.SQL(
        "SELECT {output}::real[] FROM {table} LEFT JOIN {chunks} ON {is_own} AND {marker} IS NOT NULL WHERE {key}"
    ).format(
        output=reference(column.spec.output, CHUNK),
        table=aliased(column.table),
        chunks=aliased(chunks.table, CHUNK),
        is_own=chunk_of_row(column.table),
        marker=reference(column.spec.output),
        key=key_equals(column.table),
    )


def nearest_chunk_distance(column: ColumnDefinition) -> sql.Composable:
    """Return the distance of the nearest chunk of a row from the parameter `vector`; NULL for a pending row."""
    return sql.SQL("(SELECT min({}) FROM {} WHERE {} AND {} IS NOT NULL)").format(
        _distance(column),
        aliased(chunk_definition(column).table, CHUNK),
        chunk_of_row(column.table),
        reference(column.spec.output),
    )


def _hits(
    column: ColumnDefinition, clauses: SearchClauses, scan: sql.Composable, conditions: Sequence[sql.Composable]
) -> sql.Composable:
    """Return the search: the nearest chunk of each row of a scan, with the row."""
    table, chunks = column.table, chunk_definition(column).table
    key = key_list(table, _SCAN)
    found_distance = reference(_distance_name(column), _SCAN)
    distance = reference(_distance_name(column), _NEAREST)
    nearest = sql.SQL(
        "SELECT {once}{chunk}, {distance} FROM ({scan}) AS {alias} WHERE {distance} <> {nan}{order}"
    ).format(
        once=sql.SQL("") if clauses.all_chunks else sql.SQL("DISTINCT ON ({}) ").format(key),
        chunk=_chunk_columns(column, _SCAN),
        distance=found_distance,
        scan=scan,
        alias=sql.Identifier(_SCAN),
        nan=sql.SQL(_NAN),
        order=sql.SQL("") if clauses.all_chunks else sql.SQL(" ORDER BY {}, {}").format(key, found_distance),
    )
    returned = [reference(name) for name in (*(part.name for part in table.key), *clauses.columns)]
    outside = list(conditions)
    if clauses.has_max_distance:
        outside.append(sql.SQL("{} <= %(max_distance)s::float8").format(distance))
    text = reference(TEXT, _NEAREST) if TEXT in chunks.columns else sql.SQL("NULL::text")
    return sql.SQL(
        "SELECT {models}{distance}, {value}, {returned}, {chunk}, {text}, {is_current} FROM ({nearest}) AS {alias} "
        "JOIN {table} ON {is_own}{follower_read}{where} ORDER BY {distance} + 0, {key}, {number} LIMIT %(limit)s"
    ).format(
        models=models(column, clauses),
        distance=distance,
        value=InputExpressions(column).value,
        returned=sql.SQL(", ").join(returned),
        chunk=sql.SQL(", ").join(reference(name, _NEAREST) for name in (NUMBER, START, END)),
        text=text,
        is_current=_is_current(column),
        nearest=nearest,
        alias=sql.Identifier(_NEAREST),
        table=aliased(table),
        is_own=_same_key(column),
        follower_read=clauses.follower_read or sql.SQL(""),
        where=sql.SQL(" WHERE {}").format(sql.SQL(" AND ").join(outside)) if outside else sql.SQL(""),
        key=key_list(table),
        number=reference(NUMBER, _NEAREST),
    )


def _is_current(column: ColumnDefinition) -> sql.Composable:
    """Return whether the input of a row is the one that its chunks were made from, as far as that is known."""
    if column.spec.fingerprint_column is None:
        return sql.SQL("true")
    return sql.SQL("({} {} {})").format(
        reference(column.spec.fingerprint_column),
        column.table.dialect.operator("="),
        InputExpressions(column).fingerprint,
    )


def _distance(column: ColumnDefinition) -> sql.Composable:
    return sql.SQL("({} {} {})").format(
        reference(column.spec.output, CHUNK), distance_operator(column), vector_parameter(column)
    )


def _distance_name(column: ColumnDefinition) -> str:
    return unused_name(column.table, "crdbvec_distance")


def _chunk_columns(column: ColumnDefinition, alias: str) -> sql.Composable:
    chunks = chunk_definition(column).table
    names = [*(part.name for part in column.table.key), NUMBER, START, END, *([TEXT] if TEXT in chunks.columns else [])]
    return sql.SQL(", ").join(reference(name, alias) for name in names)


def _same_key(column: ColumnDefinition) -> sql.Composable:
    return sql.SQL(" AND ").join(
        sql.SQL("{} {} {}").format(
            reference(part.name, _NEAREST),
            column.table.dialect.operator("=", part.operator_schema),
            reference(part.name, ROW),
        )
        for part in column.table.key
    )
