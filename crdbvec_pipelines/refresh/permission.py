"""Whether rows may be embedded now: during `quiet_hours`, a refresh pauses and then goes on."""

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.config.quiet_hours import end_of_quiet_hours

logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.5


def quiet_until(spec: VectorColumn, now: datetime | None = None) -> datetime | None:
    """Return when the quiet hours of a vector column end; None if it has none now.

    Args:
        spec: The vector column.
        now: The time; by default the present.
    """
    return end_of_quiet_hours(spec.quiet_hours, spec.schedule_timezone, now or datetime.now(UTC))


def quiet_text(until: datetime) -> str:
    """Return why rows are not embedded during quiet hours, as a part of a sentence."""
    return f"quiet_hours until {until:%H:%M} UTC"


class RefreshPermission:
    """Asked by a refresh before each batch.

    Args:
        spec: The vector column.
        must_end: Whether the refresh has failed or was asked to end, which ends a wait.
    """

    def __init__(self, spec: VectorColumn, must_end: Callable[[], bool]) -> None:
        self._spec = spec
        self._must_end = must_end

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
