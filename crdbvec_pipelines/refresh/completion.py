"""Completing a key range: refresh it until no row that was read is pending, and prove it by one read of the range.

A refresh says what it did. Whether the range is complete is decided here, by comparing the table with that claim: a
materialized partition must not have pending rows that nothing explains.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from crdbvec_pipelines.database.rows.claims import is_claimed
from crdbvec_pipelines.database.rows.predicates import Pass
from crdbvec_pipelines.database.rows.range_state import RangeState, range_state
from crdbvec_pipelines.database.rows.row_counts import RowCounts
from crdbvec_pipelines.database.rows.vector_rows import VectorRows
from crdbvec_pipelines.errors import CrdbvecError
from crdbvec_pipelines.keyspace import KeyRange
from crdbvec_pipelines.refresh.engine import BatchEncoder, refresh
from crdbvec_pipelines.refresh.locked_rows import LOCK_WAIT_SECONDS
from crdbvec_pipelines.refresh.options import RefreshOptions
from crdbvec_pipelines.refresh.report import RefreshReport
from crdbvec_pipelines.refresh.settling import Settling

# The first pass embeds what was pending at the start. Rows that arrive during a pass get further passes; a row that is
# still pending after it was written in several passes does not settle, and is recorded as failed in the last one.
_MAX_PASSES = 3
CLAIM_POLL_SECONDS = 1.0
"""How long to wait before looking again at rows that another process has claimed."""


class UnsettledRows(CrdbvecError):
    """No row has a current vector although the vectors were written; the rows are recorded as failed."""

    remedy: ClassVar[str] = (
        "Look for a trigger, a rule or a row-level security policy that discards or changes the update."
    )
    is_retryable = False

    def __init__(self, rows: int, table: object, output: str) -> None:
        super().__init__(
            f"{rows:,} rows of {table} are still pending in {output} although their vectors were written in two "
            f"passes, and no row has a current vector. {self.remedy} Then run `crdbvec errors retry`."
        )


class LockedOut(CrdbvecError):
    """Other transactions had locked rows until the refresh stopped waiting for them; the rows are still pending."""

    remedy: ClassVar[str] = "End the transactions that hold the locks, then run the same command again."

    def __init__(self, rows: int, table: object) -> None:
        super().__init__(
            f"{rows:,} rows of {table} are still pending because other transactions have locked them for more than "
            f"{LOCK_WAIT_SECONDS / 60:.0f} minutes. {self.remedy}"
        )


@dataclass(frozen=True)
class Completion:
    """What became of a key range.

    Attributes:
        report: What the passes did.
        state: The rows of the range after the last pass.
        is_claimed: Whether another process works on the range; then it is not complete, and must be tried again.
        is_done: Whether every row that was read is embedded, recorded as failed, or edited since. Rows that are pending
            all the same arrived during the last pass.
        rows_locked: Rows that are pending because other transactions have locked them; then the range is not done.
    """

    report: RefreshReport
    state: RangeState
    is_claimed: bool
    is_done: bool
    rows_locked: int = 0

    @property
    def rows_arrived(self) -> int:
        """Pending rows that arrived, or were edited, while the range was refreshed."""
        return self.state.pending if self.is_done else 0


def complete_range(rows: VectorRows, encoder: BatchEncoder, key_range: KeyRange, options: RefreshOptions) -> Completion:
    """Refresh a key range until it is complete, in a bounded number of passes.

    The range is read once before the first pass, to find out which passes are needed, and once after each pass.

    Args:
        rows: The rows of the vector column.
        encoder: Makes vectors from inputs.
        key_range: The range.
        options: As for `refresh`; with `max_batches` one pass is made.

    Raises:
        UnsettledRows: Rows were written in several passes and are still pending, and no row has a current vector.
        CrdbvecError: As `refresh`.
    """
    rows.delete_orphans(key_range)
    state = range_state(rows.column, key_range)
    report = RefreshReport()
    settling = _settling_after_first_pass()
    for number in range(_MAX_PASSES):
        if state.is_complete:
            break
        passes = replace(
            options if number else _reading_the_past(options),
            passes=_needed_passes(state),
            claim_first=True,
            settling=settling if number else None,
        )
        done = refresh(rows, encoder, key_range, passes)
        report = report.followed_by(done)
        state = range_state(rows.column, key_range)
        if done.ranges_skipped and not state.is_complete:
            return Completion(report, state, is_claimed=True, is_done=False)
        if done.rows_locked and not state.is_complete:
            return Completion(report, state, is_claimed=False, is_done=False, rows_locked=done.rows_locked)
        if settling.unsettled and not state.current:
            raise UnsettledRows(settling.unsettled, rows.spec.table, rows.spec.output)
        if options.stop.is_set() or options.max_batches is not None:
            return Completion(report, state, is_claimed=False, is_done=state.is_complete)
    return Completion(report, state, is_claimed=False, is_done=True)


def refresh_after_others(
    rows: VectorRows,
    encoder: BatchEncoder,
    key_range: KeyRange,
    options: RefreshOptions,
    on_wait: Callable[[], None],
) -> RefreshReport:
    """Refresh a key range; wait for the rows that other processes are embedding, and embed what they leave.

    Args:
        rows: The rows of the vector column.
        encoder: Makes vectors from inputs.
        key_range: The range.
        options: As for `refresh`; with `max_batches` nothing is waited for.
        on_wait: Called once, when only rows of other processes are left.

    Raises:
        CrdbvecError: As `refresh`.
    """
    report = done = refresh(rows, encoder, key_range, options)
    if done.ranges_skipped and options.max_batches is None:
        on_wait()
        while done.ranges_skipped:
            # The claims are polled, not the rows, of which there may be many.
            while is_claimed(rows.column, key_range):
                if options.stop.wait(CLAIM_POLL_SECONDS):
                    return report
            # What the others have just embedded is still pending in the past.
            done = refresh(rows, encoder, key_range, replace(options, as_of="now"))
            report = report.followed_by(done)
    return report


def refresh_and_settle(
    rows: VectorRows,
    encoder: BatchEncoder,
    key_range: KeyRange,
    options: RefreshOptions,
    on_wait: Callable[[], None],
) -> tuple[RefreshReport, RowCounts]:
    """Refresh a key range as `refresh_after_others`, with further passes while rows are pending after it.

    After it, a row that was read is pending only if it was edited since, or is locked. Rows that do not settle are
    recorded as failed.

    Returns:
        What the passes did, and the rows of the range after the last one.

    Raises:
        UnsettledRows: Rows were written in several passes and are still pending, and no row has a vector.
        CrdbvecError: As `refresh`.
    """
    rows.delete_orphans(key_range)
    report = refresh_after_others(rows, encoder, key_range, _reading_the_past(options), on_wait)
    counts = rows.count(key_range)
    settling = _settling_after_first_pass()
    for _ in range(1, _MAX_PASSES):
        is_limited = options.stop.is_set() or options.max_batches is not None
        if is_limited or report.rows_locked or not counts.pending:
            break
        done = refresh_after_others(rows, encoder, key_range, replace(options, settling=settling), on_wait)
        report = report.followed_by(done)
        counts = rows.count(key_range)
    if settling.unsettled and not counts.embedded:
        raise UnsettledRows(settling.unsettled, rows.spec.table, rows.spec.output)
    return report, counts


def _settling_after_first_pass() -> Settling:
    """Return what finds the rows that do not settle in the passes after the first, which usually have few rows."""
    return Settling(max_rows=None, passes_before=1)


def _reading_the_past(options: RefreshOptions) -> RefreshOptions:
    """Return the options of a first pass, whose rows are read in the past; the passes that follow find newer rows.

    A refresh that is limited to some batches has one pass only, which must find the newest rows.
    """
    return options if options.max_batches is not None else replace(options, as_of="follower_read")


def _needed_passes(state: RangeState) -> Sequence[Pass]:
    """Return the passes that have something to do; each that is left out saves a read of the range."""
    stale = state.stale or state.clearable
    return [*([Pass("unembedded")] if state.unembedded else []), *([Pass("stale")] if stale else [])]
