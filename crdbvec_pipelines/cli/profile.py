"""`crdbvec profile`: what the texts of a table are like, and the settings that follow. Changes nothing."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crdbvec_pipelines.cli.output import print_info, print_json, print_text
from crdbvec_pipelines.cli.target import Selection, column_names, column_options

if TYPE_CHECKING:
    from crdbvec_pipelines.config import VectorColumn
    from crdbvec_pipelines.profile.table import Profile

_DEFAULT_ROWS = 1_000


@click.command(epilog="Example: crdbvec profile -t article -o body_vector --plot texts.png")
@column_options
@click.option(
    "--rows",
    type=click.IntRange(10, 1_000_000),
    default=_DEFAULT_ROWS,
    show_default=True,
    help="The rows of the sample.",
)
@click.option("--all", "is_whole", is_flag=True, help="Read the texts of all rows.")
@click.option("--plot", "plot_file", type=click.Path(path_type=Path, dir_okay=False), help="Write a plot as PNG.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def command(selection: Selection, rows: int, is_whole: bool, plot_file: Path | None, as_json: bool) -> None:
    """Show what the texts of a table are like, and give advice.

    Prints tokens and how many the model does not read or know, equal texts, and the distances to the nearest rows, from
    a sample of the rows. No text is encoded. Changes nothing.
    """
    # Imported here, so that the help is shown without them.
    from crdbvec_pipelines.profile.advice import advise, describe
    from crdbvec_pipelines.profile.table import profile_column

    target = selection.resolve(also_second=True)
    if plot_file is not None and len(target.columns) > 1:
        raise click.UsageError("--plot draws one vector column. Choose it with -t and -o.")
    with target.open() as databases:
        target = target.present(databases, with_second=True)
        profiles = []
        for column in target.columns:
            with target.naming(column):
                working = databases.of(column).with_quality_of_service(column.quality_of_service)
                encoder = target.registry.encoder_of(column)
                profiles.append((column, profile_column(working, column, encoder, rows=rows, is_whole=is_whole)))
    if plot_file is not None:
        from crdbvec_pipelines.search.plot import profile_plot

        ((column, profile),) = profiles
        distances = profile.neighbors.distances if profile.neighbors else ()
        plot_file.write_bytes(profile_plot(profile.texts.lengths, profile.texts.window, distances, str(column)))
        print_info(f"Plot written to {plot_file}.")
    if as_json:
        print_json([{**column_names(column), **_json(column, profile)} for column, profile in profiles])
        return
    for column, profile in profiles:
        advice = [str(each) for each in advise(column, profile)] or ["nothing to change"]
        lines = [*describe(profile), "advice:", *(f"  {each}" for each in advice)]
        print_text(f"{column} by {column.model}")
        print_text("".join(f"  {line}\n" for line in lines))


def _json(column: "VectorColumn", profile: "Profile") -> dict[str, Any]:
    from crdbvec_pipelines.profile.advice import advise
    from crdbvec_pipelines.profile.texts import QUANTILES

    texts, neighbors = profile.texts, profile.neighbors
    share, among = profile.duplicates
    return {
        "rows": texts.rows,
        "is_whole": profile.is_whole,
        "window": texts.window,
        "tokens": dict(zip(map(str, QUANTILES), texts.tokens, strict=False)),
        "truncated": texts.sample and texts.sample.truncated,
        "lost": texts.lost,
        "unknown_tokens": texts.sample and texts.sample.unknown_tokens,
        "unreadable": texts.sample and texts.sample.unreadable,
        "duplicates": share,
        "duplicates_among": among,
        "identifiers": texts.identifiers,
        "distances": neighbors and dict(zip(map(str, QUANTILES), neighbors.quantiles, strict=True)),
        "near_duplicates": neighbors and neighbors.near,
        "advice": [asdict(each) for each in advise(column, profile)],
    }
