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


def commands(group: click.Group, path: tuple[str, ...] = ("crdbvec",)) -> Iterator[tuple[str, click.Context]]:
    """Yield the full name and the context of a command and of its subcommands, in the order of the help."""
    context = click.Context(group, info_name=" ".join(path))
    yield " ".join(path), context
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        elif command is not None:
            full_name = " ".join((*path, name))
            yield full_name, click.Context(command, info_name=full_name)


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
