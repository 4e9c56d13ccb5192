"""A page of pending rows, as it was read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload

from crdbvec_pipelines.keyspace import Bound


@dataclass(frozen=True, slots=True)
class PendingRow:
    """A row to embed.

    Attributes:
        key: One value for each key column.
        input: What the model encodes.
        fingerprint: The fingerprint of the input when it was read.
    """

    key: Bound
    input: Any
    fingerprint: str


class PendingPage(Sequence[PendingRow]):
    """A page of pending rows in key order.

    Args:
        rows: The rows.
        next_bytes: The length of the first input that did not fit into the page; None if no row was left out.
    """

    def __init__(self, rows: Sequence[PendingRow], next_bytes: int | None = None) -> None:
        self.next_bytes = next_bytes
        self._rows = rows

    @overload
    def __getitem__(self, index: int) -> PendingRow: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[PendingRow]: ...
    def __getitem__(self, index: int | slice) -> PendingRow | Sequence[PendingRow]:
        return self._rows[index]

    def __len__(self) -> int:
        return len(self._rows)
