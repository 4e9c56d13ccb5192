"""Vectors that are already in the column, so that an input that another row has is not encoded again.

The cache of a process forgets; the column does not. A fingerprint identifies input and model together, so the vector of
any row with the same fingerprint is the right one.
"""

import threading
import time
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from crdbvec_pipelines.database.rows.vector_rows import VectorRows

# The number of inputs whose times are compared before the look-up is given up.
_MIN_INPUTS = 500


class StoredVectors:
    """The stored vectors of one column, as long as looking one up takes less time than encoding an input.

    Args:
        rows: The rows of the vector column. Nothing is looked up unless its entry says `reuse_vectors`.
    """

    def __init__(self, rows: VectorRows) -> None:
        self._rows = rows
        self._is_used = rows.spec.reuse_vectors
        self._looked_up = _Times()
        self._encoded = _Times()

    def find(self, fingerprints: Sequence[str]) -> Mapping[str, NDArray[np.float32]]:
        """Return the stored vectors of some of the fingerprints, or none if the model is faster."""
        if not self._is_used or not fingerprints:
            return {}
        started = time.perf_counter()
        found = self._rows.stored_vectors(fingerprints)
        self._looked_up.add(len(fingerprints), time.perf_counter() - started)
        return found

    def encoded(self, inputs: int, seconds: float) -> None:
        """Count inputs that the model has encoded, and stop to look vectors up if that is slower."""
        self._encoded.add(inputs, seconds)
        if min(self._looked_up.inputs, self._encoded.inputs) >= _MIN_INPUTS:
            self._is_used = self._is_used and self._looked_up.mean < self._encoded.mean


class _Times:
    """The number of inputs and the time that they took. Thread-safe."""

    def __init__(self) -> None:
        self.inputs = 0
        self._seconds = 0.0
        self._lock = threading.Lock()

    def add(self, inputs: int, seconds: float) -> None:
        with self._lock:
            self.inputs += inputs
            self._seconds += seconds

    @property
    def mean(self) -> float:
        """The seconds per input."""
        return self._seconds / self.inputs
