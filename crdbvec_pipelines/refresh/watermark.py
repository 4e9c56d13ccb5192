"""The value of `updated_at` from which on edited rows are searched for.

It is computed from the values in the column, which the application's clock has made, and from the clock of the server.
The clock of this process is not used.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

OVERLAP = timedelta(minutes=10)
"""How far before the latest value edited rows are searched for.

A transaction may commit later than the time that it wrote into `updated_at`, and the clocks of an application's servers
may differ. Ten minutes is longer than transactions usually take; the scheduled scan finds the edits of longer ones.
"""

_RESOLUTION = timedelta(microseconds=1)


@dataclass(frozen=True)
class Watermark:
    """The latest value of `updated_at` that a search has seen.

    Attributes:
        latest: The latest value when the search started; the time of the server, if that is earlier.
        seen_at: The time of the server when this value was first seen.
        is_settled: Whether the value has been the latest one for so long that rows with earlier values have been found.
    """

    latest: datetime
    seen_at: datetime
    is_settled: bool = False

    @property
    def since(self) -> datetime:
        """The value from which on the next search reads: so that rows are not read again after updates have ended."""
        return self.latest + _RESOLUTION if self.is_settled else self.latest - OVERLAP

    def after(self, previous: "Watermark | None") -> "Watermark":
        """Return the watermark after a search, given the one before it."""
        if previous is None or previous.latest != self.latest:
            return self
        return Watermark(self.latest, previous.seen_at, is_settled=self.seen_at - previous.seen_at >= OVERLAP)
