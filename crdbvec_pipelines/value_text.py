"""Values of the database as text and as JSON."""

import json
import math
import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime

# An element of an array or a composite value that needs no quotation marks.
_PLAIN_ELEMENT = re.compile(r"(?!(?i:null)$)[\w.+:-]+")

_MEDIA_TYPES = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"BM": "image/bmp",
    b"II*\0": "image/tiff",
    b"MM\0*": "image/tiff",
    b"%PDF-": "application/pdf",
    b"PK\x03\x04": "application/zip",
    b"\x1f\x8b": "application/gzip",
}


def jsonable(value: object) -> object:
    """Return a value in the types of JSON; numbers that JSON does not have, and values of other types, are text."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else value_text(value)
    if isinstance(value, Mapping):
        return {str(name): jsonable(each) for name, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [jsonable(each) for each in value]
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    return value_text(value)


def key_text(key: Iterable[object]) -> str:
    """Return the values of a primary key, separated by commas, each as it can be typed on the command line."""
    return ", ".join(map(value_text, key))


def value_text(value: object) -> str:
    """Return a value as text that the database reads as this value again."""
    if isinstance(value, (bytes, memoryview)):
        return "\\x" + bytes(value).hex()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, list):
        return "{" + ",".join("NULL" if each is None else _element_text(each) for each in value) + "}"
    if isinstance(value, tuple):
        return "(" + ",".join("" if each is None else _quoted(value_text(each)) for each in value) + ")"
    # A composite value that was read from JSON, which does not keep the order of its fields.
    return json.dumps(jsonable(value), ensure_ascii=False) if isinstance(value, Mapping) else str(value)


def media_type(value: bytes | memoryview) -> str:
    """Return the type of binary content by its first bytes, such as `image/png`."""
    start = bytes(value[:16])
    if start.startswith(b"RIFF") and start[8:12] == b"WEBP":
        return "image/webp"
    return next((name for first, name in _MEDIA_TYPES.items() if start.startswith(first)), "application/octet-stream")


def _element_text(value: object) -> str:
    """Return an element of an array; an inner array is not in quotation marks."""
    return value_text(value) if isinstance(value, list) else _quoted(value_text(value))


def _quoted(text: str) -> str:
    """Return a part of an array or a composite value, in quotation marks if it is not a plain word."""
    if _PLAIN_ELEMENT.fullmatch(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
