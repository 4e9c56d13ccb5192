"""The choice between index scan and exact scan: a table of cases, without a server."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pytest

from crdbvec_pipelines.database.dialects.cockroachdb_vectors import CockroachVectors
from crdbvec_pipelines.database.dialects.postgres_vectors import PostgresVectors
from crdbvec_pipelines.database.dialects.vector_support import IndexDefinition, VectorSupport
from crdbvec_pipelines.database.search.filters import Range
from crdbvec_pipelines.database.search.query import SearchQuery
from crdbvec_pipelines.database.search.strategy import (
    SearchDecision,
    choose_strategy,
    review_index_scan,
    unfiltered_prefix,
)
from crdbvec_pipelines.errors import ConfigurationError

COSINE = "vector_cosine_ops"
COCKROACHDB = CockroachVectors(260200)
POSTGRES = PostgresVectors()
PLAIN = {"v_index": IndexDefinition(COSINE)}
BY_TENANT = {"by_tenant": IndexDefinition(COSINE, ("tenant",))}


@dataclass(frozen=True)
class Case:
    """A search, the indexes of the column, and the decision."""

    query: SearchQuery
    indexes: Mapping[str, IndexDefinition]
    decision: SearchDecision
    support: VectorSupport = POSTGRES
    configured_effort: int | None = None
    operator_class: str = COSINE


def exact(why: str, fetch: int = 10, filters: tuple[str, ...] = ()) -> SearchDecision:
    return SearchDecision("exact_scan", f"Exact scan: {why}.", fetch, filters_inside=filters)


CASES = {
    "exact, requested": Case(SearchQuery(exact=True), PLAIN, exact("the query requests it")),
    "exact, requested with filters": Case(
        SearchQuery(limit=3, filters={"year": 1, "tenant": "a"}, exact=True),
        BY_TENANT,
        exact("the query requests it", 3, ("year", "tenant")),
    ),
    "no index": Case(SearchQuery(), {}, exact("there is no vector index")),
    "index for another metric": Case(
        SearchQuery(filters={"year": 1}),
        {"by_l2": IndexDefinition("vector_l2_ops")},
        exact("the index by_l2 is for another metric", filters=("year",)),
    ),
    "indexes for other metrics": Case(
        SearchQuery(),
        {"by_l2": IndexDefinition("vector_l2_ops"), "by_ip": IndexDefinition("vector_ip_ops")},
        exact("each of the indexes by_ip, by_l2 is for another metric"),
    ),
    "index over some of the rows": Case(
        SearchQuery(),
        {"some": IndexDefinition(COSINE, predicate="(year = 2001)")},
        exact("the index some contains only some of the rows"),
    ),
    "complete index for another metric, partial one for this": Case(
        SearchQuery(),
        {"some": IndexDefinition(COSINE, predicate="(year = 2001)"), "by_l2": IndexDefinition("vector_l2_ops")},
        exact("the index by_l2 is for another metric"),
    ),
    "the metric decides between indexes": Case(
        SearchQuery(),
        {"by_cosine": IndexDefinition(COSINE), "by_l2": IndexDefinition("vector_l2_ops")},
        SearchDecision("index_scan", "Index scan on by_l2.", 10, index="by_l2"),
        operator_class="vector_l2_ops",
    ),
    "index": Case(SearchQuery(), PLAIN, SearchDecision("index_scan", "Index scan on v_index.", 10, index="v_index")),
    "index without a predicate": Case(
        SearchQuery(),
        {"v_index": IndexDefinition(COSINE, predicate=None)},
        SearchDecision("index_scan", "Index scan on v_index.", 10, index="v_index", requires_vector=False),
    ),
    "effort of the query": Case(
        SearchQuery(effort=80),
        PLAIN,
        SearchDecision("index_scan", "Index scan on v_index (hnsw.ef_search 80).", 10, index="v_index", effort=80),
        configured_effort=200,
    ),
    "configured effort": Case(
        SearchQuery(),
        PLAIN,
        SearchDecision(
            "index_scan", "Index scan on v_index (vector_search_beam_size 64).", 10, index="v_index", effort=64
        ),
        COCKROACHDB,
        configured_effort=64,
    ),
    "limit at the default effort": Case(
        SearchQuery(limit=40), PLAIN, SearchDecision("index_scan", "Index scan on v_index.", 40, index="v_index")
    ),
    "limit above the default effort": Case(
        SearchQuery(limit=41),
        PLAIN,
        SearchDecision("index_scan", "Index scan on v_index.", 41, index="v_index", is_iterative=True),
    ),
    "limit above the configured effort": Case(
        SearchQuery(limit=11),
        PLAIN,
        SearchDecision(
            "index_scan",
            "Index scan on v_index (hnsw.ef_search 10).",
            11,
            index="v_index",
            effort=10,
            is_iterative=True,
        ),
        configured_effort=10,
    ),
    "excluded key": Case(
        SearchQuery(limit=5, exclude_key=(7,)),
        PLAIN,
        SearchDecision("index_scan", "Index scan on v_index.", 6, index="v_index"),
    ),
    "PostgreSQL, filter": Case(
        SearchQuery(filters={"year": 1}),
        PLAIN,
        SearchDecision(
            "index_scan",
            "Index scan on v_index.",
            10,
            index="v_index",
            filters_inside=("year",),
            is_iterative=True,
            has_unindexed_filters=True,
        ),
    ),
    "CockroachDB, filter without a prefix": Case(
        SearchQuery(limit=3, filters={"year": 1, "open": True}),
        PLAIN,
        SearchDecision(
            "index_scan",
            "Index scan on v_index; the filter on year, open applies to its nearest 30 rows.",
            30,
            index="v_index",
            filters_outside=("year", "open"),
            has_unindexed_filters=True,
        ),
        COCKROACHDB,
    ),
    "CockroachDB, filter and excluded key": Case(
        SearchQuery(limit=200, filters={"year": 1}, exclude_key=(7,)),
        PLAIN,
        SearchDecision(
            "index_scan",
            "Index scan on v_index; the filter on year applies to its nearest 2,010 rows.",
            2_010,
            index="v_index",
            filters_outside=("year",),
            is_iterative=True,
            has_unindexed_filters=True,
        ),
        COCKROACHDB,
    ),
    "prefix": Case(
        SearchQuery(filters={"tenant": ["a", "b"]}),
        BY_TENANT,
        SearchDecision("index_scan", "Index scan on by_tenant.", 10, index="by_tenant", filters_inside=("tenant",)),
        COCKROACHDB,
    ),
    "prefix in the order of the index": Case(
        SearchQuery(filters={"tenant": "a", "region": "eu"}),
        {"by_both": IndexDefinition(COSINE, ("region", "tenant"))},
        SearchDecision(
            "index_scan", "Index scan on by_both.", 10, index="by_both", filters_inside=("region", "tenant")
        ),
        COCKROACHDB,
    ),
    "prefix and another filter": Case(
        SearchQuery(limit=2, filters={"year": 1, "tenant": "a"}),
        BY_TENANT,
        SearchDecision(
            "index_scan",
            "Index scan on by_tenant (vector_search_beam_size 16); the filter on year applies to its nearest 20 rows.",
            20,
            index="by_tenant",
            filters_inside=("tenant",),
            filters_outside=("year",),
            effort=16,
            is_iterative=True,
            has_unindexed_filters=True,
        ),
        COCKROACHDB,
        configured_effort=16,
    ),
    "prefix without a filter": Case(
        SearchQuery(filters={"year": 1}),
        BY_TENANT,
        exact("the index by_tenant needs a filter on each of its prefix columns (tenant)", filters=("year",)),
        COCKROACHDB,
    ),
    "prefix with a comparison": Case(
        SearchQuery(filters={"tenant": {">": "a"}}),
        BY_TENANT,
        exact("the index by_tenant needs = or IN on each of its prefix columns (tenant)", filters=("tenant",)),
        COCKROACHDB,
    ),
    "prefix with a range": Case(
        SearchQuery(filters={"tenant": [Range("a", "b"), "c"]}),
        BY_TENANT,
        exact("the index by_tenant needs = or IN on each of its prefix columns (tenant)", filters=("tenant",)),
        COCKROACHDB,
    ),
    "prefix with = as an operator, and a comparison": Case(
        SearchQuery(filters={"tenant": {"=": ["a"]}, "year": {">=": 1990}}),
        BY_TENANT,
        SearchDecision(
            "index_scan",
            "Index scan on by_tenant; the filter on year applies to its nearest 100 rows.",
            100,
            index="by_tenant",
            filters_inside=("tenant",),
            filters_outside=("year",),
            is_iterative=True,
            has_unindexed_filters=True,
        ),
        COCKROACHDB,
    ),
    "prefix of which one column has no filter": Case(
        SearchQuery(filters={"tenant": "a"}),
        {"by_both": IndexDefinition(COSINE, ("region", "tenant"))},
        exact("the index by_both needs a filter on each of its prefix columns (region, tenant)", filters=("tenant",)),
        COCKROACHDB,
    ),
    "longest prefix of several indexes": Case(
        SearchQuery(filters={"region": "eu", "tenant": "a"}),
        {**PLAIN, **BY_TENANT, "by_both": IndexDefinition(COSINE, ("tenant", "region"))},
        SearchDecision(
            "index_scan", "Index scan on by_both.", 10, index="by_both", filters_inside=("tenant", "region")
        ),
        COCKROACHDB,
    ),
    "index without a prefix where another needs a filter": Case(
        SearchQuery(),
        {**BY_TENANT, **PLAIN},
        SearchDecision("index_scan", "Index scan on v_index.", 10, index="v_index"),
        COCKROACHDB,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_decision(name: str) -> None:
    case = CASES[name]
    decision = choose_strategy(case.query, case.indexes, case.operator_class, case.support, case.configured_effort)
    assert decision == case.decision


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("changed", [{"max_distance": 0.5}, {"columns": ("year",)}, {"as_of": "follower_read"}])
def test_distance_columns_and_time_do_not_change_the_decision(name: str, changed: dict[str, object]) -> None:
    case = CASES[name]
    query = replace(case.query, **changed)  # type: ignore[arg-type]
    assert (
        choose_strategy(query, case.indexes, case.operator_class, case.support, case.configured_effort) == case.decision
    )


@pytest.mark.parametrize(
    ("support", "setting", "largest"),
    [(POSTGRES, "hnsw.ef_search", 1_000), (COCKROACHDB, "vector_search_beam_size", 2_048)],
)
def test_effort_above_the_maximum_is_an_error(support: VectorSupport, setting: str, largest: int) -> None:
    query = SearchQuery(effort=largest)
    assert choose_strategy(query, PLAIN, COSINE, support, None).effort == largest
    sentence = f"^The search effort {largest + 1:,} exceeds the maximum of {setting}, {largest:,}\\.$"
    with pytest.raises(ConfigurationError, match=sentence):
        choose_strategy(replace(query, effort=largest + 1), PLAIN, COSINE, support, None)
    with pytest.raises(ConfigurationError, match=sentence):
        choose_strategy(SearchQuery(), PLAIN, COSINE, support, largest + 1)


def test_all_values_of_a_prefix_stand_for_the_missing_filter() -> None:
    decision = choose_strategy(SearchQuery(), BY_TENANT, COSINE, COCKROACHDB, 64, {"tenant": 5})
    assert decision == SearchDecision(
        "index_scan",
        "Index scan on by_tenant (vector_search_beam_size 64) for all 5 values of tenant.",
        10,
        index="by_tenant",
        filters_inside=("tenant",),
        effort=64,
        all_values=("tenant",),
    )


@pytest.mark.parametrize(
    ("query", "indexes", "expected"),
    [
        (SearchQuery(), BY_TENANT, ("tenant",)),
        (SearchQuery(filters={"tenant": "a"}), BY_TENANT, ()),
        (SearchQuery(exact=True), BY_TENANT, ()),
        (SearchQuery(), {**BY_TENANT, **PLAIN}, ()),
        (SearchQuery(), {"by_l2": IndexDefinition("vector_l2_ops", ("tenant",))}, ()),
        (SearchQuery(), {}, ()),
        (
            SearchQuery(filters={"region": "eu"}),
            {"by_all": IndexDefinition(COSINE, ("tenant", "year")), "by_two": IndexDefinition(COSINE, ("region", "a"))},
            ("a",),
        ),
    ],
)
def test_prefix_columns_without_a_filter(
    query: SearchQuery, indexes: Mapping[str, IndexDefinition], expected: tuple[str, ...]
) -> None:
    assert unfiltered_prefix(query, indexes, COSINE) == expected


UNFILTERED = SearchDecision("index_scan", "Index scan on v_index.", 10, index="v_index")
FILTERED = replace(UNFILTERED, filters_inside=("year",), has_unindexed_filters=True)
CHEAPER = "the server estimated it to be cheaper than the index v_index"


@dataclass(frozen=True)
class Outcome:
    """What an index scan for ten rows returned, and the reason and the rerun that follow; no reason: unchanged."""

    returned: int
    reason: str | None
    must_rerun: bool
    decision: SearchDecision = UNFILTERED
    within_distance: int | None = None
    is_index_used: bool = True
    support: VectorSupport = POSTGRES


OUTCOMES = {
    "enough rows": Outcome(10, None, must_rerun=False),
    "too few rows": Outcome(9, "the index v_index returned only 9 of 10 rows", must_rerun=True),
    "too few rows that match the filters": Outcome(
        0, "the index v_index returned only 0 of 10 rows that match the filters", must_rerun=True, decision=FILTERED
    ),
    "a row is too far": Outcome(9, None, must_rerun=False, within_distance=8),
    "all rows are too far": Outcome(9, None, must_rerun=False, within_distance=0),
    "too few rows, from a complete tree": Outcome(9, None, must_rerun=False, support=COCKROACHDB),
    "too few rows after filters, from a complete tree": Outcome(
        9,
        "the index v_index returned only 9 of 10 rows that match the filters",
        must_rerun=True,
        decision=FILTERED,
        support=COCKROACHDB,
    ),
    "too few rows, as many as the beam": Outcome(
        8,
        "the index v_index returned only 8 of 10 rows",
        must_rerun=True,
        decision=replace(UNFILTERED, effort=8),
        support=COCKROACHDB,
    ),
    "the server did not use the index": Outcome(10, CHEAPER, must_rerun=False, is_index_used=False),
    "the server did not use the index, too few rows": Outcome(9, CHEAPER, must_rerun=True, is_index_used=False),
    "the server did not use the index, a row is too far": Outcome(
        9, CHEAPER, must_rerun=False, within_distance=8, is_index_used=False
    ),
    "the server did not use the index, too few rows, complete": Outcome(
        9, CHEAPER, must_rerun=True, is_index_used=False, support=COCKROACHDB
    ),
}


@pytest.mark.parametrize("name", OUTCOMES)
def test_review_of_an_index_scan(name: str) -> None:
    outcome = OUTCOMES[name]
    query = SearchQuery(filters={"year": 1} if outcome.decision is FILTERED else None)
    review = review_index_scan(
        outcome.decision,
        query,
        outcome.support,
        returned=outcome.returned,
        within_distance=outcome.returned if outcome.within_distance is None else outcome.within_distance,
        is_index_used=outcome.is_index_used,
    )
    filters = ("year",) if outcome.decision is FILTERED else ()
    expected = outcome.decision if outcome.reason is None else exact(outcome.reason, filters=filters)
    assert (review.decision, review.must_rerun) == (expected, outcome.must_rerun)
