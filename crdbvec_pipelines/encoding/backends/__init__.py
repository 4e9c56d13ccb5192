"""The engines that turn texts into vectors, one module each, and the one protocol they share.

What chooses between them is in `select`; what is common to a model whatever the engine (its pooling, its window)
is in `encoding.pipeline`. An engine's library is imported when the engine is built, never with this package.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]


class Backend(Protocol):
    """A loaded model that encodes texts, and may be called from several threads at once."""

    def encode(self, texts: Sequence[str]) -> tuple[Vectors, NDArray[np.bool_]]:
        """Encode texts in their order.

        Args:
            texts: Any number of texts, blank ones included.

        Returns:
            The vectors, float32 of shape (len(texts), dim), and for each text whether it was longer than the model's
            window and was cut to it.
        """
        ...

    def count_tokens(self, texts: Sequence[str]) -> list[int] | None:
        """Return how many tokens each text has, uncut and with the model's own marks; None where that is not known."""
        ...
