"""A warm process that follows vector columns: the model stays loaded, and new rows are embedded within a second or two.

It asks the partial index at short, growing intervals while nothing happens. A database or a model that does not answer
is waited for; a row that fails is recorded and left alone. Stopping ends after the batch in hand.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.errors import DatabaseUnavailable
from crdbvec_pipelines.database.rows import VectorRows
from crdbvec_pipelines.encoding.encoder import Encoder
from crdbvec_pipelines.encoding.errors import EncoderUnavailable
from crdbvec_pipelines.errors import CrdbvecError
from crdbvec_pipelines.following import Round, follow_round, passes_since
from crdbvec_pipelines.keyspace import KeyRange
from crdbvec_pipelines.refresh import BatchDone, RefreshReport
from crdbvec_pipelines.reuse import VectorCache

logger = logging.getLogger(__name__)

_SHORTEST_IDLE, _LONGEST_IDLE = 0.1, 1.5
_SHORTEST_OUTAGE, _LONGEST_OUTAGE = 1.0, 60.0
# Edited rows of a column without updated_at are found by a scan: no more than a twentieth of the time goes into scans.
_SCAN_SHARE = 20
_SHORTEST_SCAN_INTERVAL = 60.0
# A transaction may commit later than the time it wrote into updated_at.
_OVERLAP = timedelta(minutes=10)


@dataclass
class Followed:
    """One vector column that is followed.

    Attributes:
        rows: its rows.
        encoder: its model.
        ranges: its partitions in key order, if Dagster is to be told which were touched.
        next_scan: when edited rows are looked for by a scan again.
        edited_since: from when on updated rows are looked at.
        fault: why it could not be looked at the last time.
        outage: how long it is left alone after the next fault.
        next_look: when it is looked at again.
    """

    rows: VectorRows
    encoder: Encoder
    ranges: Sequence[KeyRange] = ()
    next_scan: float = 0.0
    edited_since: datetime | None = None
    fault: CrdbvecError | None = None
    outage: float = _SHORTEST_OUTAGE
    next_look: float = 0.0

    @property
    def spec(self) -> VectorColumn:
        """What the configuration says about the column."""
        return self.rows.spec


class Follower:
    """Follows vector columns until it is stopped or has been idle for long enough.

    Args:
        columns: what to follow.
        stop: when set, ends after the batch in hand.
        max_idle: seconds without work after which it ends; None for never.
        on_batch: called after each written batch.
        on_round: called after each round that did something, with the column.
    """

    def __init__(
        self,
        columns: Sequence[Followed],
        *,
        stop: threading.Event,
        max_idle: float | None = None,
        on_batch: Callable[[BatchDone], None] | None = None,
        on_round: Callable[[Followed, Round], None] | None = None,
    ) -> None:
        self._columns = columns
        self._stop = stop
        self._max_idle = max_idle
        self._cache = VectorCache()
        self._in_interrupted = RefreshReport()
        self._on_batch = on_batch
        self._on_round = on_round or (lambda _followed, _round: None)

    def run(self) -> RefreshReport:
        """Follows until stopped; returns what was done in all.

        Raises:
            CrdbvecError: something that waiting does not mend, or that lasted for longer than `max_idle`.
        """
        total = RefreshReport()
        started = idle_since = time.monotonic()
        idle = _SHORTEST_IDLE
        while not self._stop.is_set():
            done = sum((self._try(followed) for followed in self._columns), RefreshReport())
            total += done
            if done.rows_read or done.rows_cleared:
                idle, idle_since = _SHORTEST_IDLE, time.monotonic()
            elif self._max_idle is not None and time.monotonic() - idle_since >= self._max_idle:
                for followed in self._columns:
                    if followed.fault is not None:
                        raise followed.fault
                break
            else:
                self._stop.wait(idle * random.uniform(0.5, 1.0))  # noqa: S311
                idle = min(1.5 * idle, _LONGEST_IDLE)
        return total + self._in_interrupted + RefreshReport(seconds=time.monotonic() - started)

    def _interrupted(self, followed: Followed, done: Round) -> None:
        self._in_interrupted += done.report
        self._on_round(followed, done)

    def _try(self, followed: Followed) -> RefreshReport:
        """Looks at one column; where its model or the database is away, not again for a while. The others go on."""
        if self._stop.is_set() or time.monotonic() < followed.next_look:
            return RefreshReport()
        try:
            done = self._look(followed)
        except (DatabaseUnavailable, EncoderUnavailable) as error:
            wait = getattr(error, "retry_after", None) or followed.outage * random.uniform(0.5, 1.0)  # noqa: S311
            logger.warning("%s Trying again in %.0f s.", error, wait)
            followed.fault, followed.next_look = error, time.monotonic() + wait
            followed.outage = min(2 * followed.outage, _LONGEST_OUTAGE)
            return RefreshReport()
        followed.fault, followed.outage = None, _SHORTEST_OUTAGE
        return done

    def _look(self, followed: Followed) -> RefreshReport:
        """One round over one column; one that scans for edited rows too, when it is time for that."""
        started, moment = time.monotonic(), datetime.now(UTC)
        scans = started >= followed.next_scan
        done = follow_round(
            followed.rows,
            followed.encoder,
            followed.ranges,
            batch_size=followed.spec.batch_size,
            workers=followed.spec.workers,
            passes=followed.rows.everything_pending if scans else passes_since(followed.edited_since),
            cache=self._cache,
            on_batch=self._on_batch,
            on_interrupted=lambda done: self._interrupted(followed, done),
            stop=self._stop,
        )
        if scans:
            now = time.monotonic()
            followed.next_scan = now + max(_SHORTEST_SCAN_INTERVAL, _SCAN_SHARE * (now - started))
        if followed.spec.updated_at is not None:
            followed.edited_since = moment - _OVERLAP
        if done.report.rows_read or done.report.rows_cleared:
            self._on_round(followed, done)
        return done.report
