"""The options that `crdbvec search` and `crdbvec shell` share: limit, filters, search effort, what is shown."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import click

from crdbvec_pipelines.database.search.query import SearchQuery
from crdbvec_pipelines.database.table import Table
from crdbvec_pipelines.search.where import parse_where


@dataclass(frozen=True)
class SearchOptions:
    """The options of a search.

    Attributes:
        query: The search without its filters, whose values depend on the types of the columns.
        where: The conditions, as they are typed.
        is_full: Whether texts are shown whole.
        is_verbose: Whether the key's columns, the metric and the search strategy are shown.
    """

    query: SearchQuery
    where: tuple[str, ...] = ()
    is_full: bool = False
    is_verbose: bool = False

    def query_on(self, table: Table) -> SearchQuery:
        """Return the search on a table.

        Raises:
            ConfigurationError: A condition is not valid.
        """
        return replace(self.query, filters=parse_where(self.where, table))


def search_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command, which receives them as `options`."""

    @functools.wraps(command)
    def with_options(
        *args: Any,
        limit: int,
        where: tuple[str, ...],
        exact: bool,
        effort: int | None,
        max_distance: float | None,
        columns: str | None,
        follower_read: bool,
        hybrid: bool,
        keyword: bool,
        distinct: bool | None,
        all_chunks: bool,
        rerank: bool,
        full: bool,
        verbose: bool,
        **others: Any,
    ) -> Any:
        if hybrid and keyword:
            raise click.UsageError("Give either --hybrid or --keyword.")
        query = SearchQuery(
            limit=limit,
            exact=exact,
            effort=effort,
            max_distance=max_distance,
            columns=tuple(name.strip() for name in columns.split(",")) if columns else (),
            as_of="follower_read" if follower_read else "now",
            distinct=distinct,
            all_chunks=all_chunks,
            rerank=rerank,
            mode="hybrid" if hybrid else "keyword" if keyword else "vector",
        )
        return command(*args, options=SearchOptions(query, where, full, verbose), **others)

    decorated: Callable[..., Any] = with_options
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated


def _number(_context: click.Context, _parameter: click.Parameter, value: float | None) -> float | None:
    """Return a value that is a number; no distance is less than NaN, so it would exclude every row."""
    if value is not None and math.isnan(value):
        raise click.BadParameter("NaN is not a distance. Write a number.")
    return value


_OPTIONS = (
    click.option("-l", "--limit", type=click.IntRange(1, 10_000), default=10, show_default=True, help="Rows to show."),
    click.option(
        "--where",
        "where",
        multiple=True,
        metavar="CONDITION",
        help="Only rows with year>=1990, a=1..5, 'a IS NULL', json.path=red. Repeated = is OR.",
    ),
    click.option("--hybrid", is_flag=True, help="Search by vectors and by words."),
    click.option("--keyword", is_flag=True, help="Search by words only; needs no model."),
    click.option(
        "--distinct/--no-distinct",
        default=None,
        help="Omit equal texts, or show all.",
    ),
    click.option("--rerank", is_flag=True, help="Order the first 50 hits by the reranker."),
    click.option("--all-chunks", is_flag=True, help="Show every near chunk of a row."),
    click.option("--max-distance", type=float, callback=_number, help="Exclude rows at a greater distance."),
    click.option("--columns", help="Further columns, separated by commas."),
    click.option("--full", is_flag=True, help="Show texts whole instead of a passage."),
    click.option("--exact", is_flag=True, help="Compare every row, without the index."),
    click.option(
        "--effort",
        "--beam-size",
        "--ef-search",
        "effort",
        type=click.IntRange(1),
        help="Effort: beam size or ef_search.",
    ),
    click.option("--follower-read", is_flag=True, help="Read the nearest replica (CockroachDB)."),
    click.option("-v", "--verbose", is_flag=True, help="Show key, metric and search strategy."),
)
