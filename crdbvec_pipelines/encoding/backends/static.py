"""The backend for static models: the mean of one vector per token, in numpy. It imports no other library of models."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from crdbvec_pipelines.encoding.backends import EncodedTexts, TokenCount
from crdbvec_pipelines.encoding.backends.tokens import TextTokenizer

# Texts whose vectors of tokens are in memory at the same time.
_BATCH_TEXTS = 256


class StaticBackend:
    """A table of vectors with its tokenizer; immutable, so safe to use from several threads.

    Args:
        vectors: The file of the table, one row per token.
        tokenizer: The tokenizer of the model.
        dim: How many numbers of each vector are kept.
        is_normalized: Whether vectors are scaled to length 1.
    """

    def __init__(self, vectors: Path, tokenizer: TextTokenizer, dim: int, is_normalized: bool) -> None:
        # Mapped, so that the processes of a machine share the table.
        self._vectors = np.load(vectors, mmap_mode="r")
        self._tokenizer = tokenizer
        self._dim = dim
        self._is_normalized = is_normalized

    def encode(self, texts: Sequence[str], prompt: str = "") -> EncodedTexts:
        """Encode texts; see `Backend.encode`. A text without tokens has a vector of zeros."""
        tokens = self._tokenizer.tokenize([prompt + text for text in texts])
        means = np.zeros((len(texts), self._vectors.shape[1]), np.float32)
        for start in range(0, len(texts), _BATCH_TEXTS):
            self._add_means(means[start : start + _BATCH_TEXTS], tokens.ids[start : start + _BATCH_TEXTS])
        vectors = means[:, : self._dim]
        if self._is_normalized:
            lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
            vectors = vectors / np.maximum(lengths, 1e-12)
        return EncodedTexts(
            np.ascontiguousarray(vectors, np.float32),
            tokens.truncated,
            tokens.unknown_shares,
            tokens=int(tokens.lengths.sum()),
        )

    def _add_means(self, means: np.ndarray, ids: Sequence[Sequence[int]]) -> None:
        """Write the mean of the vectors of each text's tokens into the rows of an array."""
        positions = [position for position, tokens in enumerate(ids) if len(tokens)]
        if not positions:
            return
        counts = np.array([len(ids[position]) for position in positions])
        rows = self._vectors[np.concatenate([ids[position] for position in positions])].astype(np.float32)
        sums = np.add.reduceat(rows, np.concatenate([[0], np.cumsum(counts)[:-1]]), axis=0)
        means[positions] = sums / counts[:, None]

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text; see `Backend.count_tokens`."""
        return self._tokenizer.count(texts)

    def tokens(self, texts: Sequence[str]) -> list[TokenCount]:
        """Return the tokens of each text; see `TokenCount`."""
        return self._tokenizer.token_counts(texts)
