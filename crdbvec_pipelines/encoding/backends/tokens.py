"""The tokenizer of a model, without transformers: token ids of texts, truncated to the maximum sequence length."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crdbvec_pipelines.encoding.backends.batching import padded_length
from crdbvec_pipelines.encoding.errors import ModelError
from crdbvec_pipelines.encoding.pipeline import Pipeline


@dataclass(frozen=True, slots=True, eq=False)
class TokenizedTexts:
    """Texts as token ids.

    Attributes:
        ids: The token ids of each text with special tokens, at most the maximum sequence length.
        lengths: The number of ids of each text.
        truncated: For each text, whether it was truncated.
    """

    ids: list[list[int]]
    lengths: NDArray[np.intp]
    truncated: NDArray[np.bool_]


class TextTokenizer:
    """The tokenizer of a model folder; immutable, so safe to use from several threads.

    Args:
        directory: The model folder, which contains tokenizer.json.
        pipeline: The configuration of the folder.

    Raises:
        ModelError: tokenizer.json cannot be read.
    """

    def __init__(self, directory: Path, pipeline: Pipeline) -> None:
        from tokenizers import Tokenizer
        from tokenizers.normalizers import Lowercase, Sequence

        try:
            self._tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        except Exception as error:  # tokenizers raises Exception, not a subclass
            raise ModelError(f"{directory / 'tokenizer.json'} cannot be read ({error}). Restore it.") from error
        self._pad_id = (self._tokenizer.padding or {}).get("pad_id", pipeline.pad_token_id)
        self._tokenizer.no_padding()
        if pipeline.max_seq_length is not None:
            self._tokenizer.enable_truncation(pipeline.max_seq_length)
        if pipeline.lowercases_text:
            normalizers = [Lowercase(), self._tokenizer.normalizer]
            self._tokenizer.normalizer = Sequence([step for step in normalizers if step])

    def tokenize(self, texts: Sequence[str]) -> TokenizedTexts:
        """Return the token ids of texts."""
        encodings = self._tokenizer.encode_batch_fast(list(texts))
        return TokenizedTexts(
            ids=[encoding.ids for encoding in encodings],
            lengths=np.array([len(encoding) for encoding in encodings], dtype=np.intp),
            truncated=np.array([bool(encoding.overflowing) for encoding in encodings], dtype=np.bool_),
        )

    def count(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text, untruncated, with special tokens."""
        # Every overflowing part of a truncated text has its own special tokens.
        special_tokens = self._tokenizer.num_special_tokens_to_add(False)
        return [
            len(encoding) + sum(len(part) - special_tokens for part in encoding.overflowing)
            for encoding in self._tokenizer.encode_batch_fast(list(texts))
        ]

    def pad(self, ids: Sequence[Sequence[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the padded token ids and the attention mask of a batch, both of shape (texts, padded length).

        Args:
            ids: The token ids of at least one text, the longest first.
        """
        shape = (len(ids), padded_length(len(ids[0])))
        padded = np.full(shape, self._pad_id, dtype=np.int64)
        mask = np.zeros(shape, dtype=np.int64)
        for row, values in enumerate(ids):
            padded[row, : len(values)] = values
            mask[row, : len(values)] = 1
        return padded, mask
