"""The chunks of one input: where they are in its text, and their vectors."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class ChunkSet:
    """All chunks of one input, which replace one another as a whole.

    Attributes:
        spans: The start and the end of each chunk in characters of the text, int64 of shape (chunks, 2).
        vectors: Their vectors, float32 of shape (chunks, dimension).
        texts: Their texts; None unless they are stored.
    """

    spans: NDArray[np.int64]
    vectors: NDArray[np.float32]
    texts: tuple[str, ...] | None = None

    @property
    def nbytes(self) -> int:
        """The memory of the arrays and the texts."""
        return self.spans.nbytes + self.vectors.nbytes + sum(map(len, self.texts or ()))

    def copy(self) -> "ChunkSet":
        """Return a copy, which does not keep the batch that this set is a part of in memory."""
        return ChunkSet(self.spans.copy(), self.vectors.copy(), self.texts)


Embedding = NDArray[np.float32] | ChunkSet
"""What one input becomes: its vector, or its chunks with theirs."""

Embeddings = Sequence[Embedding] | NDArray[np.float32]
"""What several inputs become: also an array with a vector in each row."""
