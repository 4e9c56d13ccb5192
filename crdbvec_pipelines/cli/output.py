"""What commands print and how: people's text, JSON alone on stdout, progress on stderr."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import click


def say(line: str) -> None:
    """Tells a person something beside the output."""
    click.echo(f"[INFO] {line}", err=True)


def print_json(value: object) -> None:
    """Prints a value as JSON, alone on stdout."""
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
    """A primary key as people read it, its values separated by commas."""
    return ", ".join(map(str, key))


def bytes_text(count: float) -> str:
    """A number of bytes as people read it."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:,.0f} {unit}" if unit == "B" else f"{count:,.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} TB"


def seconds_text(seconds: float) -> str:
    """A duration as people read it."""
    if seconds < 90:
        return f"{seconds:,.1f} s"
    return f"{seconds / 60:,.0f} min" if seconds < 5_400 else f"{seconds / 3600:,.1f} h"


@contextmanager
def progress(what: str, total: int, *, shown: bool) -> Iterator[Callable[[int], None]]:
    """A bar on stderr with rows, rate and time left; yields a function that advances it by some rows.

    It is for people: with `shown`, and where stderr is a terminal.
    """
    if not (shown and sys.stderr.isatty()):
        yield lambda rows: None
        return
    # Imported for who sees it: a search has no bar, and ends before it would have been imported.
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
        task = bar.add_task(what, total=total, rate=0.0)

        def advance(rows: int) -> None:
            bar.advance(task, rows)
            bar.update(task, rate=bar.tasks[task].speed or 0.0)

        yield advance
