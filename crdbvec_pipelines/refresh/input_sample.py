"""What a model reads of the inputs of a table: tokens, truncated texts and unknown tokens, measured on a sample.

A vector exists also for a text of which the model knows no word, so coverage does not show it. Nothing is stored about
it: a sample describes the rows that the table has now, and counting its tokens needs the tokenizer only.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.database.rows.embedded_sample import embedded_inputs
from crdbvec_pipelines.encoding.backends import TokenCount
from crdbvec_pipelines.encoding.errors import EncoderUnavailable, ModelError
from crdbvec_pipelines.keyspace import KeyRange

SAMPLE_ROWS = 256
"""The rows of a sample. The standard error of a share is at most 1/32, and the tokenizer takes milliseconds."""
# A sample of many key ranges reads this many of them, so that its cost does not grow with the table.
_MAX_RANGES = 8


class TokenReader(Protocol):
    """The part of an `encoding.encoder.Encoder` that counts tokens."""

    def read_tokens(self, inputs: Sequence[object]) -> list[TokenCount] | None:
        """Return the tokens of each input; None if the model does not count them."""
        ...


@dataclass(frozen=True)
class InputSample:
    """The tokens of a sample of inputs. The shares are 0 for an empty sample.

    Attributes:
        rows: The number of inputs.
        tokens: The mean number of tokens of an input, untruncated.
        encoded_tokens: The mean number of tokens that fit into the model's window; None if that is not known.
        truncated: The share of inputs that are longer than the window; None if that is not known.
        unknown_tokens: The approximate share of the encoded tokens that the model does not know: the mean of the
            inputs' shares, weighted by their encoded tokens, special tokens included; None if that is not known.
        unreadable: The share of inputs with a larger share of unknown tokens than accepted; None if that is not known.
    """

    rows: int
    tokens: float
    encoded_tokens: float | None
    truncated: float | None
    unknown_tokens: float | None
    unreadable: float | None


def measure_inputs(reader: TokenReader, inputs: Sequence[object], max_unknown: float) -> InputSample | None:
    """Count the tokens of inputs.

    Args:
        reader: The model.
        inputs: The inputs.
        max_unknown: The share of unknown tokens up to which an input is readable.

    Returns:
        The measured values; None if the model does not count tokens.

    Raises:
        ModelError: The model cannot be loaded, or an input is not text.
    """
    counts = reader.read_tokens(inputs)
    return None if counts is None else summarize(counts, max_unknown)


def summarize(counts: Sequence[TokenCount], max_unknown: float) -> InputSample:
    """Return the measured values of inputs whose tokens are counted."""
    windows = [(count.total, count.encoded) for count in counts if count.encoded is not None]
    shares = [
        (count.encoded or count.total, count.unknown_share) for count in counts if count.unknown_share is not None
    ]
    has_windows, has_shares = len(windows) == len(counts), len(shares) == len(counts)
    return InputSample(
        rows=len(counts),
        tokens=_mean([count.total for count in counts]),
        encoded_tokens=_mean([encoded for _, encoded in windows]) if has_windows else None,
        truncated=_mean([total > encoded for total, encoded in windows]) if has_windows else None,
        unknown_tokens=_mean([share for _, share in shares], [tokens for tokens, _ in shares]) if has_shares else None,
        unreadable=_mean([share > max_unknown for _, share in shares]) if has_shares else None,
    )


def sample_column(column: BoundColumn, reader: TokenReader, ranges: Sequence[KeyRange]) -> InputSample | None:
    """Measure a sample of the embedded inputs of key ranges; of many ranges, some are chosen at random.

    Args:
        column: The vector column, which exists in the table.
        reader: The model.
        ranges: The key ranges.

    Returns:
        The measured values; None if the model does not count tokens or is unavailable.
    """
    try:
        inputs = read_sample(column, reader, ranges)
        return None if inputs is None else measure_inputs(reader, inputs, column.spec.checks.unknown_tokens)
    except (ModelError, EncoderUnavailable):
        # A model without a tokenizer, or for inputs that are not text; whether it works is not what is measured here.
        return None


def read_sample(column: BoundColumn, reader: TokenReader, ranges: Sequence[KeyRange]) -> list[object] | None:
    """Return a sample of the embedded inputs of key ranges; None if the model does not count tokens.

    Raises:
        ModelError: The model cannot be loaded.
        EncoderUnavailable: The model is temporarily unavailable.
    """
    # Asked first, so that the inputs of a model that does not count tokens, such as pictures, are not read.
    if reader.read_tokens([]) is None:
        return None
    chosen = random.sample(list(ranges), min(len(ranges), _MAX_RANGES))
    rows = -(-SAMPLE_ROWS // max(1, len(chosen)))
    return [value for key_range in chosen for value in embedded_inputs(column, key_range, rows)]


def _mean(values: Sequence[float], weights: Sequence[float] | None = None) -> float:
    return float(np.average(values, weights=weights)) if values else 0.0
