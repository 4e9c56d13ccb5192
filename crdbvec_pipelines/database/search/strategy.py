"""The choice between an index scan and an exact scan for one search, as pure functions: no SQL, no database.

An index can serve a search if it has the operator class of the metric, contains every row that has a vector, and if the
query names the values of each of its prefix columns, or all values of the others are known. Other filters run inside
the index scan where the server supports that (PostgreSQL). Elsewhere they run on the result of an index scan that
returns more rows than requested (CockroachDB).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from crdbvec_pipelines.database.dialects.vector_support import IndexDefinition, VectorSupport
from crdbvec_pipelines.database.search.query import SearchQuery
from crdbvec_pipelines.errors import ConfigurationError

Strategy = Literal["index_scan", "exact_scan"]

# Rows that the index scan returns for each requested row if filters run on its result: enough for a filter that one row
# in ten matches. A more selective filter leads to an exact scan.
_OVERFETCH_FACTOR = 10


@dataclass(frozen=True)
class SearchDecision:
    """How a search is executed.

    Attributes:
        strategy: Index scan or exact scan.
        reason: A sentence for users: which index with which effort, or why no index.
        fetch: The number of rows that the innermost scan returns.
        index: The name of the index; None for an exact scan.
        filters_inside: The subjects of the filters that are part of the scan, prefix columns first, in their order.
        filters_outside: The subjects of the filters that run on the rows that the scan returns.
        effort: The search effort to set; None for the server's default.
        requires_vector: Whether the scan must repeat the predicate of a partial index, `IS NOT NULL`.
        cast: The type to which the index casts the column; None for an index over the column itself.
        is_ivfflat: Whether the index is one of pgvector's method ivfflat.
        is_iterative: Whether the index scan has to continue after its first candidates.
        has_unindexed_filters: Whether there are filters on columns that are not in the prefix of the index.
        all_values: The prefix columns of which the scan reads every value, because the query has no filter on them.
    """

    strategy: Strategy
    reason: str
    fetch: int
    index: str | None = None
    filters_inside: tuple[str, ...] = ()
    filters_outside: tuple[str, ...] = ()
    effort: int | None = None
    requires_vector: bool = True
    cast: str | None = None
    is_ivfflat: bool = False
    is_iterative: bool = False
    has_unindexed_filters: bool = False
    all_values: tuple[str, ...] = ()


@dataclass(frozen=True)
class IndexScanReview:
    """The result of checking a search after its index scan.

    Attributes:
        decision: The strategy that gave the rows, or that has to give them.
        must_rerun: Whether rows may be missing, so that the decision, an exact scan, still has to be executed.
    """

    decision: SearchDecision
    must_rerun: bool


def choose_strategy(
    query: SearchQuery,
    indexes: Mapping[str, IndexDefinition],
    operator_class: str,
    support: VectorSupport,
    configured_effort: int | None,
    known_values: Mapping[str, int] | None = None,
) -> SearchDecision:
    """Return how a search is executed.

    Args:
        query: The search.
        indexes: The vector indexes over the column, by name.
        operator_class: The operator class of the column's metric.
        support: The properties of the server's vector index.
        configured_effort: The effort for queries that give none; None for the server's default.
        known_values: The number of values of prefix columns of which all values are known (`unfiltered_prefix`).

    Raises:
        ConfigurationError: The effort exceeds the maximum of the server.
    """
    known = known_values or {}
    if query.exact:
        return _exact_scan(query, "the query requests it")
    complete = {name: index for name, index in indexes.items() if index.contains_every_vector}
    matching = {name: index for name, index in complete.items() if index.distance_class == operator_class}
    if not matching:
        return _exact_scan(query, _why_no_index_matches(indexes, complete))
    fixed = query.fixed_columns | known.keys()
    usable = {name: index for name, index in matching.items() if fixed >= set(index.prefix)}
    if not usable:
        return _exact_scan(query, _why_prefix_is_missing(query, *next(iter(matching.items()))))
    # Of several indexes, the one with the longest prefix, then the most accurate one.
    name, index = max(
        usable.items(), key=lambda item: (len(item[1].prefix), not item[1].is_ivfflat, item[1].cast is None)
    )
    return _index_scan(query, name, index, support, query.effort or configured_effort, known)


def unfiltered_prefix(
    query: SearchQuery, indexes: Mapping[str, IndexDefinition], operator_class: str
) -> tuple[str, ...]:
    """Return the prefix columns whose values have to be known for an index to serve a search; none if one does already.

    Of several indexes, it is the one with the fewest such columns.
    """
    if query.exact:
        return ()
    fixed = query.fixed_columns
    missing = [
        tuple(column for column in index.prefix if column not in fixed)
        for index in indexes.values()
        if index.contains_every_vector and index.distance_class == operator_class
    ]
    return min(missing, key=len, default=())


def review_index_scan(
    decision: SearchDecision,
    query: SearchQuery,
    support: VectorSupport,
    *,
    returned: int,
    within_distance: int,
    is_index_used: bool,
) -> IndexScanReview:
    """Return which strategy gave the rows of an index scan, and whether an exact scan has to replace it.

    Args:
        decision: The index scan that was executed.
        query: The search.
        support: The properties of the server's vector index.
        returned: The number of rows that the server returned.
        within_distance: How many of them are within `max_distance`.
        is_index_used: Whether the query plan contains the index.
    """
    # A returned row that is too far shows that all nearer rows have been found.
    is_short = within_distance == returned < query.limit
    if not is_index_used:
        why = f"the server estimated it to be cheaper than the index {decision.index}"
        return IndexScanReview(_exact_scan(query, why), is_short)
    is_exhaustive = not decision.has_unindexed_filters and support.is_exhaustive(returned, decision.effort)
    if not is_short or is_exhaustive:
        return IndexScanReview(decision, must_rerun=False)
    rows = "rows that match the filters" if decision.has_unindexed_filters else "rows"
    why = f"the index {decision.index} returned only {returned:,} of {query.limit:,} {rows}"
    return IndexScanReview(_exact_scan(query, why), must_rerun=True)


def _exact_scan(query: SearchQuery, why: str) -> SearchDecision:
    return SearchDecision("exact_scan", f"Exact scan: {why}.", query.limit, filters_inside=tuple(query.filters or ()))


def _why_no_index_matches(indexes: Mapping[str, IndexDefinition], complete: Mapping[str, IndexDefinition]) -> str:
    if not indexes:
        return "there is no vector index"
    names = sorted(complete or indexes)
    subject = f"the index {names[0]}" if len(names) == 1 else f"each of the indexes {', '.join(names)}"
    return f"{subject} {'is for another metric' if complete else 'contains only some of the rows'}"


def _why_prefix_is_missing(query: SearchQuery, name: str, index: IndexDefinition) -> str:
    columns = ", ".join(index.prefix)
    is_compared = any(column in (query.filters or {}).keys() - query.fixed_columns for column in index.prefix)
    needed = "= or IN" if is_compared else "a filter"
    return f"the index {name} needs {needed} on each of its prefix columns ({columns})"


def _index_scan(
    query: SearchQuery,
    name: str,
    index: IndexDefinition,
    support: VectorSupport,
    effort: int | None,
    known: Mapping[str, int],
) -> SearchDecision:
    of_index = support.effort_of(index)
    setting, largest = of_index.setting, of_index.largest
    if effort is not None and effort > largest:
        raise ConfigurationError(f"The search effort {effort:,} exceeds the maximum of {setting}, {largest:,}.")
    fixed = query.fixed_columns
    unindexed = tuple(column for column in query.filters or {} if column not in index.prefix or column not in fixed)
    outside = () if support.can_filter_during_index_scan else unindexed
    inside = (*index.prefix, *unindexed) if support.can_filter_during_index_scan else index.prefix
    # One row more than requested where one row is excluded afterwards.
    fetch = (query.limit + (query.exclude_key is not None)) * (_OVERFETCH_FACTOR if outside else 1)
    reason = f"Index scan on {name}" + (f" ({setting} {effort})" if effort else "")
    all_values = tuple(column for column in index.prefix if column not in fixed)
    if all_values:
        reason += f" for all {' and '.join(f'{known[column]:,} values of {column}' for column in all_values)}"
    if outside:
        reason += f"; the filter on {', '.join(outside)} applies to its nearest {fetch:,} rows"
    return SearchDecision(
        "index_scan",
        f"{reason}.",
        fetch,
        index=name,
        filters_inside=inside,
        filters_outside=outside,
        effort=effort,
        requires_vector=index.is_partial,
        cast=index.cast,
        is_ivfflat=index.is_ivfflat,
        is_iterative=bool(unindexed and not outside) or fetch > (effort or of_index.default),
        has_unindexed_filters=bool(unindexed),
        all_values=all_values,
    )
