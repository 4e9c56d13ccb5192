"""The words of a query: which a keyword search looks for, and which must stand verbatim to count as an exact match."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from crdbvec_pipelines.database.search.keywords import TextQuery

# More words of a query add time and few rows.
_MAX_TERMS = 64
# More phrases than a question has; each costs one comparison for each row.
_MAX_PHRASES = 4
# A shorter query is not a phrase.
_MIN_PHRASE_WORDS = 3

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
        phrases = [*self.exact, *([self.text] if len(self.words) >= _MIN_PHRASE_WORDS else [])]
        return TextQuery(
            tuple(terms)[:_MAX_TERMS],
            tuple(" <-> ".join(map(_quoted, _tokens(phrase))) for phrase in phrases[:_MAX_PHRASES]),
        )

    @cached_property
    def exact_patterns(self) -> tuple[tuple[str, re.Pattern[str]], ...]:
        """Each exact part, without capital letters and repeated spaces, and what finds it in a text without them."""
        parts = (" ".join(each.split()).casefold() for each in self.exact)
        return tuple((part, re.compile(rf"(?<!\w){re.escape(part)}(?!\w)")) for part in parts)


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
