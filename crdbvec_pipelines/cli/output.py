"""Output of the commands: text or JSON on stdout, notices and progress on stderr."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import click


def print_info(line: str) -> None:
    """Print a notice on stderr."""
    click.echo(f"[INFO] {line}", err=True)


def print_json(value: object) -> None:
    """Print a value as JSON; nothing else is printed on stdout."""
    click.echo(json.dumps(value, default=_jsonable, ensure_ascii=False))


def _jsonable(value: object) -> object:
    if isinstance(value, (UUID, Decimal)):
        return str(value)
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    if isinstance(value, (bytes, memoryview)):
        return bytes(value).hex()
    return str(value)


def key_text(key: Any) -> str:
    """Return the values of a primary key, separated by commas."""
    return ", ".join(map(str, key))


def bytes_text(count: float) -> str:
    """Return a number of bytes with a decimal unit."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:,.0f} {unit}" if unit == "B" else f"{count:,.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} TB"


def seconds_text(seconds: float) -> str:
    """Return a duration in seconds, minutes or hours."""
    if seconds < 90:
        return f"{seconds:,.1f} s"
    return f"{seconds / 60:,.0f} min" if seconds < 5_400 else f"{seconds / 3600:,.1f} h"


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
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    with Progress(
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
