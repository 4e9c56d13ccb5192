"""Dividing a text into chunks: at the best boundary that the second half of a chunk contains.

The text is tokenized once; a chunk is a run of its tokens. Libraries for this tokenize every candidate again, which
takes a large part of the time that encoding takes (docs/decisions).
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crdbvec_pipelines.config import Splitter

Span = tuple[int, int]

# The levels of boundaries: a chunk ends at the last boundary of the highest level that its second half contains.
_TOKEN, _WORD, _SENTENCE, _LINE, _PARAGRAPH, _SECTION = range(6)

_SENTENCE_END = re.compile("[.!?…]+[\"'”\u2019)\\]]*\\s+|[\u3002\uff01\uff1f]+")
_LINE_END = re.compile(r"\n")
_BLANK_LINE = re.compile(r"\n[^\S\n]*\n\s*")
_HEADING = re.compile(r"^(?=#{1,6}\s)", re.MULTILINE)
_FENCE = re.compile(r"^ {0,3}(```|~~~)", re.MULTILINE)
# A line at the left margin after a blank line begins a function, a class or a block of the outermost level.
_TOP_LEVEL = re.compile(r"(?<=\n)\n+(?=[^\s)\]}])")
_LEFT_MARGIN = re.compile(r"\n(?=[^\s)\]}])")

_UNIT = re.compile(r"\w{1,4}|[^\w\s]")


@dataclass(frozen=True)
class ChunkSize:
    """The size of chunks in tokens.

    Attributes:
        size: The maximum number of tokens of a chunk.
        overlap: The maximum number of tokens that a chunk repeats of the one before.
    """

    size: int
    overlap: int


def divide(text: str, tokens: Sequence[Span], size: ChunkSize, splitter: Splitter) -> list[Span]:
    """Return start and end of each chunk in characters; a text that fits into one is one chunk.

    Together the chunks contain every character of the text that is not white space.

    Args:
        text: The text.
        tokens: Start and end of each of its tokens, in order.
        size: The size of the chunks.
        splitter: What kind of text it is.
    """
    count = len(tokens)
    if count <= size.size:
        return [(0, len(text))]
    starts = np.array([start for start, _ in tokens], np.int64)
    levels = _token_levels(text, starts, splitter)
    chunks: list[Span] = []
    first = 0
    while True:
        if count - first <= size.size:
            chunks.append(_trimmed(text, _start(starts, first), len(text)))
            return [chunk for chunk in chunks if chunk[0] < chunk[1]]
        end = _end(levels, first, size.size)
        chunks.append(_trimmed(text, _start(starts, first), int(starts[end])))
        first = _next_first(levels, first, end, size.overlap)


def approximate_tokens(texts: Sequence[str]) -> list[list[Span]]:
    """Return what counts as the tokens of texts for a model whose tokens are not known: four characters of a word."""
    return [[found.span() for found in _UNIT.finditer(text)] for text in texts]


def _end(levels: NDArray[np.int8], first: int, size: int) -> int:
    """Return the token before which a chunk ends: the last boundary of the highest level in its second half."""
    begin = first + max(1, size // 2)
    part = levels[begin : first + size + 1]
    return begin + int(np.flatnonzero(part == part.max())[-1])


def _next_first(levels: NDArray[np.int8], first: int, end: int, overlap: int) -> int:
    """Return the first token of the next chunk: a sentence of the overlap begins there, otherwise a word."""
    begin = max(first + 1, end - overlap)
    part = levels[begin:end]
    for level in (_SENTENCE, _WORD):
        found = np.flatnonzero(part >= level)
        if len(found):
            return begin + int(found[0])
    return end


def _token_levels(text: str, starts: NDArray[np.int64], splitter: Splitter) -> NDArray[np.int8]:
    """Return the level of the boundary before each token."""
    levels = np.array([_WORD if text[start - 1 : start].isspace() else _TOKEN for start in starts.tolist()], np.int8)
    for level, find in _BOUNDARIES[splitter]:
        places = np.searchsorted(starts, np.array(find(text), np.int64))
        places = places[places < len(starts)]
        np.maximum.at(levels, places, np.int8(level))
    return levels


def _start(starts: NDArray[np.int64], token: int) -> int:
    """Return where a chunk begins; characters before the first token belong to the first chunk."""
    return int(starts[token]) if token else 0


def _trimmed(text: str, start: int, end: int) -> Span:
    """Return a span without the white space at both ends."""
    part = text[start:end]
    return start + len(part) - len(part.lstrip()), start + len(part.rstrip())


def _after(pattern: re.Pattern[str]) -> Callable[[str], list[int]]:
    return lambda text: [found.end() for found in pattern.finditer(text)]


def _outside_fences(pattern: re.Pattern[str]) -> Callable[[str], list[int]]:
    """Return what finds the boundaries of Markdown that are not in a fenced block of code."""

    def find(text: str) -> list[int]:
        fences = [found.start() for found in _FENCE.finditer(text)]
        inside = np.searchsorted(np.array(fences, np.int64), np.array(_after(pattern)(text), np.int64), side="right")
        return [place for place, before in zip(_after(pattern)(text), inside.tolist(), strict=True) if before % 2 == 0]

    return find


_BOUNDARIES: dict[Splitter, tuple[tuple[int, Callable[[str], list[int]]], ...]] = {
    "text": ((_SENTENCE, _after(_SENTENCE_END)), (_LINE, _after(_LINE_END)), (_PARAGRAPH, _after(_BLANK_LINE))),
    "markdown": (
        (_SENTENCE, _after(_SENTENCE_END)),
        (_LINE, _after(_LINE_END)),
        (_PARAGRAPH, _outside_fences(_BLANK_LINE)),
        (_SECTION, _outside_fences(_HEADING)),
    ),
    "code": (
        (_SENTENCE, _after(_LINE_END)),
        (_LINE, _after(_LEFT_MARGIN)),
        (_PARAGRAPH, _after(_BLANK_LINE)),
        (_SECTION, _after(_TOP_LEVEL)),
    ),
}
