"""The command `crdbvec`: the command group, and the exit codes of errors. Each subcommand is a module."""

import contextlib
import errno
import logging
import os
import signal
import sys
import traceback
import warnings
from typing import IO, Any

import click
from click.shell_completion import CompletionItem

from crdbvec_pipelines.cli.output import discard_output, open_standard_descriptors
from crdbvec_pipelines.cli.signals import ended_by_signals, exit_code_of
from crdbvec_pipelines.cli.version import print_version
from crdbvec_pipelines.errors import CrdbvecError

# A command is imported when it is used, so that `crdbvec --help` and `crdbvec model list` start quickly. The texts
# repeat the first line of each command's own help.
_COMMANDS = {
    "demo": "Embed 2,000 dictionary glosses with Dagster and search them.",
    "doctor": "Check what the commands need, and say what to do.",
    "embed": "Embed the pending rows of a table.",
    "errors": "List failed rows, or release them for another attempt.",
    "evaluate": "Measure how good searches are for questions.",
    "index": "Show the vector index, build it, and tune the search effort.",
    "init": "Write a commented crdbvec.yaml for one of your tables.",
    "migrate": "Change the model of a vector column without an outage.",
    "model": "List and describe the models.",
    "plan": "Estimate what embedding the pending rows would do and cost.",
    "profile": "Show what the texts of a table are like, and give advice.",
    "resume": "Embed the rows of vector columns again after `crdbvec suspend`.",
    "search": "Find the rows whose input is nearest to a text.",
    "shell": "Find rows by one text after the other.",
    "status": "Show the row counts of each vector column.",
    "suspend": "Embed no more rows of vector columns until `crdbvec resume`.",
    "uninstall": "Remove what this project added to a table, after listing it.",
    "ui": "Open Dagster's UI for crdbvec.yaml, or for the demo data.",
    "worker": "Run a Celery worker that executes Dagster runs on this machine.",
}


class _Failure(click.ClickException):
    def __init__(self, error: CrdbvecError) -> None:
        super().__init__(" ".join([str(error), *getattr(error, "__notes__", [])]))
        self.exit_code = error.exit_code  # type: ignore[misc]

    def show(self, file: IO[Any] | None = None) -> None:
        # If the device of stderr has no space left, the exit code still says what happened.
        with contextlib.suppress(OSError):
            super().show(file)


class _Commands(click.Group):
    """A group that imports a command on first use and reports a `CrdbvecError` by its message and exit code."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Run a command as this process, which signals end; `main` runs one in the process of its caller."""
        open_standard_descriptors()
        with ended_by_signals():
            return super().__call__(*arguments, **options)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = __import__(f"{__name__}.{cmd_name}", fromlist=["command"])
        command: click.Command = module.command
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        if incomplete.startswith("-"):
            return click.Command.shell_complete(self, ctx, incomplete)
        # Without importing the commands, some of which take seconds.
        return [
            CompletionItem(name, help=text) for name, text in sorted(_COMMANDS.items()) if name.startswith(incomplete)
        ]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(sorted(_COMMANDS.items()))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        for argument in args:
            # Python represents bytes of the command line that are not valid text by lone surrogates.
            if any("\ud800" <= character <= "\udfff" for character in argument):
                shown = os.fsencode(argument).decode("utf-8", "backslashreplace")
                raise click.UsageError(f"The argument '{shown}' is not valid UTF-8. Write it in UTF-8.", ctx)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
            # Otherwise an error of the last output would only show when the interpreter ends.
            if sys.stdout is not None:
                sys.stdout.flush()
            return result
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except CrdbvecError as error:
            raise _Failure(error) from error
        except KeyboardInterrupt as interrupt:
            number = getattr(interrupt, "number", signal.SIGINT)
            click.echo(
                f"Interrupted by {signal.Signals(number).name}. What was written before is kept; run the same command "
                "again to continue.",
                err=True,
            )
            raise click.exceptions.Exit(exit_code_of(number)) from None
        except MemoryError:
            raise click.ClickException(
                "The process ran out of memory; no work is lost. Lower batch_size, workers or memory_budget_mb, and "
                "run the command again."
            ) from None
        except Exception as error:
            if isinstance(error, OSError) and error.errno == errno.EPIPE:
                # The reader of the output has ended, which is reported to no one.
                raise
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                discard_output(sys.stdout)
                raise click.ClickException(
                    "The output cannot be written, because the device has no space left."
                ) from None
            raise click.ClickException(_unexpected(error)) from None


def _unexpected(error: Exception) -> str:
    """Return the message for the error of a defect: its class and where it was raised, without values of rows."""
    frames = "".join(traceback.format_tb(error.__traceback__))
    return (
        f"An unexpected {type(error).__name__} ended the command. Its text is not shown, because it can quote a row. "
        f"Please report it with these lines:\n{frames}"
    )


@click.group(
    cls=_Commands,
    epilog="Example: crdbvec demo",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=print_version,
    help="Show the versions of crdbvec, its engines and the server, and exit.",
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    envvar="CRDBVEC_LOG_FORMAT",
    help="How log lines on stderr are written.  [default: text]",
)
def main(log_format: str) -> None:
    """Keep vector columns of CockroachDB and PostgreSQL tables fresh, and search them."""
    warnings.simplefilter("ignore")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    if log_format == "json":
        from crdbvec_pipelines.telemetry.log_format import JsonFormatter

        for handler in logging.getLogger().handlers:
            handler.setFormatter(JsonFormatter())
