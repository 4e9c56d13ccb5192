"""The tokenizer of a model, without transformers: token ids of texts, truncated to the maximum sequence length."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crdbvec_pipelines.encoding.backends import TokenCount
from crdbvec_pipelines.encoding.backends.batching import padded_length
from crdbvec_pipelines.encoding.errors import ModelError


@dataclass(frozen=True, slots=True, eq=False)
class TokenizedTexts:
    """Texts as token ids.

    Attributes:
        ids: The token ids of each text with special tokens, at most the maximum sequence length.
        lengths: The number of ids of each text.
        truncated: For each text, whether it was truncated.
        unknown_shares: For each text, the share of unknown tokens among its ids, without special tokens.
    """

    ids: list[list[int]]
    lengths: NDArray[np.intp]
    truncated: NDArray[np.bool_]
    unknown_shares: NDArray[np.float32]


class TextTokenizer:
    """The tokenizer of a model; immutable, so safe to use from several threads.

    Args:
        file: A tokenizer.json.
        max_tokens: The maximum number of tokens, special tokens included; None for no limit.
        pad_id: The id of the padding token, if the file does not say.
        padded_to: The number of tokens to which every text is padded; None for the longest of a batch.
        lowercases: Whether texts are converted to lower case first.
        has_special_tokens: Whether special tokens are added to each text.

    Raises:
        ModelError: The file cannot be read.
    """

    def __init__(
        self,
        file: Path,
        max_tokens: int | None,
        *,
        pad_id: int = 0,
        padded_to: int | None = None,
        lowercases: bool = False,
        has_special_tokens: bool = True,
    ) -> None:
        self._file = file
        self._lowercases = lowercases
        self._max_tokens = max_tokens
        self._tokenizer = _read(file, lowercases=lowercases)
        self._pad_id = (self._tokenizer.padding or {}).get("pad_id", pad_id)
        self._tokenizer.no_padding()
        self._padded_to = padded_to
        self._unknown_id = unknown_token_id(self._tokenizer)
        self._adds_special_tokens = has_special_tokens
        self._special_tokens = self._tokenizer.num_special_tokens_to_add(False) if has_special_tokens else 0
        if max_tokens is not None:
            self._tokenizer.enable_truncation(max_tokens)

    def tokenize(self, texts: Sequence[str]) -> TokenizedTexts:
        """Return the token ids of texts."""
        encodings = self._encoded(self._tokenizer, texts)
        ids = [encoding.ids for encoding in encodings]
        return TokenizedTexts(
            ids=ids,
            lengths=np.array([len(encoding) for encoding in encodings], dtype=np.intp),
            truncated=self._truncated(texts, encodings),
            unknown_shares=np.array([self._unknown_share(each) for each in ids], dtype=np.float32),
        )

    def count(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text, untruncated, with special tokens."""
        return [count.total for count in self.token_counts(texts)]

    def token_counts(self, texts: Sequence[str]) -> list[TokenCount]:
        """Return the tokens of each text: all, those that are encoded, and the share of unknown ones among these."""
        return [self._count(each.ids) for each in self._encoded(self._whole, texts)]

    def spans(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """Return start and end of each token in characters of its text, untruncated and without special tokens."""
        return [each.offsets for each in self._whole.encode_batch(list(texts), add_special_tokens=False)]

    @cached_property
    def _whole(self) -> Any:
        """The same tokenizer without truncation.

        A truncating one does not return the rest of a text in every release: 0.23.1 and 0.23.2 of tokenizers leave out
        all of it, or all but some tokens.
        """
        if self._max_tokens is None:
            return self._tokenizer
        whole = _read(self._file, lowercases=self._lowercases)
        whole.no_padding()
        return whole

    def _truncated(self, texts: Sequence[str], encodings: Sequence[Any]) -> NDArray[np.bool_]:
        truncated = np.array([bool(encoding.overflowing) for encoding in encodings], dtype=np.bool_)
        limit = self._max_tokens
        if limit is not None:
            # A text that fills the window either fits exactly, or its rest was left out.
            full = [n for n, each in enumerate(encodings) if len(each) >= limit and not truncated[n]]
            if full:
                counts = self.token_counts([texts[position] for position in full])
                truncated[full] = [count.total > limit for count in counts]
        return truncated

    def _count(self, ids: list[int]) -> TokenCount:
        encoded = len(ids) if self._max_tokens is None else min(len(ids), self._max_tokens)
        return TokenCount(len(ids), encoded, self._unknown_share(ids[:encoded]))

    def _encoded(self, tokenizer: Any, texts: Sequence[str]) -> Any:
        return tokenizer.encode_batch_fast(list(texts), add_special_tokens=self._adds_special_tokens)

    def _unknown_share(self, ids: list[int]) -> float:
        """Return the share of unknown tokens among the ids of a text."""
        count = len(ids) - self._special_tokens
        return ids.count(self._unknown_id) / count if count > 0 and self._unknown_id is not None else 0.0

    def pad(self, ids: Sequence[Sequence[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the padded token ids and the attention mask of a batch, both of shape (texts, padded length).

        Args:
            ids: The token ids of at least one text, the longest first.
        """
        shape = (len(ids), self._padded_to or padded_length(len(ids[0])))
        padded = np.full(shape, self._pad_id, dtype=np.int64)
        mask = np.zeros(shape, dtype=np.int64)
        for row, values in enumerate(ids):
            padded[row, : len(values)] = values
            mask[row, : len(values)] = 1
        return padded, mask


def _read(file: Path, *, lowercases: bool) -> Any:
    """Return the tokenizer of a file, without truncation."""
    from tokenizers import Tokenizer
    from tokenizers.normalizers import Lowercase, Sequence

    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises Exception, not a subclass
        raise ModelError(f"{file} cannot be read ({error}). Restore it.") from error
    if lowercases:
        tokenizer.normalizer = Sequence([step for step in (Lowercase(), tokenizer.normalizer) if step])
    tokenizer.no_truncation()
    return tokenizer


def unknown_token_id(tokenizer: Any) -> int | None:
    """Return the id that a tokenizer uses for parts of a text that are not in its vocabulary.

    Tokenizers that fall back to bytes have none: they represent every text.
    """
    token = getattr(tokenizer.model, "unk_token", None)
    if token is not None:
        return None if tokenizer.token_to_id(token) is None else int(tokenizer.token_to_id(token))
    if type(tokenizer.model).__name__ != "Unigram":
        return None
    # The id of a Unigram model is only in its JSON, which takes up to a second to write and read.
    identifier = json.loads(tokenizer.to_str())["model"]["unk_id"]
    return None if identifier is None else int(identifier)
