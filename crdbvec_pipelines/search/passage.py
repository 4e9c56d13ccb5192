"""The passage of a text that answers a query best, by the words of the query that it contains.

No model is called: comparing the vectors of all passages of a hit would take longer than the search.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

# The words of English that say the least about a passage. Other languages have no list, so their passages are chosen by
# frequent words, too, which only makes the choice worse.
_FREQUENT_WORDS = """
a about after all also an and any are as at be been but by can could did do does for from had has have he her his how i
if in into is it its me my no not of on one or our out she should so some than that the their them then there these they
this to up us was we were what when where which who why will with would you your
"""
_FREQUENT = frozenset(_FREQUENT_WORDS.split())
_WORD = re.compile(r"\w+")
_SENTENCE_END = re.compile(r"[.!?…:;]\s")
# A word and its plural are the same word.
_MIN_STEM = 4
# The share of the passage that may come before the first word of the query, for its context.
_CONTEXT = 3
_CUT = "…"


@dataclass(frozen=True)
class QueryWords:
    """The words of a query that texts are compared with.

    Attributes:
        pattern: Matches each of these words in a text; None if there are none.
    """

    pattern: re.Pattern[str] | None

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return where the words are in a text."""
        return [found.span() for found in self.pattern.finditer(text)] if self.pattern else []


def query_words(query: str) -> QueryWords:
    """Return the words of a query without the most frequent ones of English."""
    words = dict.fromkeys(word.casefold() for word in _WORD.findall(query))
    stems = [_stem(word) for word in words if word not in _FREQUENT]
    if not stems:
        return QueryWords(None)
    longest_first = sorted(map(re.escape, stems), key=len, reverse=True)
    return QueryWords(re.compile(rf"\b(?:{'|'.join(longest_first)})(?:e?s)?\b", re.IGNORECASE))


def best_passage(text: str, words: QueryWords, length: int) -> str:
    """Return the part of a text, in one line, that contains the most different words of a query.

    It is the start of the text if the text contains none of them, or as many there as anywhere else.

    Args:
        text: The text. Each sequence of white space in it becomes one blank.
        words: The words of the query.
        length: The maximum number of characters.
    """
    line = " ".join(text.split())
    if len(line) <= length:
        return line
    start = _start(line, words.spans(line), length - 2 * len(_CUT))
    if start:
        line = _CUT + line[start:]
    return line if len(line) <= length else _without_half_word(line, length - len(_CUT)) + _CUT


def _start(line: str, spans: Sequence[tuple[int, int]], length: int) -> int:
    best, most = 0, _different_words(line, spans, 0, length)
    for begin, _ in spans:
        start = max(0, begin - length // _CONTEXT)
        found = _different_words(line, spans, start, start + length)
        if found > most:
            best, most = start, found
    if best == 0:
        return 0
    # At the start of a sentence if one is near, otherwise of a word.
    first = min(begin for begin, _ in spans if begin >= best)
    ends = [found.end() for found in _SENTENCE_END.finditer(line, best, first)]
    return ends[0] if ends else line.find(" ", best, first) + 1 or best


def _different_words(line: str, spans: Sequence[tuple[int, int]], start: int, end: int) -> int:
    return len({_stem(line[a:b].casefold()) for a, b in spans if a >= start and b <= end})


def _without_half_word(line: str, length: int) -> str:
    cut = line[:length]
    return cut if line[length] == " " or " " not in cut else cut[: cut.rindex(" ")]


def _stem(word: str) -> str:
    if len(word) > _MIN_STEM and word.endswith("s") and not word.endswith("ss"):
        return word[:-1]
    return word
