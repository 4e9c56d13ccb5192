"""What the inputs of some rows are like: tokens, equal inputs, identifiers."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from crdbvec_pipelines.encoding.backends import TokenCount
from crdbvec_pipelines.encoding.errors import EncoderUnavailable, ModelError
from crdbvec_pipelines.refresh.input_sample import InputSample, TokenReader, summarize
from crdbvec_pipelines.search.text_query import identifiers

QUANTILES = (0.1, 0.5, 0.9, 0.99, 1.0)


@dataclass(frozen=True)
class Texts:
    """What the inputs of some rows are like.

    Attributes:
        sample: The tokens; None if the model does not count them.
        rows: The number of inputs.
        window: The tokens that the model reads of an input; None if no input is longer, or that is not known.
        lengths: The number of tokens of each input, in no particular order; empty if the model does not count them.
        tokens: The quantiles of the lengths, by `QUANTILES`; empty as well.
        lost: The share of all tokens that are not in a vector; None if that is not known.
        duplicates: The share of the rows whose input equals that of another one of them.
        identifiers: The share of the texts with an identifier, such as an error code or the name of a function.
    """

    sample: InputSample | None
    rows: int
    window: int | None
    lengths: Sequence[int] = field(repr=False)
    tokens: tuple[int, ...]
    lost: float | None
    duplicates: float
    identifiers: float

    @property
    def median(self) -> int | None:
        """The median number of tokens of an input; None if it is not known."""
        return self.tokens[QUANTILES.index(0.5)] if self.tokens else None


class TextCounter:
    """Adds up what inputs are like, page by page; of each input it keeps a digest and its tokens.

    Args:
        reader: The model.
        max_unknown: The share of unknown tokens up to which an input is readable.
    """

    def __init__(self, reader: TokenReader, max_unknown: float) -> None:
        self._reader = reader
        self._max_unknown = max_unknown
        self._counts: list[TokenCount] | None = []
        self._digests: Counter[bytes] = Counter()
        self._rows = self._with_identifiers = 0

    def add(self, inputs: Sequence[object]) -> None:
        """Add inputs."""
        self._rows += len(inputs)
        self._digests.update(map(_digest, inputs))
        self._with_identifiers += sum(isinstance(value, str) and bool(identifiers(value)) for value in inputs)
        counts = self._read_tokens(inputs)
        if counts is None:
            self._counts = None
        elif self._counts is not None:
            self._counts.extend(counts)

    def result(self) -> Texts:
        """Return what the inputs are like."""
        counts = self._counts or []
        windows = [each.encoded for each in counts if each.encoded is not None]
        cut = [each.encoded for each in counts if each.encoded is not None and each.total > each.encoded]
        total = sum(each.total for each in counts)
        repeated = sum(count for count in self._digests.values() if count > 1)
        return Texts(
            sample=None if self._counts is None else summarize(counts, self._max_unknown),
            rows=self._rows,
            window=max(cut, default=None),
            lengths=[each.total for each in counts],
            tokens=tuple(int(each) for each in quantiles([each.total for each in counts])),
            lost=1 - sum(windows) / total if total and len(windows) == len(counts) else None,
            duplicates=repeated / self._rows if self._rows else 0.0,
            identifiers=self._with_identifiers / self._rows if self._rows else 0.0,
        )

    def _read_tokens(self, inputs: Sequence[object]) -> list[TokenCount] | None:
        try:
            return self._reader.read_tokens(inputs)
        except (ModelError, EncoderUnavailable):
            # A model without a tokenizer, or for inputs that are not text.
            return None


def quantiles(values: Sequence[float]) -> tuple[float, ...]:
    """Return the values at `QUANTILES`; none of no values."""
    return tuple(float(each) for each in np.quantile(values, QUANTILES, method="nearest")) if values else ()


def _digest(value: object) -> bytes:
    content = bytes(value) if isinstance(value, (bytes, bytearray, memoryview)) else str(value).encode()
    return hashlib.blake2b(content, digest_size=16).digest()
