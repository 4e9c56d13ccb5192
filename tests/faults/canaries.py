"""A password and a text that must not be shown anywhere, in every form in which they could be shown."""

import json
from urllib.parse import quote, quote_plus

PASSWORD = 'canary-p@ss "wörd"/%'
"""The password in the database URL. Its forms differ: in a URL, in JSON, in hexadecimal digits."""

ROW_TEXT = 'canary of a "row" \\ 東京'
"""A part of every input."""


def forms(secret: str) -> set[str]:
    """Return a text as it is, and as URLs, JSON, Python and binary values show it."""
    return {
        secret,
        quote(secret),
        quote(secret, safe=""),
        quote_plus(secret),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        ascii(secret)[1:-1],
        secret.encode().hex(),
    }


def found_in(output: str) -> list[str]:
    """Return the forms of both that an output contains, in any case of the letters."""
    lower = output.lower()
    return [form for secret in (PASSWORD, ROW_TEXT) for form in forms(secret) if form.lower() in lower]
