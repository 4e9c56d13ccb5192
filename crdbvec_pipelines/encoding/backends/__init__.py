"""Backends: the libraries that compute vectors of texts, one module each, and the protocol that they share.

`select` chooses the backend. `encoding.pipeline` reads what does not depend on the backend (pooling, maximum sequence
length). The library of a backend is imported when the backend is created, not with this package.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]


class Backend(Protocol):
    """A loaded model that encodes texts; safe to call from several threads."""

    def encode(self, texts: Sequence[str]) -> tuple[Vectors, NDArray[np.bool_]]:
        """Encode texts.

        Args:
            texts: Any number of texts; empty texts are allowed.

        Returns:
            The vectors in the order of the texts, float32 of shape (len(texts), dim); and for each text whether it
            exceeded the model's maximum sequence length and was truncated.
        """
        ...

    def count_tokens(self, texts: Sequence[str]) -> list[int] | None:
        """Return the number of tokens of each text, untruncated, with special tokens; None if it is not known."""
        ...
