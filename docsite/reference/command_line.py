"""Every command with its options, from the objects of click."""

import re
from collections.abc import Iterator

import click

from crdbvec_pipelines.cli import main

_HEAD = """\
# Commands and options

Every command of `crdbvec`, with its options. [Command line](../command-line.md) says how a command finds table and
database; [errors](../errors.md#exit-codes) has the exit codes.
"""


def commands(
    command: click.Command, path: tuple[str, ...] = ("crdbvec",), parent: click.Context | None = None
) -> Iterator[tuple[str, click.Context]]:
    """Yield the full name and the context of a command and of its subcommands, in the order of the help.

    Settings such as the names of the help option come from the parent, as when the command is run. A command keeps the
    help option that it makes first.
    """
    context = command.context_class(command, parent, info_name=path[-1], **command.context_settings)
    yield " ".join(path), context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            subcommand = command.get_command(context, name)
            if subcommand is not None:
                yield from commands(subcommand, (*path, name), context)


def command_line() -> str:
    """Return the page."""
    return "\n".join([_HEAD, *(_section(name, context) for name, context in commands(main))])


def _section(name: str, context: click.Context) -> str:
    command = context.command
    parts = [f"## `{name}`", _paragraphs(command.help or "")]
    if isinstance(command, click.Group):
        parts.append("Its commands follow.")
    else:
        parts.append(f"```text\n{' '.join([name, *command.collect_usage_pieces(context)])}\n```")
    rows = [record for parameter in command.params if (record := parameter.get_help_record(context))]
    help_option = command.get_help_option(context)
    if help_option is not None and help_option not in command.params:
        rows += [record for record in [help_option.get_help_record(context)] if record]
    if rows:
        parts.append(
            "\n".join(
                ["| option | meaning |", "|---|---|", *(f"| `{flags}` | {_cell(text)} |" for flags, text in rows)]
            )
        )
    if command.epilog:
        parts.append(_paragraphs(command.epilog))
    return "\n\n".join(parts) + "\n"


def _paragraphs(text: str) -> str:
    return "\n\n".join(_cell(paragraph.replace("\b", "")) for paragraph in text.split("\n\n"))


def _cell(text: str) -> str:
    """Return a text for a cell of a table, in which only code between backticks is markup."""
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()))
    return "".join(part if part.startswith("`") else _escaped(part) for part in parts)


def _escaped(text: str) -> str:
    return re.sub(r"([|\[*_])", r"\\\1", text.replace("<", "&lt;"))
