"""Results of a refresh: the counts of the whole, and one written batch for progress displays."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from crdbvec_pipelines.database.rows.pending_page import PendingRow
from crdbvec_pipelines.encoding.picture_summary import NO_PICTURES, PictureSummary
from crdbvec_pipelines.keyspace import Bound

_MAX_FAILED_KEYS = 5


@dataclass(frozen=True)
class RefreshReport:
    """The counts of one refresh.

    Adding two reports sums the counts and keeps the longer times, because the two refreshes may have run concurrently.

    Attributes:
        batches: Batches written.
        rows_read: Pending rows that were read.
        rows_embedded: Rows that were given a vector.
        rows_changed: Rows edited or deleted between read and write; an edited one stays pending with its new input.
        rows_truncated: Embedded rows whose input is longer than the model's window; its end is not in the vector.
        rows_unreadable: Embedded rows of whose tokens the model does not know a larger share than
            `checks.unknown_tokens`; 0 for a model that does not count tokens.
        rows_deduplicated: Rows given the vector of an equal input instead of being encoded.
        rows_failed: Rows that the model or the database rejected; recorded, and deferred until `next_retry_at`.
        rows_cleared: Rows whose vector was set to NULL because their input is gone.
        rows_locked: Rows that another transaction had locked until the refresh stopped waiting; they are still pending.
        tokens_encoded: Tokens that the model has read for these rows; 0 for a model that does not count tokens.
        retries: Statements that were sent again after an error.
        ranges_skipped: Key ranges whose rows were left to another process that is embedding them.
        seconds: Wall-clock time.
        slowest_batch_seconds: The longest time for which a batch was encoded.
        failed_keys: The keys of some failed rows.
        pictures: The pictures among the inputs that were encoded or rejected by the model.
    """

    batches: int = 0
    rows_read: int = 0
    rows_embedded: int = 0
    rows_changed: int = 0
    rows_truncated: int = 0
    rows_deduplicated: int = 0
    rows_failed: int = 0
    rows_cleared: int = 0
    rows_locked: int = 0
    tokens_encoded: int = 0
    retries: int = 0
    ranges_skipped: int = 0
    rows_unreadable: int = 0
    seconds: float = 0.0
    slowest_batch_seconds: float = 0.0
    failed_keys: tuple[Bound, ...] = ()
    pictures: PictureSummary = NO_PICTURES

    def __add__(self, other: "RefreshReport") -> "RefreshReport":
        sums = {field.name: getattr(self, field.name) + getattr(other, field.name) for field in fields(self)}
        return RefreshReport(
            **{
                **sums,
                "seconds": max(self.seconds, other.seconds),
                "slowest_batch_seconds": max(self.slowest_batch_seconds, other.slowest_batch_seconds),
                "failed_keys": sums["failed_keys"][:_MAX_FAILED_KEYS],
            }
        )

    def followed_by(self, other: "RefreshReport") -> "RefreshReport":
        """Return the report of this refresh and another one after it; counts and times are added."""
        return replace(self + other, seconds=self.seconds + other.seconds)

    @property
    def rows_per_second(self) -> float:
        """Rows embedded per second."""
        return self.rows_embedded / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True)
class WrittenBatch:
    """One batch that has been written.

    Attributes:
        index: The number of the batch, from 1; 0 for rows of several batches that were locked before.
        rows: Its rows as they were read.
        embedded: How many were given a vector.
        failed: The keys of the failed rows.
        locked: The keys of the rows that another transaction has locked. They are tried again.
        is_late: Whether the rows were locked when their batch was written, and are written now, without their inputs.
        tokens: Tokens that the model has read; 0 for a model that does not count tokens.
        input_bytes: The bytes of the inputs.
        encode_seconds: How long the encoding took.
        write_seconds: How long writing the vectors took.
    """

    index: int
    rows: Sequence[PendingRow]
    embedded: int
    failed: frozenset[Bound] = frozenset()
    locked: frozenset[Bound] = frozenset()
    is_late: bool = False
    tokens: int = 0
    input_bytes: int = 0
    encode_seconds: float = 0.0
    write_seconds: float = 0.0

    @property
    def done(self) -> Sequence[PendingRow]:
        """The rows that were written, or were edited or deleted since they were read."""
        return [row for row in self.rows if row.key not in self.failed and row.key not in self.locked]
