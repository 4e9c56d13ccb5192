"""Texts that must not appear in any output, and the forms in which they could."""

import json
from urllib.parse import quote, quote_plus, urlsplit, urlunsplit

PASSWORD = 'geheim "/@ü 41'
"""A password that a URL, a connection string, JSON and Python each write in another way."""


def forms(text: str) -> set[str]:
    """Return a text as it is, in URLs, in JSON, in Python, and in hexadecimal digits."""
    digits = text.encode().hex()
    escaped = {json.dumps(text), json.dumps(text, ensure_ascii=False), repr(text), ascii(text)}
    return {
        text,
        quote(text),
        quote(text, safe=""),
        quote_plus(text),
        *(each[1:-1] for each in escaped),
        digits,
        digits.upper(),
    }


def shown_in(text: str, *canaries: str) -> list[str]:
    """Return the forms of canaries that a text contains, in any case."""
    return [form for canary in canaries for form in forms(canary) if form.lower() in text.lower()]


def with_password(url: str, password: str = PASSWORD) -> str:
    """Return a URL with a password, which a server that trusts its clients does not ask for."""
    scheme, netloc, path, query, fragment = urlsplit(url)
    user, _, host = netloc.rpartition("@")
    return urlunsplit((scheme, f"{user.partition(':')[0]}:{quote(password, safe='')}@{host}", path, query, fragment))
