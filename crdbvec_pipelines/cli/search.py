"""`crdbvec search`: the rows nearest to a text or to another row, or those that contain its words."""

import sys
from pathlib import Path

import click

from crdbvec_pipelines.cli.output import print_json, print_text
from crdbvec_pipelines.cli.search_options import SearchOptions, search_options
from crdbvec_pipelines.cli.target import Selection, column_options


@click.command(epilog='Example: crdbvec search "a bird that cannot fly" -l 3 --where kind=noun')
@column_options
@click.argument("texts", metavar="[TEXT]...", nargs=-1)
@click.option(
    "--like",
    "like",
    metavar="VALUE",
    multiple=True,
    help="Find rows similar to the one of this key.",
)
@click.option(
    "--image",
    "picture",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Search for rows similar to this image file.",
)
@click.option(
    "--all-prefixes",
    is_flag=True,
    help="With --like: also rows of other prefixes.",
)
@search_options
@click.option("--sql", "as_sql", is_flag=True, help="Print the SQL instead of running it.")
@click.option("--explain", is_flag=True, help="Print the query plan instead of the rows.")
@click.option("--json", "as_json", is_flag=True, help="Print the hits as JSON.")
def command(
    selection: Selection,
    texts: tuple[str, ...],
    like: tuple[str, ...],
    picture: Path | None,
    all_prefixes: bool,
    options: SearchOptions,
    as_sql: bool,
    explain: bool,
    as_json: bool,
) -> None:
    """Find the rows whose input is nearest to a text.

    Several texts have a result each. Without one, it works as `crdbvec shell`.
    """
    is_question = not (texts or like or picture or as_sql or explain or as_json)
    if is_question and sys.stdin is not None and sys.stdin.isatty():
        # Imported here, because only a terminal needs it.
        from crdbvec_pipelines.cli.shell import run_shell

        run_shell(selection.resolve(also_second=True), options)
        return
    if [bool(texts), bool(like), picture is not None].count(True) != 1:
        raise click.UsageError("Give texts to search for, the key of a row with --like, or an image file with --image.")
    if picture is not None and (as_sql or explain):
        raise click.UsageError("--image cannot be combined with --sql or --explain.")
    if as_json and (as_sql or explain):
        raise click.UsageError("--json prints hits and cannot be combined with --sql or --explain.")
    if all_prefixes and not like:
        raise click.UsageError("--all-prefixes requires --like.")
    target = selection.resolve(also_second=True)
    if picture is not None or (texts and options.query.mode != "keyword"):
        target.registry.encoder_of(target.column).load_in_background()
    # Imported here, while the model is being loaded: psycopg takes as long as the engine of the model.
    from crdbvec_pipelines.cli.hits import hits_json
    from crdbvec_pipelines.cli.search_session import SearchSession
    from crdbvec_pipelines.search.searcher import Searcher

    with target.open() as databases:
        column = target.present(databases).column
        encoder = target.registry.encoder_of(column)
        database = databases.of(column)
        searcher = Searcher(database, column, encoder, target.registry)
        session = SearchSession(database, searcher, encoder, options)
        if as_sql:
            print_text("\n\n".join(searcher.sql(texts, session.query, like, all_prefixes=all_prefixes)))
            return
        if explain:
            plans = searcher.explain(texts, session.query, like, all_prefixes=all_prefixes)
            print_text("\n\n".join(map("\n".join, plans)))
            return
        if picture is not None:
            results = [session.search_picture(picture)]
        elif like:
            results = [session.search_like(like, all_prefixes=all_prefixes)]
        else:
            results = session.search_texts(texts)
        if as_json:
            print_json(hits_json(results, is_full=options.is_full))
        for result in results:
            if not as_json:
                session.print_result(result, is_text=bool(texts), with_query=len(results) > 1)
            session.print_notes(result)
