"""The statement of keyword search: the rows that contain words of a query, by the server's own rank."""

from psycopg import sql

from crdbvec_pipelines.database.aliases import ROW, aliased, reference, unused_name
from crdbvec_pipelines.database.column import ColumnDefinition
from crdbvec_pipelines.database.expressions import (
    InputExpressions,
    distance_operator,
    key_equals,
    key_list,
    vector_parameter,
)
from crdbvec_pipelines.database.index.text_document import configuration, document
from crdbvec_pipelines.database.search.chunk_statements import nearest_chunk_distance
from crdbvec_pipelines.database.search.conditions import filter_conditions
from crdbvec_pipelines.database.search.statements import SearchClauses, models
from crdbvec_pipelines.database.statement import custom_plan

# The alias of the sub-query, in which the words of each row are computed once.
_FOUND = "crdbvec_found"


@custom_plan
def keyword_matches(
    column: ColumnDefinition, clauses: SearchClauses, phrases: int, *, has_vector: bool
) -> sql.Composable:
    """Return the `limit` rows with the highest rank for the words in the parameter `terms`, phrases first.

    A row comes before all that contain fewer of the phrases in the parameters `phrase_0` and so on. The distance is
    that from the parameter `vector`, or NULL. OFFSET 0 keeps PostgreSQL from computing the words of a row for each use
    of them.
    """
    table = column.table
    filters = (*clauses.filters_inside, *clauses.filters_outside)
    words, distance = unused_name(table, "crdbvec_words"), unused_name(table, "crdbvec_distance")
    found_words, found_distance = reference(words, _FOUND), reference(distance, _FOUND)
    conditions = [
        sql.SQL("{} @@ {}").format(document(column), _query(column, "terms")),
        *filter_conditions(table, filters),
    ]
    if clauses.excludes_key:
        conditions.append(sql.SQL("NOT ({})").format(key_equals(table)))
    returned = [*(part.name for part in table.key), *clauses.columns]
    needed = dict.fromkeys([*column.spec.input_columns, *returned])
    contained = [
        sql.SQL("CASE WHEN {} @@ {} THEN 1 ELSE 0 END").format(found_words, _query(column, f"phrase_{number}"))
        for number in range(phrases)
    ]
    far = sql.SQL(" WHERE {} <= %(max_distance)s::float8").format(found_distance)
    return sql.SQL(
        "SELECT {models}{found_distance}, ts_rank({found_words}, {terms})::float8, {contained}, {value}, {returned} "
        "FROM (SELECT {needed}, {distance} AS {distance_name}, {words} AS {words_name} FROM {table} WHERE {conditions} "
        "OFFSET 0) AS {found}{follower_read}{far} ORDER BY {contained_position} DESC, {rank_position} DESC, {key} "
        "LIMIT %(limit)s"
    ).format(
        models=models(column, clauses),
        found_distance=found_distance,
        found_words=found_words,
        terms=_query(column, "terms"),
        contained=sql.SQL(" + ").join(contained) if contained else sql.SQL("0"),
        value=InputExpressions(column, _FOUND).value,
        returned=sql.SQL(", ").join(reference(name, _FOUND) for name in returned),
        needed=sql.SQL(", ").join(reference(name, ROW) for name in needed),
        distance=_distance(column) if has_vector else sql.SQL("NULL::float8"),
        distance_name=sql.Identifier(distance),
        words=document(column),
        words_name=sql.Identifier(words),
        table=aliased(table),
        conditions=sql.SQL(" AND ").join(conditions),
        found=sql.Identifier(_FOUND),
        follower_read=clauses.follower_read or sql.SQL(""),
        far=far if clauses.has_max_distance else sql.SQL(""),
        contained_position=sql.Literal(3 + clauses.reads_models),
        rank_position=sql.Literal(2 + clauses.reads_models),
        key=key_list(table, _FOUND),
    )


def _distance(column: ColumnDefinition) -> sql.Composable:
    """Return the distance of a row: that of its vector, or of the nearest of its chunks."""
    if column.spec.chunking is not None:
        return nearest_chunk_distance(column)
    return sql.SQL("({} {} {})").format(
        reference(column.spec.output), distance_operator(column), vector_parameter(column)
    )


def _query(column: ColumnDefinition, parameter: str) -> sql.Composable:
    return sql.SQL("to_tsquery({}, {}::text)").format(configuration(column), sql.Placeholder(parameter))
