"""Whether rows may be embedded now: a refresh pauses in `quiet_hours`, and ends if its column is suspended."""

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.config.quiet_hours import end_of_quiet_hours
from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.database.suspension import check_not_suspended, suspended_since, suspended_text

logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.5
# How old the knowledge that the column is not suspended may be.
_CHECK_INTERVAL_SECONDS = 5.0


def utc_now() -> datetime:
    """Return the time that is compared with `quiet_hours`."""
    return datetime.now(UTC)


def quiet_until(spec: VectorColumn, now: datetime | None = None) -> datetime | None:
    """Return when the quiet hours of a vector column end; None if it has none now.

    Args:
        spec: The vector column.
        now: The time; by default the present.
    """
    return end_of_quiet_hours(spec.quiet_hours, spec.schedule_timezone, now or utc_now())


def quiet_text(until: datetime) -> str:
    """Return why rows are not embedded during quiet hours, as a part of a sentence."""
    return f"quiet_hours until {until:%H:%M} UTC"


def paused_text(column: BoundColumn) -> str | None:
    """Return why no row of a vector column may be embedded now, as a part of a sentence; None if rows may be."""
    since = suspended_since(column)
    if since is not None:
        return f"{suspended_text(since)}, run `crdbvec resume`"
    until = quiet_until(column.spec)
    return None if until is None else quiet_text(until)


class RefreshPermission:
    """Asked by a refresh before each batch.

    Args:
        column: The vector column.
        must_end: Whether the refresh has failed or was asked to end, which ends a wait.
    """

    def __init__(self, column: BoundColumn, must_end: Callable[[], bool]) -> None:
        self._column = column
        self._spec = column.spec
        self._check_at: float | None = None
        self._must_end = must_end

    def check(self) -> None:
        """Check that the column is not suspended; called when rows to embed have been found.

        Raises:
            ColumnSuspended: It is.
        """
        if self._check_at is None or time.monotonic() >= self._check_at:
            check_not_suspended(self._column)
            self._check_at = time.monotonic() + _CHECK_INTERVAL_SECONDS

    def wait(self) -> bool:
        """Wait until rows may be embedded; return False if the refresh must end before."""
        announced = None
        while (until := quiet_until(self._spec)) is not None:
            if until != announced:
                logger.warning("%s: paused, %s.", self._spec, quiet_text(until))
                announced = until
            if self._must_end():
                return False
            time.sleep(_POLL_SECONDS)
        return True
