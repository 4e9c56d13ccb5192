"""Which pictures were encoded: their formats, their sizes, and why others were rejected. Nothing of their content."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

# The sizes that are kept. The quantiles of more pictures are those of the first ones.
_MAX_SIZES = 2_000
_QUANTILES = {"min": 0.0, "median": 0.5, "p95": 0.95, "max": 1.0}


class PictureSize(NamedTuple):
    """The size of one picture.

    Attributes:
        bytes: The bytes of the file.
        pixels: Width times height, before it is reduced.
    """

    bytes: int
    pixels: int


@dataclass(frozen=True)
class PictureSummary:
    """Counts of pictures. Adding two summaries adds the counts.

    Attributes:
        formats: The number of encoded pictures of each format, such as `JPEG`.
        rejected: The number of rejected pictures by reason.
        sizes: The sizes of some encoded pictures.
    """

    formats: Mapping[str, int] = field(default_factory=dict)
    rejected: Mapping[str, int] = field(default_factory=dict)
    sizes: tuple[PictureSize, ...] = ()

    def __add__(self, other: "PictureSummary") -> "PictureSummary":
        return PictureSummary(
            dict(Counter(self.formats) + Counter(other.formats)),
            dict(Counter(self.rejected) + Counter(other.rejected)),
            (self.sizes + other.sizes)[:_MAX_SIZES],
        )

    def __bool__(self) -> bool:
        return bool(self.formats or self.rejected)

    def with_rejected(self, reasons: Iterable[str]) -> "PictureSummary":
        """Return the summary with further rejected pictures."""
        return self + PictureSummary(rejected=Counter(reasons))

    @property
    def numbers(self) -> dict[str, dict[str, int]]:
        """The counts, and quantiles of the sizes, as JSON."""
        sizes = np.array(self.sizes, np.int64).reshape(-1, len(PictureSize._fields))
        return {
            "formats": dict(self.formats),
            "rejected": dict(self.rejected),
            **(
                {
                    name: {
                        label: int(np.quantile(values, share, method="nearest")) for label, share in _QUANTILES.items()
                    }
                    for name, values in zip(PictureSize._fields, sizes.T, strict=True)
                }
                if len(sizes)
                else {}
            ),
        }


NO_PICTURES = PictureSummary()
"""The summary of no pictures."""
