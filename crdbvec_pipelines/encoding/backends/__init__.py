"""Backends: the libraries that compute vectors of texts, one module each, and the protocol that they share.

`select` chooses the backend. `encoding.pipeline` reads what does not depend on the backend (pooling, maximum sequence
length). The library of a backend is imported when the backend is created, not with this package.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from crdbvec_pipelines.encoding.errors import InputRejected
from crdbvec_pipelines.encoding.picture_summary import PictureSummary

Vectors = NDArray[np.float32]


class EncodedTexts(NamedTuple):
    """The results of a backend. A wrapper's own backend may return only the first two as a pair.

    Attributes:
        vectors: The vectors in the order of the texts, float32 of shape (len(texts), dim); any numbers for the failed
            texts.
        truncated: For each text whether it exceeded the model's maximum sequence length and was truncated.
        unknown_shares: For each text the share of its encoded tokens that the model does not know, from 0 to 1; None if
            the backend does not count them.
        failures: The errors of the texts that the model rejected, by their position.
        tokens: How many tokens the model has read, special tokens included and padding excluded; 0 if the backend does
            not count them.
        pictures: The pictures that the model has read; None if the inputs are no pictures.
    """

    vectors: Vectors
    truncated: NDArray[np.bool_]
    unknown_shares: NDArray[np.float32] | None = None
    failures: Mapping[int, InputRejected] = {}
    tokens: int = 0
    pictures: PictureSummary | None = None


class TokenCount(NamedTuple):
    """The tokens of a text.

    Attributes:
        total: The number of tokens, untruncated, with special tokens.
        encoded: How many of them fit into the model's window; None if that is not known.
        unknown_share: The share of the encoded tokens, without special tokens, that the model does not know (such as
            `[UNK]`); None if that is not known.
    """

    total: int
    encoded: int | None = None
    unknown_share: float | None = None


class Backend(Protocol):
    """A loaded model that encodes texts; safe to call from several threads.

    A backend may also have a method `tokens(texts) -> list[TokenCount]`, which takes precedence over `count_tokens`.
    """

    def encode(self, texts: Sequence[str]) -> EncodedTexts | tuple[Vectors, NDArray[np.bool_]]:
        """Encode any number of texts; empty texts are allowed."""
        ...

    def count_tokens(self, texts: Sequence[str]) -> list[int] | None:
        """Return the number of tokens of each text, untruncated, with special tokens; None if it is not known."""
        ...


class PromptedBackend(Protocol):
    """A loaded model that encodes texts of one role, each after a prompt; safe to call from several threads."""

    def encode(self, texts: Sequence[str], prompt: str = "") -> EncodedTexts:
        """Encode any number of texts; empty texts are allowed."""
        ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text, untruncated, with special tokens, without a prompt."""
        ...

    def tokens(self, texts: Sequence[str]) -> list[TokenCount]:
        """Return the tokens of each text, without a prompt; see `TokenCount`."""
        ...
