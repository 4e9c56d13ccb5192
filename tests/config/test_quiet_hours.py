"""Quiet hours: their end for any time, over midnight, in time zones, and the messages for invalid ones."""

from datetime import UTC, datetime

import pytest

from crdbvec_pipelines.config.quiet_hours import end_of_quiet_hours
from crdbvec_pipelines.errors import ConfigurationError
from tests.support.tables import column


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("periods", "zone", "now", "end"),
    [
        ([], "UTC", "2027-03-01T12:00", None),
        (["08:00-18:00"], "UTC", "2027-03-01T07:59", None),
        (["08:00-18:00"], "UTC", "2027-03-01T08:00", "2027-03-01T18:00"),
        (["08:00-18:00"], "UTC", "2027-03-01T18:00", None),
        (["22:00-06:00"], "UTC", "2027-03-01T23:00", "2027-03-02T06:00"),
        (["22:00-06:00"], "UTC", "2027-03-02T05:59", "2027-03-02T06:00"),
        (["22:00-06:00"], "UTC", "2027-03-02T06:00", None),
        # Two periods that follow one another are one wait.
        (["08:00-12:00", "12:00-18:00"], "UTC", "2027-03-01T09:00", "2027-03-01T18:00"),
        (["08:00-18:00"], "America/New_York", "2027-03-01T12:00", None),
        (["08:00-18:00"], "America/New_York", "2027-03-01T14:00", "2027-03-01T23:00"),
        # The clocks are put forward at 02:00 of this night.
        (["22:00-06:00"], "Europe/Berlin", "2027-03-27T22:00", "2027-03-28T04:00"),
    ],
)
def test_end_of_the_quiet_hours(periods: list[str], zone: str, now: str, end: str | None) -> None:
    assert end_of_quiet_hours(periods, zone, at(now)) == (None if end is None else at(end))


@pytest.mark.parametrize("period", ["8-18", "08:00", "24:00-08:00", "08:00-08:00", "08:00 - 18:00"])
def test_an_invalid_period_is_rejected(period: str) -> None:
    with pytest.raises(ConfigurationError, match=r"quiet_hours.*write one such as 08:00-18:00"):
        column(quiet_hours=[period])
