"""What the configuration changes about a model of sentence-transformers, compared with its folder."""

from dataclasses import dataclass
from typing import Literal

PoolingMode = Literal["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]
"""How the vectors of tokens become that of a text, as sentence-transformers names it."""

Role = Literal["document", "query"]
"""Which of the two sides of a search a text is: a stored one, or the one that is searched for."""

Modality = Literal["text", "image"]
"""What the inputs of a model are."""


@dataclass(frozen=True, slots=True)
class Variant:
    """The changes of a model; None keeps what its folder says.

    Attributes:
        pooling: How the vectors of tokens are combined.
        dimensions: How many numbers of each vector are kept (Matryoshka models).
        normalize: Whether vectors are scaled to length 1.
        max_tokens: The maximum number of tokens, special tokens included.
    """

    pooling: PoolingMode | None = None
    dimensions: int | None = None
    normalize: bool | None = None
    max_tokens: int | None = None

    @property
    def identity(self) -> str:
        """The part of the model id that contains the changes; empty without changes."""
        parts = [self.pooling or "", f"{self.dimensions}d" if self.dimensions else ""]
        if self.normalize is not None:
            parts.append("normalized" if self.normalize else "not_normalized")
        parts.append(f"{self.max_tokens}t" if self.max_tokens else "")
        return "".join(f"-{part}" for part in parts if part)
