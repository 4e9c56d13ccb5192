"""Cron expressions, checked when the configuration is loaded, without Dagster, which evaluates them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_ALIASES = frozenset({"@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually"})
_VALUE = "[0-9]+|[a-z]{3}"
_RANGE = re.compile(rf"(?P<first>\*|{_VALUE})(?:-(?P<last>{_VALUE}))?(?:/(?P<step>[0-9]+))?")
# The last Friday of a month (l5), and the second one (5#2).
_WEEKDAY_OF_MONTH = re.compile(rf"l(?P<last>{_VALUE})|(?P<nth>{_VALUE})#[1-5]")
_LONGEST_MONTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_EVERY_MONTH_HAS = 28


@dataclass(frozen=True)
class _Field:
    lowest: int
    highest: int
    names: Sequence[str] = ()

    def value(self, text: str) -> int:
        value = self.lowest + self.names.index(text) if text in self.names else int(text)
        if not self.lowest <= value <= self.highest:
            raise ValueError(text)
        return value

    def values(self, text: str) -> set[int]:
        """Return the values of one element of a list: a value, a range, or all values, with or without a step."""
        found = _RANGE.fullmatch(text)
        if found is None or (found["first"] == "*" and found["last"]):
            raise ValueError(text)
        is_all = found["first"] == "*"
        first = self.lowest if is_all else self.value(found["first"])
        last = self.value(found["last"]) if found["last"] else self.highest if is_all or found["step"] else first
        # A range may go past the end of the field, as from Friday to Monday; then its ends are enough here. A step of
        # zero is a ValueError.
        return set(range(first, last + 1, int(found["step"] or 1))) or {first, last}


_MINUTE = _Field(0, 59)
_HOUR = _Field(0, 23)
_DAY = _Field(1, 31)
_MONTH = _Field(1, 12, ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"))
_WEEKDAY = _Field(0, 7, ("sun", "mon", "tue", "wed", "thu", "fri", "sat"))


def check_cron(expression: str) -> str:
    """Return a cron expression with five fields, or an alias such as `@daily`, unchanged.

    Raises:
        ValueError: It is not one, or names only days that do not exist, such as the 30th of February.
    """
    text = expression.lower()
    if text in _ALIASES:
        return expression
    try:
        minute, hour, day, month, weekday = text.split()
        _values(_MINUTE, minute)
        _values(_HOUR, hour)
        days, months = _days(day), _values(_MONTH, month)
        _check_weekdays(weekday)
    except ValueError:
        raise ValueError(f"{expression!r} is not a cron expression; write one such as 0 3 * * *") from None
    if weekday in ("*", "?") and all(min(days) > _LONGEST_MONTHS[number - 1] for number in months):
        raise ValueError(f"{expression!r} is never due, because no such day exists; write one such as 0 3 * * *")
    return expression


def _values(field: _Field, text: str) -> set[int]:
    return set().union(*(field.values(element) for element in text.split(",")))


def _days(text: str) -> set[int]:
    if text == "?":
        return {1}
    elements = text.split(",")
    # "l" is the last day of a month.
    return set().union(*({_EVERY_MONTH_HAS} if each == "l" else _DAY.values(each) for each in elements))


def _check_weekdays(text: str) -> None:
    for element in text.split(",") if text != "?" else ():
        if found := _WEEKDAY_OF_MONTH.fullmatch(element):
            _WEEKDAY.value(found["last"] or found["nth"])
        else:
            _WEEKDAY.values(element)
