"""The statement of keyword search: the rows that contain words of a query, in which rare words count more."""

from psycopg import sql

from crdbvec_pipelines.database.aliases import ROW, aliased, reference, references, unused_name
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

# The aliases of the sub-queries: in the first the words of each row are computed once, in the second what they contain.
_FOUND = "crdbvec_found"
_RANKED = "crdbvec_ranked"
# The rank of one word that a row contains very often. That of words side by side could grow to ten times as much.
_MAX_RANK = 0.1


@custom_plan
def keyword_matches(
    column: ColumnDefinition, clauses: SearchClauses, terms: int, phrases: int, *, has_vector: bool
) -> sql.Composable:
    """Return the `limit` rows with the highest rank for the words in the parameters `term_0` and so on, phrases first.

    The parameter `terms` finds the rows with any of them. A row comes before all that contain fewer of the phrases in
    the parameters `phrase_0` and so on. The rank is the sum of the ranks of the words, each times its information: the
    logarithm of the share of the rows found that contain it. The servers' own rank of several words counts a frequent
    one as much as a rare one. It is divided by one plus the logarithm of the length of the row's text, because a long
    text contains more words of any kind.

    The distance is that from the parameter `vector`, or NULL. OFFSET 0 keeps PostgreSQL from computing the words of a
    row for each use of them.
    """
    table = column.table
    filters = (*clauses.filters_inside, *clauses.filters_outside)
    any_term = _query(column, "terms")
    conditions = [sql.SQL("{} @@ {}").format(document(column), any_term), *filter_conditions(table, filters)]
    if clauses.excludes_key:
        conditions.append(sql.SQL("NOT ({})").format(key_equals(table)))
    returned = [*(part.name for part in table.key), *clauses.columns]
    needed = dict.fromkeys([*column.spec.input_columns, *returned])
    words, distance = unused_name(table, "crdbvec_words"), unused_name(table, "crdbvec_distance")
    contained, length = unused_name(table, "crdbvec_contained"), unused_name(table, "crdbvec_length")
    ranks = [unused_name(table, f"crdbvec_rank_{number}") for number in range(terms)]
    found = sql.SQL(
        "SELECT {columns}, {distance} AS {distance_name}, {words} AS {words_name} FROM {table} "
        "WHERE {conditions} OFFSET 0"
    ).format(
        columns=references(needed, ROW),
        distance=_distance(column) if has_vector else sql.SQL("NULL::float8"),
        distance_name=sql.Identifier(distance),
        words=document(column),
        words_name=sql.Identifier(words),
        table=aliased(table),
        conditions=sql.SQL(" AND ").join(conditions),
    )
    far = sql.SQL(" WHERE {} <= %(max_distance)s::float8").format(reference(distance, _FOUND))
    ranked = sql.SQL(
        "SELECT {columns}, {contained} AS {contained_name}, {length} AS {length_name}, {ranks} FROM ({found}) AS "
        "{alias}{far} OFFSET 0"
    ).format(
        columns=references([*needed, distance], _FOUND),
        contained=_contained_phrases(column, reference(words, _FOUND), phrases),
        contained_name=sql.Identifier(contained),
        length=_length_factor(reference(words, _FOUND), any_term),
        length_name=sql.Identifier(length),
        ranks=sql.SQL(", ").join(
            sql.SQL("least(ts_rank({}, {})::float8, {}) AS {}").format(
                reference(words, _FOUND), _query(column, f"term_{number}"), sql.Literal(_MAX_RANK), sql.Identifier(name)
            )
            for number, name in enumerate(ranks)
        ),
        found=found,
        alias=sql.Identifier(_FOUND),
        far=far if clauses.has_max_distance else sql.SQL(""),
    )
    return sql.SQL(
        "SELECT {models}{distance}, {length} * ({rank}), {contained}, {value}, {returned} FROM ({ranked}) AS "
        "{alias}{follower_read} ORDER BY {contained_position} DESC, {rank_position} DESC, {key} LIMIT %(limit)s"
    ).format(
        models=models(column, clauses),
        distance=reference(distance, _RANKED),
        length=reference(length, _RANKED),
        rank=sql.SQL(" + ").join(_informative(reference(name, _RANKED)) for name in ranks),
        contained=reference(contained, _RANKED),
        value=InputExpressions(column, _RANKED).value,
        returned=references(returned, _RANKED),
        ranked=ranked,
        alias=sql.Identifier(_RANKED),
        follower_read=clauses.follower_read or sql.SQL(""),
        contained_position=sql.Literal(3 + clauses.reads_models),
        rank_position=sql.Literal(2 + clauses.reads_models),
        key=key_list(table, _RANKED),
    )


def _contained_phrases(column: ColumnDefinition, words: sql.Composable, phrases: int) -> sql.Composable:
    """Return how many of the phrases the words of a row contain."""
    contained = [
        sql.SQL("CASE WHEN {} @@ {} THEN 1 ELSE 0 END").format(words, _query(column, f"phrase_{number}"))
        for number in range(phrases)
    ]
    return sql.SQL(" + ").join(contained) if contained else sql.SQL("0")


def _length_factor(words: sql.Composable, terms: sql.Composable) -> sql.Composable:
    """Return 1 / (1 + log(length of the text)): the servers apply it to a rank, but do not both return the length."""
    return sql.SQL(
        "coalesce(ts_rank({words}, {terms}, 1)::float8 / nullif(ts_rank({words}, {terms})::float8, 0), 1)"
    ).format(words=words, terms=terms)


def _informative(rank: sql.Composable) -> sql.Composable:
    """Return a rank times the information of its word; a word that no row contains has none."""
    return sql.SQL(
        "{rank} * coalesce(ln((count(*) OVER () + 1)::float8 / nullif(sum(CASE WHEN {rank} > 0 THEN 1 ELSE 0 END) OVER "
        "(), 0)::float8), 0)"
    ).format(rank=rank)


def _distance(column: ColumnDefinition) -> sql.Composable:
    """Return the distance of a row: that of its vector, or of the nearest of its chunks."""
    if column.spec.chunking is not None:
        return nearest_chunk_distance(column)
    return sql.SQL("({} {} {})").format(
        reference(column.spec.output), distance_operator(column), vector_parameter(column)
    )


def _query(column: ColumnDefinition, parameter: str) -> sql.Composable:
    return sql.SQL("to_tsquery({}, {}::text)").format(configuration(column), sql.Placeholder(parameter))
