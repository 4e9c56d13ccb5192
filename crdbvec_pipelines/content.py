"""The one definition of "no content": white space and invisible characters, for Python and for SQL.

A text has content if any of its characters is neither white space nor invisible, that is, has neither the Unicode
property White_Space nor Default_Ignorable_Code_Point. A NULL and an empty text have none. `tests/test_content.py`
compares this module with the statements of both servers over all of these characters and their neighbors.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import groupby

# Unicode 16: White_Space (PropList.txt) and Default_Ignorable_Code_Point (DerivedCoreProperties.txt), merged where they
# adjoin. The `unicodedata` module has neither property.
RANGES: Sequence[tuple[int, int]] = (
    (0x09, 0x0D),  # tab, line feed, line tabulation, form feed, carriage return
    (0x20, 0x20),  # space
    (0x85, 0x85),  # next line
    (0xA0, 0xA0),  # no-break space
    (0xAD, 0xAD),  # soft hyphen
    (0x034F, 0x034F),  # combining grapheme joiner
    (0x061C, 0x061C),  # Arabic letter mark
    (0x115F, 0x1160),  # Hangul fillers
    (0x1680, 0x1680),  # Ogham space mark
    (0x17B4, 0x17B5),  # Khmer inherent vowels
    (0x180B, 0x180F),  # Mongolian variation selectors and vowel separator
    (0x2000, 0x200F),  # spaces of several widths, zero-width characters, direction marks
    (0x2028, 0x202F),  # line and paragraph separators, embeddings and overrides, narrow no-break space
    (0x205F, 0x206F),  # mathematical space, word joiner, invisible operators, isolates
    (0x3000, 0x3000),  # ideographic space
    (0x3164, 0x3164),  # Hangul filler
    (0xFE00, 0xFE0F),  # variation selectors
    (0xFEFF, 0xFEFF),  # byte order mark
    (0xFFA0, 0xFFA0),  # half-width Hangul filler
    (0xFFF0, 0xFFF8),  # reserved, default ignorable
    (0x1BCA0, 0x1BCA3),  # shorthand format controls
    (0x1D173, 0x1D17A),  # musical format controls
    (0xE0000, 0xE0FFF),  # tags, variation selectors, reserved
)
"""The first and the last code point of each range of characters that are no content, in ascending order."""

_MAX_CODE_POINT = 0x10FFFF


def has_content(text: str) -> bool:
    """Return whether a text has any character that is neither white space nor invisible."""
    return _CONTENT.search(text) is not None


def content_ranges() -> Iterator[tuple[int, int]]:
    """Yield the ranges of characters that are content: those between the ones of `RANGES`, without U+0000."""
    start = 1
    for first, last in RANGES:
        yield start, first - 1
        start = last + 1
    yield start, _MAX_CODE_POINT


def content_pattern(escape: str) -> str:
    """Return a regular expression for one character that is content, in ASCII.

    Args:
        escape: How the regular expressions write a character, for `str.format` with its code point.
    """
    members = (
        escape.format(first) if first == last else f"{escape.format(first)}-{escape.format(last)}"
        for first, last in RANGES
    )
    return f"[^{''.join(members)}]"


def encoded_characters(codec: str) -> list[bytes]:
    """Return the bytes of each character without content, in order.

    Args:
        codec: The encoding, as Python names it. Characters that it lacks are omitted.
    """
    characters = (chr(point) for first, last in RANGES for point in range(first, last + 1))
    return sorted({character.encode(codec, errors="ignore") for character in characters} - {b""})


def no_content_hex_pattern(codec: str) -> str:
    """Return a regular expression for the bytes of a text without content, in hexadecimal digits.

    The pattern is ASCII and the bytes need no conversion, so it works in databases whose encoding lacks characters.
    """
    return f"^({_alternatives(encoded_characters(codec))})*$"


def _alternatives(sequences: Sequence[bytes]) -> str:
    """Return a pattern for any of some sorted byte sequences, of which none is the start of another."""
    first_by_rest: dict[str, list[int]] = {}
    for first, group in groupby(sequences, key=lambda sequence: sequence[0]):
        rest = [sequence[1:] for sequence in group if len(sequence) > 1]
        first_by_rest.setdefault(f"({_alternatives(rest)})" if rest else "", []).append(first)
    return "|".join(f"({_bytes(values)}){rest}" if rest else _bytes(values) for rest, values in first_by_rest.items())


def _bytes(values: Sequence[int]) -> str:
    """Return a pattern for one of some bytes, as two hexadecimal digits."""
    high_digits_by_low: dict[str, str] = {}
    for high, group in groupby(sorted(values), key=lambda value: value >> 4):
        low_digits = "".join(f"{value & 15:x}" for value in group)
        high_digits_by_low[low_digits] = high_digits_by_low.get(low_digits, "") + f"{high:x}"
    return "|".join(_digit(high) + _digit(low) for low, high in high_digits_by_low.items())


def _digit(digits: str) -> str:
    return digits if len(digits) == 1 else f"[{digits}]"


_CONTENT = re.compile(content_pattern(r"\U{:08x}"))
