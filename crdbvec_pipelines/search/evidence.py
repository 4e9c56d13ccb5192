"""How much of a query the texts of the candidates contain, where rare words count more. Pure computation.

A rank says nothing about how good its row is: also the best of bad rows has rank 1. What says it is how much of the
query's information a text contains. The information of a word is the logarithm of the share of the candidates that
contain it: a word that is in all of them distinguishes none.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from crdbvec_pipelines.database.index.text_document import DOCUMENT_CHARACTERS
from crdbvec_pipelines.search.text_query import QueryText

# Words with the same first letters count as forms of one word. Five letters are about as good as a stemmer for the
# languages of Europe (McNamee and Mayfield, 2004), and need to know none.
_STEM_CHARACTERS = 5
# Shorter sequences of words are frequent, so they say little about a text.
_MIN_RUN_WORDS = 3
_MIN_RUN_SHARE = 0.5

_WORD = re.compile(r"\w+")
_HAS_NUMBER = re.compile(r"[\d_]")


@dataclass(frozen=True)
class Evidence:
    """What a text contains of a query.

    Attributes:
        coverage: The share of the query's information that is in the words of the text, from 0 to 1.
        exactness: The share of it that stands verbatim in the text: in quoted words, identifiers, or a long sequence of
            the query's words.
        is_exact: Whether all quoted words and identifiers, or the whole query, stand verbatim in the text.
        unread: The share of the coverage by words that stand only after the part of the text that the model reads, from
            0 to 1. Its vector knows nothing of them.
    """

    coverage: float = 0.0
    exactness: float = 0.0
    is_exact: bool = False
    unread: float = 0.0


NO_EVIDENCE = Evidence()


def find_evidence(query: QueryText, texts: Sequence[str], read_characters: int | None = None) -> list[Evidence]:
    """Return what each text contains of a query.

    White space, and upper and lower case, make no difference.

    Args:
        query: The query.
        texts: The texts of all candidates, because the information of a word depends on how many of them contain it.
        read_characters: How many characters of a text the model reads; None for all.
    """
    found = [_find(query, text, read_characters) for text in texts]
    stems = dict.fromkeys(map(_stem, query.words))
    counts = {stem: sum(stem in each.stems for each in found) for stem in stems}
    # A word that no candidate contains cannot distinguish them. That of the others is never zero.
    information = {stem: math.log((len(texts) + 1) / count) for stem, count in counts.items() if count}
    total = sum(information.values())
    if not total:
        # The server has found rows by other forms of the words, of which nothing is known.
        return [Evidence(coverage=1.0)] * len(texts)
    return [_evidence(each, information, total) for each in found]


@dataclass(frozen=True)
class _Found:
    """What of a query is in a text.

    Attributes:
        stems: The stems of the text's words.
        read: Those of the part that the model reads.
        verbatim: The stems of the query that stand verbatim in the text.
        is_exact: Whether all that is exact in the query does.
    """

    stems: frozenset[str]
    read: frozenset[str]
    verbatim: frozenset[str]
    is_exact: bool


def _find(query: QueryText, text: str, read_characters: int | None) -> _Found:
    is_read = read_characters is None or len(text) <= read_characters
    read = "" if is_read else text[:read_characters].casefold()
    text = " ".join(text[:DOCUMENT_CHARACTERS].split()).casefold()
    words = _WORD.findall(text)
    parts = [part for part, pattern in query.exact_patterns if pattern.search(text)]
    verbatim = {_stem(word) for part in parts for word in _WORD.findall(part)}
    start, end = _longest_run(query.words, words)
    length = end - start
    if length >= max(_MIN_RUN_WORDS, _MIN_RUN_SHARE * len(query.words)):
        verbatim.update(map(_stem, query.words[start:end]))
    is_exact = bool(parts) and len(parts) == len(query.exact_patterns)
    is_whole = length == len(query.words) >= _MIN_RUN_WORDS
    # The set of the different words first: a long text repeats most of its words.
    stems = frozenset(map(_stem, set(words)))
    # The last word of the part may be cut off.
    read_stems = stems if is_read else stems & set(map(_stem, _WORD.findall(read)))
    return _Found(stems, read_stems, frozenset(verbatim), is_exact or is_whole)


def _evidence(found: _Found, information: Mapping[str, float], total: float) -> Evidence:
    covered = _sum(information, found.stems)
    unread = 1 - _sum(information, found.read) / covered if covered else 0.0
    return Evidence(covered / total, _sum(information, found.verbatim) / total, found.is_exact, unread)


def _sum(information: Mapping[str, float], stems: frozenset[str]) -> float:
    return sum(value for stem, value in information.items() if stem in stems)


def _stem(word: str) -> str:
    """Return the beginning of a word; a word with a digit or an underscore is an identifier, so all of it."""
    return word if _HAS_NUMBER.search(word) else word[:_STEM_CHARACTERS]


def _longest_run(words: Sequence[str], text: Sequence[str]) -> tuple[int, int]:
    """Return where in `words` the longest sequence that is in both starts and ends."""
    positions: dict[str, list[int]] = {}
    for position, word in enumerate(words):
        positions.setdefault(word, []).append(position)
    longest, end = 0, 0
    previous: dict[int, int] = {}
    for word in text:
        found = positions.get(word)
        if found is None:
            previous = {}
            continue
        previous = {position: previous.get(position - 1, 0) + 1 for position in found}
        for position, length in previous.items():
            if length > longest:
                longest, end = length, position + 1
    return end - longest, end
