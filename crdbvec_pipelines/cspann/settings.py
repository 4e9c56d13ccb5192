"""The settings of a simulated index."""

from dataclasses import dataclass, replace
from typing import Literal

Metric = Literal["cosine", "l2", "ip"]
"""How vectors are compared: by cosine distance, squared Euclidean distance, or negative inner product."""

DEFAULT_BEAM_SIZE = 32
"""CockroachDB's default of `vector_search_beam_size`."""

RERANK_MULTIPLIER = 50
"""CockroachDB's default of `vector_search_rerank_multiplier`."""

_LARGEST_RATIO = 4


@dataclass(frozen=True)
class IndexSettings:
    """The storage parameters of an index, with CockroachDB's defaults.

    Attributes:
        metric: How vectors are compared.
        min_partition_size: A partition with fewer entries is merged.
        max_partition_size: A partition with more entries is split.
        build_beam_size: The search effort of inserts.
        seed: The seed of all random choices.
        is_rotated: Whether vectors are multiplied by a random orthogonal matrix first, as CockroachDB does.
    """

    metric: Metric = "cosine"
    min_partition_size: int = 16
    max_partition_size: int = 128
    build_beam_size: int = 8
    seed: int = 0
    is_rotated: bool = True

    def __post_init__(self) -> None:
        if self.max_partition_size < _LARGEST_RATIO * self.min_partition_size:
            raise ValueError(
                f"max_partition_size must be at least {_LARGEST_RATIO} times min_partition_size, which is "
                f"{self.min_partition_size}; it is {self.max_partition_size}"
            )
        if min(self.min_partition_size, self.build_beam_size) < 1:
            raise ValueError("min_partition_size and build_beam_size must be 1 or more")

    @property
    def split_threshold(self) -> int:
        """A queued split is executed only if the partition has more entries than this."""
        return (self.max_partition_size + self.min_partition_size) // 2

    @property
    def merge_threshold(self) -> float:
        """A queued merge is executed only if the partition has fewer entries than this."""
        return 1.5 * self.min_partition_size

    def with_max_partition_size(self, size: int) -> "IndexSettings":
        """Return the settings with another partition size, and a smaller minimum if the rules require one."""
        return replace(
            self, max_partition_size=size, min_partition_size=max(1, min(self.min_partition_size, size // 8))
        )


def beam_width(beam_size: int, level: int) -> int:
    """Return the number of partitions that a search reads on a level; level 1 is that of the leaves."""
    halvings = level - 1
    return max(1, -(-beam_size >> halvings))
