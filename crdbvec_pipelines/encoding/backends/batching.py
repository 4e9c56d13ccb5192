"""Dividing texts into batches by what they cost once padded, so that short texts do not pay for long ones. Pure."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

# Matrix kernels work on tiles of 16 rows (AMX, AVX-512): a batch whose tokens are no multiple of 16 was seen to cost up
# to a sixth more per token. Eight texts of an even length make one.
_ROW_MULTIPLE = 8


def plan_batches(lengths: NDArray[np.intp], budget: int) -> Iterator[NDArray[np.intp]]:
    """Divide texts into batches of similar length, the longest first so that the last batches to finish are small.

    Args:
        lengths: Tokens of each text.
        budget: How many tokens, padding included, a batch holds at most, unless a single text is longer.

    Yields:
        Positions in `lengths`, the longest text of a batch first.
    """
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        rows = max(1, budget // padded_length(int(lengths[order[start]])))
        if rows > _ROW_MULTIPLE:
            rows -= rows % _ROW_MULTIPLE
        yield order[start : start + rows]
        start += rows


def padded_length(length: int) -> int:
    """Return the length to which a batch is padded whose longest text has so many tokens: the next even number."""
    return length + length % 2
