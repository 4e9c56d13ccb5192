"""Hits of a search as text and as JSON: `distance --> key`, a passage of the input, further columns."""

import base64
import math
import os
import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TextIO

import click

from crdbvec_pipelines.cli.output import bytes_text, printable
from crdbvec_pipelines.search.fusion import Ranks
from crdbvec_pipelines.search.passage import QueryWords, best_passage, query_words
from crdbvec_pipelines.search.result import Hit, SearchResult
from crdbvec_pipelines.value_text import key_text, media_type, value_text

# Of a long text, this many lines are shown. Three lines hold two or three sentences.
_PASSAGE_LINES = 3
# Of a long value of a further column.
_COLUMN_CHARACTERS = 60
# Where the output is not a terminal.
_WIDTH = 80
_NO_WORDS = QueryWords(None)


@dataclass(frozen=True)
class HitLayout:
    """How hits are printed.

    Attributes:
        width: The number of columns of the terminal.
        is_terminal: Whether lines are wrapped, and the words of the query are marked.
        is_full: Whether texts are printed whole instead of a passage, and binary values as base64 in JSON.
    """

    width: int = _WIDTH
    is_terminal: bool = False
    is_full: bool = False


def layout_for(stream: TextIO, *, is_full: bool) -> HitLayout:
    """Return the layout for an output stream."""
    is_terminal = stream.isatty()
    width = shutil.get_terminal_size((_WIDTH, 24)).columns if is_terminal else _WIDTH
    return HitLayout(width, is_terminal, is_full)


def hit_text(hit: Hit, layout: HitLayout | None = None, words: QueryWords = _NO_WORDS) -> str:
    """Return the lines of a hit: distance and key, the input, and the further columns if there are any.

    Args:
        hit: The hit.
        layout: How it is printed; by default as in a file.
        words: The words of the query, which decide the passage that is shown.
    """
    layout = layout or HitLayout()
    shown = _input_text(hit.input if hit.chunk is None else hit.chunk.text, layout, words)
    relevance = "" if hit.relevance is None else f"(relevance {hit.relevance:.4f})"
    found = " ".join(filter(None, (distance_text(hit.distance), ranks_text(hit.ranks), relevance)))
    place = "" if hit.chunk is None else f", characters {hit.chunk.start:,} to {hit.chunk.end:,}"
    lines = [f"{found} --> {printable(key_text(hit.key.values()))}{place}", shown]
    if hit.columns:
        columns = ((name, _column_text(value, layout)) for name, value in hit.columns.items())
        lines.append(printable(", ".join(f"{name}: {value}" for name, value in columns)))
    return "\n".join(lines)


def ranks_text(ranks: Ranks | None) -> str:
    """Return where a keyword or hybrid search found a hit, such as `(vector 3, keyword 1, exact)`."""
    if ranks is None:
        return ""
    found = (("vector", ranks.vector), ("keyword", ranks.keyword))
    parts = [f"{name} {rank}" for name, rank in found if rank is not None]
    return f"({', '.join([*parts, *(['exact'] if ranks.is_exact else [])])})"


def distance_text(distance: float) -> str:
    """Return a distance with four decimals, which distinguish hits; those of float32 differ by rounding after that.

    Without a distance, it is an empty text.
    """
    if math.isnan(distance):
        return ""
    return f"{round(distance, 4) + 0.0:.4f}"


def result_words(result: SearchResult, *, is_text: bool) -> QueryWords:
    """Return the words of the query of a result; a search for the rows similar to a row has none."""
    return query_words(result.query) if is_text else _NO_WORDS


def hits_json(results: Sequence[SearchResult], *, is_full: bool) -> object:
    """Return an array of hits for one query, or an array of queries with their hits for several."""
    hits = [[_hit_json(hit, is_full) for hit in result.hits] for result in results]
    queries = [
        {"query": result.query, "strategy": result.strategy, "reason": result.reason, "hits": found}
        for result, found in zip(results, hits, strict=True)
    ]
    return queries if len(queries) > 1 else hits[0]


def _hit_json(hit: Hit, is_full: bool) -> dict[str, object]:
    columns = {name: _value_json(value, is_full) for name, value in hit.columns.items()}
    distance = None if math.isnan(hit.distance) else hit.distance
    values = {"distance": distance, "key": hit.key, "input": _value_json(hit.input, is_full)}
    if hit.ranks is not None:
        values |= {f"{name}_rank": getattr(hit.ranks, name) for name in ("vector", "keyword")}
        values |= {name: getattr(hit.ranks, name) for name in ("exactness", "is_exact", "score")}
    if hit.relevance is not None:
        values["relevance"] = hit.relevance
    if hit.chunk is not None:
        values["chunk"] = asdict(hit.chunk)
    return {**values, "columns": columns} if columns else values


def _value_json(value: object, is_full: bool) -> object:
    """Return a value for JSON; of a binary value its type and size, because pictures would fill the output."""
    if not isinstance(value, (bytes, memoryview)):
        return value
    described: dict[str, object] = {"type": media_type(value), "bytes": len(value)}
    return {**described, "base64": base64.b64encode(value).decode()} if is_full else described


def _input_text(value: object, layout: HitLayout, words: QueryWords) -> str:
    if isinstance(value, (bytes, memoryview)):
        return _binary_text(value)
    text = printable(str(value))
    if not layout.is_full:
        text = best_passage(text, words, _PASSAGE_LINES * layout.width)
    if not layout.is_terminal:
        return text
    if not layout.is_full:
        text = textwrap.fill(text, layout.width, max_lines=_PASSAGE_LINES, placeholder=" …", break_on_hyphens=False)
    return _marked(text, words)


def _column_text(value: object, layout: HitLayout) -> str:
    if isinstance(value, (bytes, memoryview)):
        return _binary_text(value)
    text = value_text(value)
    return text if layout.is_full else best_passage(text, _NO_WORDS, _COLUMN_CHARACTERS)


def _binary_text(value: bytes | memoryview) -> str:
    return f"<{media_type(value)}, {bytes_text(len(value))}>"


def _marked(text: str, words: QueryWords) -> str:
    """Return a text with the words of the query in bold, unless the user wants no escape sequences."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    parts, position = [], 0
    for start, end in words.spans(text):
        parts += [text[position:start], click.style(text[start:end], bold=True)]
        position = end
    return "".join([*parts, text[position:]])
