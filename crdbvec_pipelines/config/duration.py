"""Durations as users write them, such as `90s`, `5m`, `2h` or `1d`."""

import re

_DURATION = re.compile(r"([1-9]\d{0,5})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def duration_seconds(text: str) -> int:
    """Return the seconds of a duration.

    Raises:
        ValueError: The text is not a duration.
    """
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a duration; write a number and a unit, such as 90s, 5m, 2h or 1d")
    return int(found[1]) * _SECONDS[found[2]]


def check_duration(text: str) -> str:
    """Return a duration if it can be read, for pydantic.

    Raises:
        ValueError: The text is not a duration.
    """
    duration_seconds(text)
    return text
