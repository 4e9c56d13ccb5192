"""The words of a query: which a keyword search looks for, and which must stand verbatim to count as an exact match."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from crdbvec_pipelines.database.index.text_document import DOCUMENT_CHARACTERS
from crdbvec_pipelines.database.search.keywords import TextQuery

# More words of a query add time and few rows.
_MAX_TERMS = 64
# More phrases than a question has; each costs one comparison for each row.
_MAX_PHRASES = 4
# Shorter sequences of words are frequent, so they say little about a text.
_MIN_RUN_WORDS = 3
_MIN_RUN_SHARE = 0.5

_QUOTED = re.compile(r"[\"“„]([^\"“”„]+)[\"”“]")
_WORD = re.compile(r"\w+")
# Without the underscore, which the servers take for a separator.
_PLAIN_WORD = re.compile(r"[^\W_]+")
_IDENTIFIER = re.compile(
    r"""
    (?=.*\d).{3,}               # a digit: an error code, a version, a number in hexadecimal
    | .*[^\W_]_+[^\W_].*        # snake_case
    | .*[a-z][A-Z].*            # camelCase
    | .*\w\w[.:]+\w\w.*         # os.path, std::vector, example.com
    | .*/.*/.*                  # a path
    """,
    re.VERBOSE,
)


@dataclass(frozen=True)
class QueryText:
    """The text of a query.

    Attributes:
        text: The text as it was typed.
    """

    text: str

    @cached_property
    def exact(self) -> tuple[str, ...]:
        """What counts only if it stands verbatim in a text: quoted words and identifiers."""
        unquoted = _QUOTED.sub(" ", self.text)
        found = [match[1].strip() for match in _QUOTED.finditer(self.text)]
        found += identifiers(unquoted)
        return tuple(dict.fromkeys(each for each in found if _PLAIN_WORD.search(each)))

    @cached_property
    def words(self) -> tuple[str, ...]:
        """All words, in order."""
        return _words(self.text)

    def for_server(self) -> TextQuery | None:
        """Return what a keyword search looks for; None if the text has no word."""
        terms: dict[str, None] = {}
        for token in _tokens(self.text):
            # A compound such as example.com or well-known is one word to the servers, and so are its parts.
            for term in (token, *_PLAIN_WORD.findall(token)):
                terms.setdefault(_quoted(term.lower()))
        if not terms:
            return None
        phrases = [*self.exact, *([self.text] if len(self.words) >= _MIN_RUN_WORDS else [])]
        return TextQuery(
            " | ".join(list(terms)[:_MAX_TERMS]),
            tuple(" <-> ".join(map(_quoted, _tokens(phrase))) for phrase in phrases[:_MAX_PHRASES]),
        )

    def exactness(self, text: str) -> float:
        """Return how much of the query stands verbatim in a text, from 0 to 1.

        It is the share of the quoted words and identifiers, or of the longest sequence of words that both contain.
        White space, and upper and lower case, make no difference.
        """
        text = " ".join(text[:DOCUMENT_CHARACTERS].split()).casefold()
        matches = [pattern.search(text) is not None for pattern in self._patterns]
        run = _longest_run(self.words, _WORD.findall(text)) if len(self.words) >= _MIN_RUN_WORDS else 0
        share = run / len(self.words) if run >= _MIN_RUN_WORDS else 0.0
        return max(sum(matches) / len(matches) if matches else 0.0, share if share >= _MIN_RUN_SHARE else 0.0)

    @cached_property
    def _patterns(self) -> list[re.Pattern[str]]:
        texts = (" ".join(each.split()).casefold() for each in self.exact)
        return [re.compile(rf"(?<!\w){re.escape(each)}(?!\w)") for each in texts]


def identifiers(text: str) -> list[str]:
    """Return the words of a text that are identifiers, in order and once each."""
    return list(dict.fromkeys(token for token in _tokens(text) if _IDENTIFIER.fullmatch(token)))


def _tokens(text: str) -> Iterator[str]:
    """Yield the parts of a text between white space, without punctuation around them."""
    for part in text.split():
        found = re.search(r"\w(?:.*\w)?", part)
        if found and _PLAIN_WORD.search(found[0]):
            yield found[0]


def _quoted(word: str) -> str:
    """Return a word in the syntax of to_tsquery, in which no character of it is an operator."""
    return "'" + word.replace("\\", "\\\\").replace("'", "''") + "'"


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.casefold() for word in _WORD.findall(text))


def _longest_run(words: tuple[str, ...], text: Iterable[str]) -> int:
    """Return the number of words of the longest sequence that is in both."""
    positions: dict[str, list[int]] = {}
    for position, word in enumerate(words):
        positions.setdefault(word, []).append(position)
    longest = 0
    previous: dict[int, int] = {}
    for word in text:
        found = positions.get(word)
        if found is None:
            previous = {}
            continue
        previous = {position: previous.get(position - 1, 0) + 1 for position in found}
        longest = max(longest, *previous.values())
    return longest
