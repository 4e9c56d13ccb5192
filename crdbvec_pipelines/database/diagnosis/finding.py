"""One finding of a diagnosis."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "error"]
"""ok: as it should be. warning: work is possible, but limited. error: it prevents work."""


@dataclass(frozen=True)
class Finding:
    """One fact, and what to do about it.

    Attributes:
        level: How serious it is.
        check: What was checked, such as `privileges`.
        subject: The vector column or the table that it concerns; None for the connection and the server.
        message: The fact as a sentence.
        remedy: What to do, as a sentence; None if nothing is to be done.
    """

    level: Level
    check: str
    subject: str | None
    message: str
    remedy: str | None = None
