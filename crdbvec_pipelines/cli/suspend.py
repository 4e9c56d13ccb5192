"""`crdbvec suspend`: embed no more rows of vector columns until they are resumed."""

import click

from crdbvec_pipelines.cli.output import print_json, print_text
from crdbvec_pipelines.cli.target import Selection, column_names, column_options
from crdbvec_pipelines.database.column import bind_column
from crdbvec_pipelines.database.suspension import resume, suspend, suspended_since


@click.command(epilog="Example: crdbvec suspend -t article -o body_vector")
@column_options
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def command(selection: Selection, as_json: bool) -> None:
    """Embed no more rows of vector columns until `crdbvec resume`.

    Holds for all processes: runs and `crdbvec embed` end after their current batch, followers and sensors wait. Rows
    stay pending, and searches go on.
    """
    change(selection, suspended=True, as_json=as_json)


def change(selection: Selection, *, suspended: bool, as_json: bool) -> None:
    """Suspend or resume the selected columns, and print their state."""
    target = selection.resolve()
    changed = []
    with target.open() as databases:
        for spec in target.columns:
            with target.naming(spec):
                column = bind_column(databases.of(spec), spec, target.registry.encoder_of(spec))
                (suspend if suspended else resume)(column)
                since = suspended_since(column)
                changed.append((spec, since))
    if as_json:
        print_json(
            [
                {
                    **column_names(spec),
                    "suspended_since": None if since is None else f"{since.isoformat(timespec='seconds')}Z",
                }
                for spec, since in changed
            ]
        )
        return
    for spec, _ in changed:
        print_text(f"{spec} is {'suspended. Resume it with `crdbvec resume`.' if suspended else 'resumed.'}")
