"""Hours of the day in which no row is embedded, such as `08:00-18:00`. Pure functions of a time."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")
# Two periods that follow one another are one wait; a day has at most this many that are worth to be joined.
_MAX_JOINED = 48


def check_quiet_hours(text: str) -> str:
    """Return a period if it can be read, for pydantic.

    Raises:
        ValueError: It is not a period of the day.
    """
    if _HOURS.fullmatch(text) is None or text[:5] == text[6:]:
        raise ValueError(f"{text!r} is not a period of the day; write one such as 08:00-18:00 or 22:00-06:00")
    return text


def end_of_quiet_hours(periods: Sequence[str], zone: str, now: datetime) -> datetime | None:
    """Return when the quiet hours that contain a time end, in UTC; None if it is in none.

    Args:
        periods: Periods of the day. One whose end is before its start ends on the next day.
        zone: The time zone of the periods.
        now: A time with time zone.
    """
    end = now.astimezone(UTC)
    for _ in range(_MAX_JOINED):
        later = [found for period in periods if (found := _end(period, ZoneInfo(zone), end)) is not None]
        if not later:
            break
        end = max(later)
    return end if end > now else None


def _end(period: str, zone: ZoneInfo, now: datetime) -> datetime | None:
    """Return when a period that contains a time ends; None if it does not contain the time."""
    first, last = (time.fromisoformat(part) for part in period.split("-"))
    local = now.astimezone(zone)
    for day in (local.date() - timedelta(days=1), local.date()):
        start = datetime.combine(day, first, zone).astimezone(UTC)
        end = datetime.combine(day + timedelta(days=last < first), last, zone).astimezone(UTC)
        if start <= now < end:
            return end
    return None
