"""`crdbvec resume`: embed the rows of suspended vector columns again."""

import click

from crdbvec_pipelines.cli.suspend import change
from crdbvec_pipelines.cli.target import Selection, column_options


@click.command(epilog="Example: crdbvec resume -t article -o body_vector")
@column_options
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def command(selection: Selection, as_json: bool) -> None:
    """Embed the rows of vector columns again after `crdbvec suspend`.

    Followers and sensors continue by themselves. A run that was ended is launched again by the sensor, or by you.
    """
    change(selection, suspended=False, as_json=as_json)
