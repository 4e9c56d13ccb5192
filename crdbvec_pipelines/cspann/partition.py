"""One partition of a simulated index: its entries, and their codes relative to its centroid."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from crdbvec_pipelines.cspann.metrics import Numbers, Vectors
from crdbvec_pipelines.cspann.quantizer import Codes, Quantizer

ROOT = 1
"""The key of the root partition, whose entries are not quantized."""

_SMALLEST_CAPACITY = 16


class Partition:
    """A partition: row numbers on level 1, keys of child partitions on other levels.

    Codes are computed when the partition is first scanned, because many are never read: a split reads full vectors.

    Attributes:
        key: The key.
        level: The level; 1 is that of the leaves.
        centroid: The mean of the entries at the split that made the partition, which never changes afterwards.
        parent: The key of the parent partition; 0 for the root.

    Args:
        key: The key.
        level: The level.
        centroid: The centroid.
        parent: The key of the parent partition.
    """

    def __init__(self, key: int, level: int, centroid: Vectors, parent: int) -> None:
        self.key = key
        self.level = level
        self.centroid = centroid
        self.parent = parent
        self._members = np.empty(_SMALLEST_CAPACITY, np.int64)
        self._count = 0
        self._codes = Codes.empty(len(centroid))

    def __len__(self) -> int:
        return self._count

    @property
    def members(self) -> Numbers:
        """The row numbers or child keys, in the order in which they were added."""
        return self._members[: self._count]

    def add(self, members: Numbers) -> None:
        """Add entries."""
        needed = self._count + len(members)
        if needed > len(self._members):
            grown = np.empty(max(needed, 2 * len(self._members)), np.int64)
            grown[: self._count] = self.members
            self._members = grown
        self._members[self._count : needed] = members
        self._count = needed

    def keep(self, kept: NDArray[np.bool_]) -> None:
        """Remove all entries but some.

        Args:
            kept: Whether each entry is kept.
        """
        coded = len(self._codes.radii)
        self._codes = self._codes.keep(kept[:coded])
        members = self.members[kept]
        self._members[: len(members)] = members
        self._count = len(members)

    def remove(self, member: int) -> None:
        """Remove one entry."""
        self.keep(self.members != member)

    def codes(self, quantizer: Quantizer, read: Callable[[Numbers], Vectors]) -> Codes:
        """Return the codes of all entries.

        Args:
            quantizer: The quantizer of the index.
            read: Returns the vectors of entries.
        """
        coded = len(self._codes.radii)
        if coded < self._count:
            self._codes = self._codes.append(quantizer.encode(read(self.members[coded:]), self.centroid))
        return self._codes

    def drop_codes(self) -> None:
        """Free the memory of the codes, which are computed again when they are needed."""
        self._codes = Codes.empty(len(self.centroid))
