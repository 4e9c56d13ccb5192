"""The backend for static models: the mean of one vector per token, in numpy. It imports no other library of models."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from crdbvec_pipelines.encoding.backends import EncodedTexts, TokenCount
from crdbvec_pipelines.encoding.backends.tokens import TextTokenizer


class StaticBackend:
    """A table of vectors with its tokenizer; immutable, so safe to use from several threads.

    Args:
        vectors: The file of the table, one row per token.
        tokenizer: The tokenizer of the model.
        dim: How many numbers of each vector are kept.
        is_normalized: Whether vectors are scaled to length 1.
    """

    def __init__(self, vectors: Path, tokenizer: TextTokenizer, dim: int, is_normalized: bool) -> None:
        # Mapped, so that the processes of a machine share the table. A plain array is faster to index than a memmap.
        self._vectors = np.asarray(np.load(vectors, mmap_mode="r"))[:, :dim]
        self._tokenizer = tokenizer
        self._dim = dim
        self._is_normalized = is_normalized

    def encode(self, texts: Sequence[str], prompt: str = "") -> EncodedTexts:
        """Encode texts; see `Backend.encode`. A text without tokens has a vector of zeros."""
        tokens = self._tokenizer.tokenize([prompt + text for text in texts])
        vectors = np.zeros((len(texts), self._dim), np.float32)
        for vector, ids in zip(vectors, tokens.ids, strict=True):
            if ids:
                # Text by text: sums over groups of rows of one array (reduceat) took several times as long.
                np.mean(self._vectors[ids], axis=0, dtype=np.float32, out=vector)
        if self._is_normalized:
            lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
            vectors = vectors / np.maximum(lengths, 1e-12)
        return EncodedTexts(vectors, tokens.truncated, tokens.unknown_shares, tokens=int(tokens.lengths.sum()))

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text; see `Backend.count_tokens`."""
        return self._tokenizer.count(texts)

    def tokens(self, texts: Sequence[str]) -> list[TokenCount]:
        """Return the tokens of each text; see `TokenCount`."""
        return self._tokenizer.token_counts(texts)
