"""A statement that may reach a server, and the catalogue of them all.

Every statement is built by a function marked with `@statement`. The ledger test builds each of them for each dialect
and compares with `tests/snapshots/`, so nothing is sent to a production cluster that nobody has read.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, wraps
from typing import ParamSpec

from psycopg import sql

P = ParamSpec("P")

_catalogue: set[str] = set()

_PERCENT = re.compile(r"%(?!\([a-z_0-9]+\)s)")
_PLACEHOLDER = re.compile(r"%\(([a-z_0-9]+)\)s")


@dataclass(frozen=True)
class Statement:
    """One SQL statement with named parameters (`%(name)s`), and what it is called in the ledger."""

    name: str
    composed: sql.Composable

    @property
    def text(self) -> str:
        """The statement as people read it."""
        return self.composed.as_string()

    @cached_property
    def query(self) -> bytes:
        """What psycopg executes: percent signs that start no placeholder of ours are doubled."""
        return _query(self.composed).encode()

    def with_values(self, values: Mapping[str, str]) -> str:
        """The statement with SQL literals in place of its parameters, as somebody may copy it."""
        return _filled(self.composed, values)


def _query(part: sql.Composable) -> str:
    if isinstance(part, sql.Composed):
        return "".join(map(_query, part))
    text = part.as_string()
    if isinstance(part, sql.SQL):
        return _PERCENT.sub("%%", text)
    # A name or a template may look like a placeholder, `%(this)s`, and is none.
    return text if isinstance(part, sql.Placeholder) else text.replace("%", "%%")


def _filled(part: sql.Composable, values: Mapping[str, str]) -> str:
    if isinstance(part, sql.Composed):
        return "".join(_filled(each, values) for each in part)
    text = part.as_string()
    if isinstance(part, (sql.SQL, sql.Placeholder)):
        return _PLACEHOLDER.sub(lambda match: values[match[1]], text)
    return text


def statement(build: Callable[P, sql.Composable]) -> Callable[P, Statement]:
    """Turns a function that composes SQL into one that makes a `Statement` of the function's name."""
    name = build.__name__
    _catalogue.add(name)

    @wraps(build)
    def make(*args: P.args, **kwargs: P.kwargs) -> Statement:
        return Statement(name, build(*args, **kwargs))

    return make


def catalogue() -> frozenset[str]:
    """The names of all statements whose modules have been imported."""
    return frozenset(_catalogue)
