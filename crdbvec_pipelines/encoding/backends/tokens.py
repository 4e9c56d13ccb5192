"""A model's tokenizer without transformers: texts to token numbers, cut to the model's window, once."""

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
    """Texts as token numbers.

    Attributes:
        ids: The token numbers of each text, special tokens included, at most a window of them.
        lengths: How many each has.
        truncated: Which texts were cut to the window.
    """

    ids: list[list[int]]
    lengths: NDArray[np.intp]
    truncated: NDArray[np.bool_]


class TextTokenizer:
    """The tokenizer of a model's folder; may be used from several threads, since nothing in it changes.

    Args:
        directory: The model's folder, with its tokenizer.json.
        pipeline: Its window and casing.

    Raises:
        ModelError: tokenizer.json cannot be read.
    """

    def __init__(self, directory: Path, pipeline: Pipeline) -> None:
        from tokenizers import Tokenizer
        from tokenizers.normalizers import Lowercase, Sequence

        try:
            self._tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        except Exception as error:  # tokenizers raises Exception itself
            raise ModelError(f"{directory / 'tokenizer.json'} cannot be read: {error}") from error
        self._pad = (self._tokenizer.padding or {}).get("pad_id", pipeline.pad_token)
        self._tokenizer.no_padding()
        if pipeline.max_seq_length is not None:
            self._tokenizer.enable_truncation(pipeline.max_seq_length)
        if pipeline.lower_case:
            normalizers = [Lowercase(), self._tokenizer.normalizer]
            self._tokenizer.normalizer = Sequence([step for step in normalizers if step])

    def tokenize(self, texts: Sequence[str]) -> TokenizedTexts:
        """Turn texts into token numbers."""
        encodings = self._tokenizer.encode_batch_fast(list(texts))
        return TokenizedTexts(
            ids=[encoding.ids for encoding in encodings],
            lengths=np.array([len(encoding) for encoding in encodings], dtype=np.intp),
            truncated=np.array([bool(encoding.overflowing) for encoding in encodings], dtype=np.bool_),
        )

    def count(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has, uncut, special tokens included."""
        # Every part of a cut text begins and ends with the special tokens again.
        special = self._tokenizer.num_special_tokens_to_add(False)
        return [
            len(encoding) + sum(len(rest) - special for rest in encoding.overflowing)
            for encoding in self._tokenizer.encode_batch_fast(list(texts))
        ]

    def pad(self, ids: Sequence[Sequence[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return one batch's token numbers and attention mask, both of shape (texts, padded length).

        Args:
            ids: Token numbers of at least one text, the longest first.
        """
        shape = (len(ids), padded_length(len(ids[0])))
        numbers = np.full(shape, self._pad, dtype=np.int64)
        mask = np.zeros(shape, dtype=np.int64)
        for row, values in enumerate(ids):
            numbers[row, : len(values)] = values
            mask[row, : len(values)] = 1
        return numbers, mask
