"""The numbers of rows of a key range, by their state."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RowCounts:
    """Numbers of rows of a key range.

    Attributes:
        rows: All rows.
        embedded: Rows with a vector.
        pending: Pending rows, without the deferred ones.
        blank: Rows whose input is NULL, blank or empty. They have nothing to embed and are never pending.
        failed: Failed rows of the whole table.
        deferred: Failed rows of the whole table that are excluded until their next retry.
    """

    rows: int
    embedded: int
    pending: int
    blank: int
    failed: int = 0
    deferred: int = 0

    @property
    def coverage(self) -> float:
        """The share of the rows with an input that have a current vector, from 0 to 1."""
        embeddable = self.rows - self.blank
        return max(0.0, embeddable - self.pending - self.deferred) / embeddable if embeddable else 1.0
