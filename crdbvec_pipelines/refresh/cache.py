"""A bounded cache of vectors, by which equal inputs are encoded once within a batch and across batches.

A fingerprint identifies input and model together, so a cached vector is valid for every row with that fingerprint.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass, replace

from crdbvec_pipelines.chunk_set import Embedding

# About 10,000 vectors of 384 dimensions: enough for inputs that repeat close to each other, and little memory compared
# with any model.
_MAX_BYTES = 16_000_000
# The memory of an entry besides its vector: the fingerprint's text, the dictionary entry and the array's header.
_ENTRY_OVERHEAD_BYTES = 300


@dataclass(frozen=True, slots=True)
class CachedVector:
    """The vector of an input.

    Attributes:
        vector: The vector, float32 of shape (dimension,), or the chunks of the input.
        truncated: Whether the input was longer than the model's window.
        unknown_share: The share of the input's tokens that the model does not know; 0 if it does not count them.
    """

    vector: Embedding
    truncated: bool
    unknown_share: float = 0.0


class VectorCache:
    """The most recently used vectors, by fingerprint. Thread-safe.

    Args:
        max_bytes: The most memory that the entries may take.
    """

    def __init__(self, max_bytes: int = _MAX_BYTES) -> None:
        self._entries: OrderedDict[str, CachedVector] = OrderedDict()
        self._max_bytes = max_bytes
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, fingerprint: str) -> CachedVector | None:
        """Return the vector with a fingerprint; None if it is not in the cache."""
        with self._lock:
            entry = self._entries.get(fingerprint)
            if entry is not None:
                self._entries.move_to_end(fingerprint)
            return entry

    def put(self, fingerprint: str, entry: CachedVector) -> None:
        """Add a vector, and evict the least recently used ones if the cache exceeds its size."""
        # A copy, because a view of one row would keep the whole batch in memory.
        copied = replace(entry, vector=entry.vector.copy())
        with self._lock:
            if fingerprint in self._entries:
                return
            self._entries[fingerprint] = copied
            self._bytes += copied.vector.nbytes + _ENTRY_OVERHEAD_BYTES
            while self._bytes > self._max_bytes:
                _, evicted = self._entries.popitem(last=False)
                self._bytes -= evicted.vector.nbytes + _ENTRY_OVERHEAD_BYTES
