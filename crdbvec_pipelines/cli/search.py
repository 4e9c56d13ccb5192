"""`crdbvec search`: the nearest rows, in the terminal."""

import click

from crdbvec_pipelines.cli.output import key_text, print_json, say
from crdbvec_pipelines.cli.target import Selection, column_options
from crdbvec_pipelines.database.metrics import DISTANCES
from crdbvec_pipelines.search import Found, Hit, Searcher, Wish


@click.command()
@column_options
@click.argument("texts", metavar="[TEXT]...", nargs=-1)
@click.option("-l", "--limit", type=click.IntRange(1, 10_000), default=10, show_default=True, help="Rows to show.")
@click.option("--like", "like", multiple=True, help="The key of a row, instead of a text; once for each key column.")
@click.option("--where", "where", multiple=True, metavar="COLUMN=VALUE", help="Only such rows; repeated, any of them.")
@click.option("--exact", is_flag=True, help="Compare every row, index or not.")
@click.option(
    "--effort", "--beam-size", "--ef-search", "effort", type=click.IntRange(1), help="Look harder: beam or ef_search."
)
@click.option("--max-distance", type=float, help="Leave out rows that are farther.")
@click.option("--columns", help="Further columns to show, separated by commas.")
@click.option("--past", is_flag=True, help="Read some seconds in the past, from the nearest replica (CockroachDB).")
@click.option("--sql", "as_sql", is_flag=True, help="Print the search as SQL instead of running it.")
@click.option("--explain", is_flag=True, help="Print the server's plan instead of the rows.")
@click.option("-v", "--verbose", is_flag=True, help="Say what the key is, and how the rows were found.")
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
    past: bool,
    as_sql: bool,
    explain: bool,
    verbose: bool,
    as_json: bool,
) -> None:
    """Find the rows whose input is nearest to each TEXT, or to the row with the key given by --like."""
    if bool(texts) == bool(like):
        raise click.UsageError("Give texts to search for, or the key of a row with --like.")
    if as_json and (as_sql or explain):
        raise click.UsageError("--json prints hits; --sql and --explain print something else. Give one of them.")
    wish = Wish(
        limit=limit,
        where=_filters(where),
        exact=exact,
        effort=effort,
        within=max_distance,
        columns=tuple(name.strip() for name in columns.split(",")) if columns else (),
        past=past,
    )
    target = selection.resolve()
    column = target.column
    encoder = target.registry.load(column.model)
    if texts:
        encoder.warm_up_aside()
    with target.open() as database:
        searcher = Searcher(database, column, encoder)
        if verbose:
            key = ", ".join(f"{part.name} ({part.cast})" for part in searcher.table.key)
            say(f"PK: {key}")
            say(f"Distance: {DISTANCES[searcher.metric].meaning}")
        if past and database.dialect.vectors.slightly_past is None:
            say(f"{database.dialect.name} reads no past; this is the present.")
        if as_sql or explain:
            plans = map("\n".join, searcher.explain(texts, wish, like))
            click.echo("\n\n".join(searcher.sql(texts, wish, like) if as_sql else plans))
            return
        found = [searcher.like(like, wish)] if like else searcher.texts(texts, wish)
    if as_json:
        _print_json(found)
    for each in found:
        if not as_json:
            _print(each, with_query=len(found) > 1)
        # A filter changes how rows are found, and with it what they cost, so it is said unasked.
        if verbose or (where and not exact):
            say(f"Found {each.how}.")


def _print(found: Found, *, with_query: bool) -> None:
    if with_query:
        click.echo(f"\n{found.query}:")
    for hit in found.hits:
        click.echo(f"\n{hit_text(hit)}")


def hit_text(hit: Hit) -> str:
    """A hit in two lines: distance and key, and the text; further columns on a line of their own."""
    shown = f"<{len(hit.input)} bytes>" if isinstance(hit.input, (bytes, memoryview)) else hit.input
    lines = [f"{hit.distance} --> {key_text(hit.key.values())}", str(shown)]
    if hit.columns:
        lines.append(", ".join(f"{name}: {value}" for name, value in hit.columns.items()))
    return "\n".join(lines)


def _filters(where: tuple[str, ...]) -> dict[str, list[str]]:
    filters: dict[str, list[str]] = {}
    for each in where:
        name, equals, value = each.partition("=")
        if not equals or not name:
            raise click.UsageError(f"--where takes COLUMN=VALUE, and got {each!r}.")
        filters.setdefault(name.strip(), []).append(value)
    return filters


def _print_json(found: list[Found]) -> None:
    """An array of hits for one query, an array of queries with their hits for several."""
    shown = [{"query": each.query, "how": each.how, "hits": [_jsonable(hit) for hit in each.hits]} for each in found]
    print_json(shown if len(shown) > 1 else shown[0]["hits"])


def _jsonable(hit: Hit) -> dict[str, object]:
    facts: dict[str, object] = {"distance": hit.distance, "key": hit.key, "input": hit.input}
    return {**facts, "columns": hit.columns} if hit.columns else facts
