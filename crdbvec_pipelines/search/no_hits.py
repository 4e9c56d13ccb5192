"""Why a search found no row: nothing is embedded yet, a filter that no row matches, or the maximum distance."""

from collections.abc import Callable

from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.database.index.text_document import text_index_spec
from crdbvec_pipelines.database.search.filters import Condition, resolve_filters
from crdbvec_pipelines.database.search.query import SearchQuery
from crdbvec_pipelines.database.search.statements import SearchClauses, first_row, value_in_other_case


def reason_for_no_hits(column: BoundColumn, query: SearchQuery, nearest_distance: Callable[[], float | None]) -> str:
    """Return one sentence, or two, that say why a search found no row and what to do.

    Args:
        column: The vector column.
        query: The search.
        nearest_distance: Returns the distance of the nearest row without a maximum distance; None if there is no row.

    Raises:
        DatabaseError: The database rejected a query, or could not be reached.
    """
    table, output = column.spec.table, column.spec.output
    if not _exists(column, ()):
        return f"No row of {table} has a vector in {output} yet. Run `crdbvec embed`."
    conditions = resolve_filters(column.table, query.filters)
    if conditions and not _exists(column, conditions):
        return _reason_of_filters(column, conditions)
    nearest = None if query.max_distance is None else nearest_distance()
    if nearest is not None and query.max_distance is not None and nearest > query.max_distance:
        return f"The nearest row is at the distance {nearest:.4f}, and the maximum is {query.max_distance:g}."
    if query.exclude_key is not None:
        return "No other row matches." if conditions else f"No other row of {table} has a vector in {output}."
    return f"No row of {table} has a vector that can be compared."


def reason_for_no_keywords(column: BoundColumn, query: SearchQuery) -> str:
    """Return why a keyword search found no row, and what to do."""
    conditions = resolve_filters(column.table, query.filters)
    if conditions and not _exists(column, conditions, requires_vector=False):
        return f"No row of {column.spec.table} matches the conditions."
    language = text_index_spec(column).language
    return (
        f"No row contains a word of the text, apart from the frequent words of the language {language}. "
        "Use --hybrid or a search by vectors."
    )


def _reason_of_filters(column: BoundColumn, conditions: list[Condition]) -> str:
    table = column.spec.table
    for condition in conditions:
        if _exists(column, [condition]):
            continue
        shown = _condition_text(condition)
        if _exists(column, [condition], requires_vector=False):
            return f"The rows of {table} with {shown} have no vector yet. Run `crdbvec embed`."
        other = _other_case(column, condition)
        hint = f" There are rows with {other!r}: upper and lower case are different values." if other else ""
        return f"No row of {table} has {shown}.{hint}"
    return f"No row of {table} matches all conditions together, although some rows match each of them."


def _exists(column: BoundColumn, conditions: list[Condition] | tuple[()], *, requires_vector: bool = True) -> bool:
    clauses = SearchClauses(filters_inside=tuple(each.filter for each in conditions), requires_vector=requires_vector)
    parameters: dict[str, object] = {}
    for each in conditions:
        parameters |= each.parameters(column.table)
    return bool(column.database.fetch(first_row(column, clauses), parameters))


def _other_case(column: BoundColumn, condition: Condition) -> str | None:
    """Return a value of the column that differs from the one of a filter only in upper and lower case."""
    test = condition.filter
    if not test.column.is_text or test.operator != "=" or test.is_path:
        return None
    for value in condition.values[: test.value_count]:
        position = list(column.table.columns).index(test.column.name)
        query = value_in_other_case(column.table, test.column)
        found = column.database.fetch(query, {f"filter_{position}_0": str(value)})
        if found:
            return str(found[0][0])
    return None


def _condition_text(condition: Condition) -> str:
    """Return a condition as it is typed, without the bounds of ranges and long lists."""
    test = condition.filter
    values = condition.values[test.is_path :]
    if test.operator in ("=", "!=") and (test.ranges or test.allows_null or len(values) != 1):
        return f"a value of the filter on {condition.subject}"
    return f"{condition.subject} {test.operator} {values[0]}"
