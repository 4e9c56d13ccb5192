"""Equal inputs are encoded once: within a batch, and across batches through a bounded cache of vectors.

A fingerprint stands for input and model together, so what is found under it is right for any row that has it.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# About 10,000 vectors of 384 dimensions: enough for texts that repeat near each other, small beside any model.
_BYTES = 16_000_000
# A fingerprint's text, an entry and an array's head.
_OVERHEAD_BYTES = 300


@dataclass(frozen=True, slots=True)
class KnownVector:
    """A vector, float32 of shape (dimension,), and whether its text was longer than the model's window."""

    vector: NDArray[np.float32]
    truncated: bool


class VectorCache:
    """The vectors used last, by fingerprint; may be asked from several threads.

    Args:
        max_bytes: what the cache may take.
    """

    def __init__(self, max_bytes: int = _BYTES) -> None:
        self._known: OrderedDict[str, KnownVector] = OrderedDict()
        self._max_bytes = max_bytes
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, fingerprint: str) -> KnownVector | None:
        """The vector of an input that was encoded lately."""
        with self._lock:
            known = self._known.get(fingerprint)
            if known is not None:
                self._known.move_to_end(fingerprint)
            return known

    def put(self, fingerprint: str, known: KnownVector) -> None:
        """Keeps a vector, and forgets those that were not used for longest where room is short."""
        # A copy: a row of a batch would keep the whole batch in memory.
        copied = KnownVector(known.vector.copy(), known.truncated)
        with self._lock:
            if fingerprint in self._known:
                return
            self._known[fingerprint] = copied
            self._bytes += copied.vector.nbytes + _OVERHEAD_BYTES
            while self._bytes > self._max_bytes:
                _, forgotten = self._known.popitem(last=False)
                self._bytes -= forgotten.vector.nbytes + _OVERHEAD_BYTES
