"""Texts that are longer than a model's window: encoded in overlapping windows, whose vectors are averaged."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crdbvec_pipelines.encoding.backends import Backend, EncodedTexts, TokenCount
from crdbvec_pipelines.encoding.errors import InputRejected, ModelError
from crdbvec_pipelines.encoding.pipeline import Pipeline

# The share of a window that the next one repeats, so that no sentence of ordinary length is cut in both.
_OVERLAP_SHARE = 8
# A window begins at the start of a word, which is at most this many characters before its first token.
_MAX_WORD_CHARACTERS = 20
# The tokens of a part of a text are not always those of the whole text: up to this many more fit into a window.
_SPARE_TOKENS = 8


@dataclass(frozen=True)
class Window:
    """A part of a text that fits into the model's window.

    Attributes:
        start: The position of its first character.
        end: The position after its last character.
        tokens: The number of its tokens, without special tokens: its weight in the average.
    """

    start: int
    end: int
    tokens: int


class TextWindows:
    """Divides texts into windows of a model; immutable, so safe to use from several threads.

    Args:
        directory: The model folder, which contains tokenizer.json.
        pipeline: The configuration of the folder.
        prompt: The text that is put before each part, whose tokens fill a part of the window.

    Raises:
        ModelError: The folder has no tokenizer.json, or the model has no maximum number of tokens.
    """

    def __init__(self, directory: Path, pipeline: Pipeline, prompt: str = "") -> None:
        from tokenizers import Tokenizer

        file = directory / "tokenizer.json"
        if not file.is_file() or pipeline.max_seq_length is None:
            raise ModelError(
                f"The model in {directory} has no tokenizer.json or no maximum number of tokens, so long texts cannot "
                "be divided. Set long_inputs: truncate."
            )
        self._tokenizer = Tokenizer.from_file(str(file))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        added = self._tokenizer.num_special_tokens_to_add(False)
        added += len(self._tokenizer.encode(prompt, add_special_tokens=False)) if prompt else 0
        self.size = max(1, pipeline.max_seq_length - added - _SPARE_TOKENS)
        self._window = max(1, pipeline.max_seq_length - added)
        self._step = max(1, self.size - self.size // _OVERLAP_SHARE)

    @property
    def identity(self) -> str:
        """The part of the model id that contains what changes the vectors of long texts."""
        return f"windows-{self.size}-{self._step}"

    def divide(self, texts: Sequence[str]) -> list[list[Window]]:
        """Return the windows of each text; one that contains all of a text that fits."""
        encodings = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [self._windows(text, each.offsets) for text, each in zip(texts, encodings, strict=True)]

    def _windows(self, text: str, offsets: Sequence[tuple[int, int]]) -> list[Window]:
        count = len(offsets)
        if count <= self._window:
            return [Window(0, len(text), count)]
        windows = []
        # The last window is a whole one, so that a few tokens at the end are not given its own vector.
        starts = [*range(0, count - self.size, self._step), count - self.size]
        for first in starts:
            start = _word_start(text, offsets[first][0])
            windows.append(Window(start, offsets[first + self.size - 1][1], self.size))
        return windows


class MeanBackend:
    """A backend that reads all of a long text: the average of the vectors of its windows, weighted by their tokens.

    Args:
        backend: The backend that encodes the windows.
        windows: What divides the texts.
        is_normalized: Whether the vectors of the model have the length 1, and so their average, too.
    """

    def __init__(self, backend: Backend, windows: TextWindows, *, is_normalized: bool) -> None:
        self._backend = backend
        self._windows = windows
        self._is_normalized = is_normalized

    def encode(self, texts: Sequence[str]) -> EncodedTexts:
        """Encode texts; see `Backend.encode`. No text is truncated."""
        divided = self._windows.divide(texts)
        parts = [
            text if len(windows) == 1 else text[window.start : window.end]
            for text, windows in zip(texts, divided, strict=True)
            for window in windows
        ]
        encoded = EncodedTexts(*self._backend.encode(parts))
        owners = np.repeat(np.arange(len(texts)), [len(windows) for windows in divided])
        weights = np.array([max(1, window.tokens) for windows in divided for window in windows], np.float64)
        totals = np.bincount(owners, weights, len(texts))
        vectors = np.zeros((len(texts), encoded.vectors.shape[1]), np.float64)
        np.add.at(vectors, owners, encoded.vectors * (weights / totals[owners])[:, None])
        if self._is_normalized:
            lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
            vectors /= np.where(lengths > 0, lengths, 1)
        shares = encoded.unknown_shares
        mean_shares = None if shares is None else np.bincount(owners, shares * weights, len(texts)) / totals
        failures: dict[int, InputRejected] = {}
        for position, failure in encoded.failures.items():
            failures.setdefault(int(owners[position]), failure)
        return EncodedTexts(
            vectors.astype(np.float32),
            np.zeros(len(texts), np.bool_),
            None if mean_shares is None else mean_shares.astype(np.float32),
            failures,
            encoded.tokens,
        )

    def count_tokens(self, texts: Sequence[str]) -> list[int] | None:
        """Return the number of tokens of each text; see `Backend.count_tokens`."""
        return self._backend.count_tokens(texts)


def untruncated(counts: Sequence[TokenCount]) -> list[TokenCount]:
    """Return the tokens of texts of which all are encoded."""
    return [count._replace(encoded=count.total) for count in counts]


def _word_start(text: str, position: int) -> int:
    """Return the start of the word that contains a position; the position itself in a text without spaces."""
    start = position
    while start > 0 and position - start < _MAX_WORD_CHARACTERS and not text[start - 1].isspace():
        start -= 1
    return start if start == 0 or text[start - 1].isspace() else position
