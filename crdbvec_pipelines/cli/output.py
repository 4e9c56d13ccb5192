"""Output of the commands: text or JSON on stdout, notices and progress on stderr.

While a command runs, stdout holds only its own output. What a model wrapper or a library prints goes to stderr.
"""

import io
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from typing import TYPE_CHECKING, TextIO

import click

from crdbvec_pipelines.value_text import jsonable

if TYPE_CHECKING:
    from rich.progress import Progress

_STDIN_DESCRIPTOR, _STDOUT_DESCRIPTOR, _STDERR_DESCRIPTOR = 0, 1, 2

_reserved: TextIO | None = None


def open_standard_descriptors() -> None:
    """Open the standard descriptors that the process was started without.

    Otherwise the first connection or file would get their number, and C code would print into it.
    """
    for descriptor in (_STDIN_DESCRIPTOR, _STDOUT_DESCRIPTOR, _STDERR_DESCRIPTOR):
        try:
            os.fstat(descriptor)
        except OSError:
            # The system assigns the lowest free number.
            os.open(os.devnull, os.O_RDWR)


@contextmanager
def reserved_stdout() -> Iterator[None]:
    """Reserve stdout for the output of this module, and send what other code prints to stderr.

    For a process, this includes the output of C code, which has buffers of its own: it writes them when the process
    ends, so the descriptor of stdout is not restored.
    """
    global _reserved
    stdout = sys.stdout
    if stdout is None:
        # The process was started without one.
        yield
        return
    _reserved = _moved(stdout)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        reserved, _reserved = _reserved, None
        try:
            reserved.flush()
        except OSError:
            discard_output(reserved)
            raise
        finally:
            if reserved is not stdout:
                reserved.close()


def _moved(stdout: TextIO) -> TextIO:
    """Return a stream to stdout with another descriptor; that of stdout then leads to stderr."""
    stdout.flush()
    with suppress(io.UnsupportedOperation):
        if stdout.fileno() == _STDOUT_DESCRIPTOR:
            moved = os.fdopen(
                os.dup(_STDOUT_DESCRIPTOR),
                "w",
                encoding=stdout.encoding,
                errors=stdout.errors,
                buffering=1 if stdout.isatty() else -1,
            )
            os.dup2(_STDERR_DESCRIPTOR, _STDOUT_DESCRIPTOR)
            return moved
    # An object of the caller.
    return stdout


def output_stream() -> TextIO:
    """Return the stream for the output of a command."""
    return _reserved or sys.stdout


def discard_output(stream: TextIO) -> None:
    """Discard what is left in the buffer of a stream, which would fail again when the stream is closed."""
    # Without a file descriptor, it is an object of the caller.
    with suppress(io.UnsupportedOperation):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def print_text(text: str = "") -> None:
    """Print text and a line end on stdout."""
    click.echo(text, file=output_stream())


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table on stdout, in which nothing is cut.

    On a terminal that is too narrow for it, each row is printed as a block with one line per value. Elsewhere, each row
    is one line.
    """
    widths = [max(map(len, cells)) for cells in zip(header, *rows, strict=True)]
    stream = output_stream()
    if stream.isatty() and sum(widths) + 2 * len(widths) > (columns := shutil.get_terminal_size().columns):
        _print_blocks(header, rows, columns)
        return
    for cells in (header, *rows):
        print_text("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())


def _print_blocks(header: Sequence[str], rows: Sequence[Sequence[str]], columns: int) -> None:
    indent = max(map(len, header)) + 2
    for row in rows:
        print_text()
        for name, cell in zip(header, row, strict=True):
            # Long words are names, which are wrapped by the terminal, so that they can be copied.
            lines = textwrap.wrap(cell, max(columns - indent, 20), break_long_words=False, break_on_hyphens=False)
            print_text(f"{name:{indent}}" + f"\n{' ' * indent}".join(lines))


def print_info(line: str) -> None:
    """Print a notice on stderr."""
    click.echo(f"[INFO] {line}", err=True)


def print_error(sentence: str) -> None:
    """Print an error on stderr that does not end the command."""
    click.echo(f"Error: {sentence}", err=True)


def print_json(value: object) -> None:
    """Print a value as JSON; nothing else is on stdout.

    The JSON is that of RFC 8259. It has no NaN and no infinity, which are printed as text, as PostgreSQL does: "NaN",
    "Infinity", "-Infinity". Binary values are printed as they are typed in SQL and on the command line, in hexadecimal
    digits after a backslash and an x.
    """
    print_text(json.dumps(jsonable(value), ensure_ascii=False, allow_nan=False))


def printable(text: str) -> str:
    """Return a text of a row without characters that control a terminal, which are shown as escape sequences.

    Line ends and tabs are kept.
    """
    return "".join(
        character if character.isprintable() or character in "\n\t" else character.encode("unicode_escape").decode()
        for character in text
    )


def bytes_text(count: float) -> str:
    """Return a number of bytes with a decimal unit."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:,.0f} {unit}" if unit == "B" else f"{count:,.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} TB"


def cost_text(cost: float) -> str:
    """Return a cost, whose currency is not known, with two decimals, or with as many as a small one needs."""
    return f"{cost:,.2f}" if cost >= 1 or cost == 0 else f"{cost:.2g}" if cost >= 0.0001 else f"{cost:.6f}"


def share_text(share: float) -> str:
    """Return a share as a percentage; one that is not zero is not shown as zero."""
    return "less than 0.1%" if 0 < share < 0.001 else f"{share:.1%}"


def failed_text(failed: int, deferred: int) -> str:
    """Return the recorded failures as a part of a sentence, with the command that lists them; empty if there are none.

    Every command that counts rows prints it, because failed rows are neither embedded nor pending.
    """
    if not failed:
        return ""
    return f"{failed:,} failed (run `crdbvec errors list`), {deferred:,} of them deferred"


def seconds_text(seconds: float) -> str:
    """Return a duration in seconds, minutes or hours."""
    if seconds < 90:
        return f"{seconds:,.1f} s"
    return f"{seconds / 60:,.0f} min" if seconds < 5_400 else f"{seconds / 3600:,.1f} h"


def progress_bar() -> "Progress":
    """Return a bar on stderr, on a terminal only, whose tasks show their description, their share and the time."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )


@contextmanager
def progress(label: str, total: int, *, shown: bool) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on stderr with rows, rate and remaining time; yield a function that advances it.

    The bar is shown only with `shown` and if stderr is a terminal.
    """
    if not (shown and sys.stderr.isatty()):
        yield lambda rows: None
        return
    # Imported here, because the import takes longer than most commands that show no progress bar.
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    with Progress(
        # A batch can take many seconds, in which only these two columns change.
        SpinnerColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:,.0f} rows/s", style="progress.data.speed"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        speed_estimate_period=60,
    ) as bar:
        task = bar.add_task(label, total=total, rate=0.0)

        def advance(rows: int) -> None:
            bar.advance(task, rows)
            bar.update(task, rate=bar.tasks[task].speed or 0.0)

        yield advance
