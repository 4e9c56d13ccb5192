"""`crdbvec search`: the rows nearest to a text or to another row."""

import math
from dataclasses import replace

import click

from crdbvec_pipelines.cli.output import print_info, print_json, print_text, printable
from crdbvec_pipelines.cli.target import Selection, column_options
from crdbvec_pipelines.database.metrics import DISTANCES
from crdbvec_pipelines.search.searcher import Hit, Searcher, SearchQuery, SearchResult
from crdbvec_pipelines.search.where import parse_where
from crdbvec_pipelines.value_text import key_text, value_text


def _number(_context: click.Context, _parameter: click.Parameter, value: float | None) -> float | None:
    """Return a value that is a number; no distance is less than NaN, so it would exclude every row."""
    if value is not None and math.isnan(value):
        raise click.BadParameter("NaN is not a distance. Write a number.")
    return value


@click.command(epilog='Example: crdbvec search "a bird that cannot fly" -l 3 --where kind=noun')
@column_options
@click.argument("texts", metavar="[TEXT]...", nargs=-1)
@click.option("-l", "--limit", type=click.IntRange(1, 10_000), default=10, show_default=True, help="Rows to show.")
@click.option(
    "--like",
    "like",
    metavar="VALUE",
    multiple=True,
    help="Search for rows similar to the row with this key; repeat for each column of the key.",
)
@click.option(
    "--where",
    "where",
    multiple=True,
    metavar="CONDITION",
    help="Only rows that match, such as year>=1990. Repeated = on one column means OR; all else means AND.",
)
@click.option("--exact", is_flag=True, help="Compare every row; do not use the vector index.")
@click.option(
    "--effort",
    "--beam-size",
    "--ef-search",
    "effort",
    type=click.IntRange(1),
    help="Search effort: beam size (CockroachDB) or ef_search (PostgreSQL).",
)
@click.option("--max-distance", type=float, callback=_number, help="Exclude rows at a greater distance.")
@click.option("--columns", help="Further columns to show, separated by commas.")
@click.option(
    "--follower-read", is_flag=True, help="Read data a few seconds old from the nearest replica (CockroachDB only)."
)
@click.option("--sql", "as_sql", is_flag=True, help="Print the search as SQL instead of running it.")
@click.option("--explain", is_flag=True, help="Print the server's query plan instead of the rows.")
@click.option("-v", "--verbose", is_flag=True, help="Show the key's columns, the metric and the search strategy.")
@click.option("--json", "as_json", is_flag=True, help="Print the hits as JSON.")
def command(
    selection: Selection,
    texts: tuple[str, ...],
    limit: int,
    like: tuple[str, ...],
    where: tuple[str, ...],
    exact: bool,
    effort: int | None,
    max_distance: float | None,
    columns: str | None,
    follower_read: bool,
    as_sql: bool,
    explain: bool,
    verbose: bool,
    as_json: bool,
) -> None:
    r"""Find the rows whose input is nearest to a text.

    Each of several texts has its own result. With --like, the search starts from the vector of an existing row.

    \b
    Conditions of --where:
      lang=en  lang!=en  year>=1990  year=1990..1999    values and ranges, in the type of the column
      lang IN (en, de)  year IS NULL  year IS NOT NULL  lists and NULL
      title~^The  title~*star                           regular expressions; ~* ignores case
      attributes.color=red                              a path into a column of JSON
    """
    if bool(texts) == bool(like):
        raise click.UsageError("Give either texts to search for, or the key of a row with --like.")
    if as_json and (as_sql or explain):
        raise click.UsageError("--json prints hits and cannot be combined with --sql or --explain.")
    query = SearchQuery(
        limit=limit,
        exact=exact,
        effort=effort,
        max_distance=max_distance,
        columns=tuple(name.strip() for name in columns.split(",")) if columns else (),
        as_of="follower_read" if follower_read else "now",
    )
    target = selection.resolve()
    column = target.column
    encoder = target.registry.load(column.model)
    if texts:
        encoder.load_in_background()
    with target.open() as database:
        searcher = Searcher(database, column, encoder)
        query = replace(query, filters=parse_where(where, searcher.column.table))
        if verbose:
            key = ", ".join(f"{part.name} ({part.cast})" for part in searcher.column.table.key)
            print_info(f"Primary key: {key}")
            print_info(f"Distance: {DISTANCES[searcher.column.metric].meaning}")
        if follower_read and database.dialect.vectors.follower_read_clause is None:
            print_info(f"{database.dialect.display_name} has no follower reads; the search reads current data.")
        if as_sql or explain:
            query_plans = map("\n".join, searcher.explain(texts, query, like))
            print_text("\n\n".join(searcher.sql(texts, query, like) if as_sql else query_plans))
            return
        results = [searcher.search_like(like, query)] if like else searcher.search_texts(texts, query)
    if as_json:
        _print_json(results)
    for result in results:
        if not as_json:
            _print(result, with_query=len(results) > 1)
        # A filter may change the strategy and with it the cost of the search.
        if verbose or (where and not exact):
            print_info(result.reason)


def _print(result: SearchResult, *, with_query: bool) -> None:
    if with_query:
        print_text(f"\n{result.query}:")
    for hit in result.hits:
        print_text(f"\n{hit_text(hit)}")


def hit_text(hit: Hit) -> str:
    """Return the lines of a hit: distance and key, the input, and the further columns if there are any."""
    shown = f"<{len(hit.input)} bytes>" if isinstance(hit.input, (bytes, memoryview)) else hit.input
    lines = [f"{hit.distance} --> {key_text(hit.key.values())}", str(shown)]
    if hit.columns:
        lines.append(", ".join(f"{name}: {value_text(value)}" for name, value in hit.columns.items()))
    return printable("\n".join(lines))


def _print_json(results: list[SearchResult]) -> None:
    """Print an array of hits for one query, or an array of queries with their hits for several."""
    hits = [[_jsonable(hit) for hit in result.hits] for result in results]
    queries = [
        {"query": result.query, "strategy": result.strategy, "reason": result.reason, "hits": found}
        for result, found in zip(results, hits, strict=True)
    ]
    print_json(queries if len(queries) > 1 else hits[0])


def _jsonable(hit: Hit) -> dict[str, object]:
    values: dict[str, object] = {"distance": hit.distance, "key": hit.key, "input": hit.input}
    return {**values, "columns": hit.columns} if hit.columns else values
