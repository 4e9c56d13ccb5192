"""The command `crdbvec`. Here: the group and how errors end; each command is a module of its own."""

import logging
import warnings
from typing import Any

import click

from crdbvec_pipelines import __version__
from crdbvec_pipelines.errors import CrdbvecError

# Imported when first asked for, so that `crdbvec --help` and `crdbvec model list` stay quick.
_COMMANDS = {
    "demo": "Fill a vector column of 2,000 dictionary glosses through Dagster, and search it.",
    "embed": "Embed the pending rows of a table.",
    "errors": "List the rows that could not be embedded, and release them.",
    "index": "Show, build and tune the vector index.",
    "model": "List and describe the models.",
    "plan": "Show what embedding would do and cost, before anything is done.",
    "search": "Find the rows nearest to a text.",
    "status": "Show how complete the vector columns are.",
    "ui": "Open Dagster's UI on the demonstration's data.",
}


class _Failure(click.ClickException):
    def __init__(self, error: CrdbvecError) -> None:
        super().__init__(str(error))
        self.exit_code = error.exit_code  # type: ignore[misc]


class _Commands(click.Group):
    """Loads a command's module when it is used, and turns our errors into one sentence and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = __import__(f"{__name__}.{cmd_name}", fromlist=["command"])
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(sorted(_COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except CrdbvecError as error:
            raise _Failure(error) from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="crdbvec")
def main() -> None:
    """Keep vector columns of CockroachDB tables fresh, and search them."""
    warnings.simplefilter("ignore")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
