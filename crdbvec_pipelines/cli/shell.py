"""`crdbvec shell`: one search after the other, with the model and the connection kept."""

import shlex
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import replace

import click

from crdbvec_pipelines.cli.output import print_info
from crdbvec_pipelines.cli.search_options import SearchOptions, search_options
from crdbvec_pipelines.cli.search_session import SearchSession
from crdbvec_pipelines.cli.target import Selection, Target, column_options
from crdbvec_pipelines.errors import ConfigurationError, CrdbvecError
from crdbvec_pipelines.search.searcher import Searcher
from crdbvec_pipelines.search.where import parse_where

_MAX_LIMIT = 10_000
_HELP = (
    "Type a text to search for it. \\where year>=1990 adds a condition, \\where alone removes all; \\limit 5; "
    "\\like KEY; \\q or Ctrl-D ends."
)


@click.command(epilog="Example: crdbvec shell -t article --limit 3")
@column_options
@search_options
def command(selection: Selection, options: SearchOptions) -> None:
    """Find rows by one text after the other.

    Each line of the input is a text. The model is loaded only once.

    \b
    Lines that start with a backslash change the search:
      \\where year>=1990   add a condition of --where; \\where alone removes all
      \\limit 5            the maximum number of rows
      \\like 1187          rows similar to the row with this key
      \\q                  end, as Ctrl-D does.
    """  # noqa: D301
    run_shell(selection.resolve(also_second=True), options)


def run_shell(target: Target, options: SearchOptions) -> None:
    """Answer the lines of stdin until it ends."""
    with target.open() as databases:
        column = target.present(databases).column
        encoder = target.registry.encoder_of(column)
        encoder.load_in_background()
        database = databases.of(column)
        searcher = Searcher(database, column, encoder, target.registry)
        shell = _Shell(SearchSession(database, searcher, encoder, options), options)
        if sys.stdin.isatty():
            print_info(_HELP)
        for line in _lines(f"{column}> "):
            if line == "\\q":
                break
            try:
                shell.answer(line)
            except CrdbvecError as error:
                click.echo(f"Error: {error}", err=True)


class _Shell:
    """The state of a shell: the search that the lines have changed."""

    def __init__(self, session: SearchSession, options: SearchOptions) -> None:
        self._session = session
        self._where = options.where

    def answer(self, line: str) -> None:
        """Answer a line: search for it, or change the search.

        Raises:
            CrdbvecError: The search failed, or the line is not valid.
        """
        name, _, rest = line.partition(" ")
        if not line.startswith("\\"):
            (result,) = self._session.search_texts([line])
            self._session.print_result(result, is_text=True)
            self._session.print_notes(result)
        elif name == "\\like":
            result = self._session.search_like(_words(rest))
            self._session.print_result(result, is_text=False)
            self._session.print_notes(result)
        elif name == "\\where":
            where = (*self._where, rest.strip()) if rest.strip() else ()
            filters = parse_where(where, self._session.searcher.column.table)
            self._session.query = replace(self._session.query, filters=filters)
            self._where = where
            print_info(f"Conditions: {' and '.join(where) or 'none'}.")
        elif name == "\\limit" and rest.strip().isdecimal() and 1 <= int(rest) <= _MAX_LIMIT:
            self._session.query = replace(self._session.query, limit=int(rest))
        else:
            raise ConfigurationError(f"{line!r} is not a command of the shell. {_HELP}")


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        raise ConfigurationError(f"{text!r} has a quotation mark without its counterpart.") from None


def _lines(prompt: str) -> Iterator[str]:
    """Yield the lines of stdin that are not blank; on a terminal with a prompt, and with the history of readline."""
    while True:
        try:
            if sys.stdin.isatty():
                # The input function edits lines only if sys.stdout is the process's own stdout, which leads to stderr.
                with redirect_stdout(sys.__stdout__ or sys.stderr):
                    line = input(prompt)
            else:
                line = sys.stdin.readline()
                if not line:
                    return
        except EOFError:
            return
        if line.strip():
            yield line.strip()
