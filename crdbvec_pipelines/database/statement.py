"""SQL statements, and the register of the functions that build them.

Every statement that reaches a server is built by a function that is marked with `@statement`. The ledger test builds
all of them for each dialect and compares the texts with `tests/snapshots/`, so every change of SQL is reviewed.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, wraps
from typing import Literal, ParamSpec

from psycopg import sql

P = ParamSpec("P")

AsOf = Literal["now", "follower_read"]
"""The time that a query reads: `now`, or the recent past from the nearest replica."""

_registered: set[str] = set()
_follower_reads: set[str] = set()

# A percent sign that does not start a placeholder.
_PERCENT = re.compile(r"%(?!\([a-z_0-9]+\)s)")
_PLACEHOLDER = re.compile(r"%\(([a-z_0-9]+)\)s")


class FollowerReadClause(sql.Composed):
    """The place, at the end of the outermost FROM clause, where a query says that it is a follower read.

    Args:
        clause: The clause of the server; None if it has no follower reads.
    """

    def __init__(self, clause: sql.Composable | None) -> None:
        super().__init__([] if clause is None else [clause])


@dataclass(frozen=True)
class Statement:
    """One SQL statement with named parameters (`%(name)s`).

    Attributes:
        name: The name in the ledger and in messages.
        composed: The SQL.
        is_online: Whether it is a DDL statement that blocks neither readers nor writers while it runs.
        needs_custom_plan: Whether its query plan depends on the values of its parameters, so that it is not prepared.
        past: The same query as a follower read; None if it must read the present, or the server has no follower reads.
        present: For a follower read, the same query that reads the present.
        locks_tables: Whether it is a DDL statement that locks several tables, one after the other.
    """

    name: str
    composed: sql.Composable
    is_online: bool = False
    needs_custom_plan: bool = False
    past: sql.Composable | None = None
    present: "Statement | None" = None
    locks_tables: bool = False

    def as_of(self, time: AsOf) -> "Statement":
        """Return the query for a time that it reads. Without a follower read, it reads the present."""
        if time == "now":
            return self.present or self
        return self if self.past is None else replace(self, composed=self.past, past=None, present=self)

    @property
    def text(self) -> str:
        """The SQL text with its placeholders, for messages and the ledger."""
        return self.composed.as_string()

    @cached_property
    def query(self) -> bytes:
        """The text that psycopg executes: percent signs that do not start a placeholder are doubled."""
        return _query(self.composed).encode()

    def with_values(self, values: Mapping[str, str]) -> str:
        """Return the text with the given SQL literals in place of the placeholders, ready to be run in a SQL shell."""
        return _with_values(self.composed, values)


def _query(part: sql.Composable) -> str:
    if isinstance(part, sql.Composed):
        return "".join(map(_query, part))
    text = part.as_string()
    if isinstance(part, sql.SQL):
        return _PERCENT.sub("%%", text)
    # The text of a name or a literal may look like a placeholder, such as `%(this)s`.
    return text if isinstance(part, sql.Placeholder) else text.replace("%", "%%")


def _with_values(part: sql.Composable, values: Mapping[str, str]) -> str:
    if isinstance(part, sql.Composed):
        return "".join(_with_values(each, values) for each in part)
    text = part.as_string()
    if isinstance(part, (sql.SQL, sql.Placeholder)):
        return _PLACEHOLDER.sub(lambda match: values[match[1]], text)
    return text


def statement(build: Callable[P, sql.Composable]) -> Callable[P, Statement]:
    """Decorate a function that composes SQL, so that it returns a `Statement` with the function's name."""
    return _registered_builder(build)


def online_ddl(build: Callable[P, sql.Composable]) -> Callable[P, Statement]:
    """Decorate as `statement`, for a DDL statement that blocks neither readers nor writers while it runs."""
    return _registered_builder(build, is_online=True)


def ddl_of_several_tables(build: Callable[P, sql.Composable]) -> Callable[P, Statement]:
    """Decorate as `statement`, for a DDL statement that locks several tables, one after the other."""
    return _registered_builder(build, locks_tables=True)


def custom_plan(build: Callable[P, sql.Composable]) -> Callable[P, Statement]:
    """Decorate as `statement`, for a query whose plan depends on the values of its parameters.

    A prepared statement soon has a generic plan, in which the limit is unknown. CockroachDB does not search its vector
    index for one.
    """
    return _registered_builder(build, needs_custom_plan=True)


def follower_read(build: Callable[P, sql.Composable]) -> Callable[P, Statement]:
    """Decorate as `statement`, for a query that may read the recent past, at its `FollowerReadClause`.

    The statement reads the present; `Statement.as_of` returns the follower read.
    """
    _follower_reads.add(build.__name__)
    return _registered_builder(build)


def _registered_builder(
    build: Callable[P, sql.Composable],
    *,
    is_online: bool = False,
    needs_custom_plan: bool = False,
    locks_tables: bool = False,
) -> Callable[P, Statement]:
    name = build.__name__
    _registered.add(name)

    @wraps(build)
    def make(*args: P.args, **kwargs: P.kwargs) -> Statement:
        built = build(*args, **kwargs)
        if name not in _follower_reads:
            return Statement(name, built, is_online, needs_custom_plan, locks_tables=locks_tables)
        present, has_clause = _without_follower_read(built)
        return Statement(name, present, past=built if has_clause else None)

    return make


def registered_statements() -> frozenset[str]:
    """Return the names of all statements whose modules have been imported."""
    return frozenset(_registered)


def follower_reads() -> frozenset[str]:
    """Return the names of the registered statements that may read the recent past."""
    return frozenset(_follower_reads)


def _without_follower_read(part: sql.Composable) -> tuple[sql.Composable, bool]:
    """Return a query without its follower read clause, and whether it has one that is not empty."""
    if isinstance(part, FollowerReadClause):
        return sql.Composed([]), bool(part.as_string())
    if not isinstance(part, sql.Composed):
        return part, False
    parts = [_without_follower_read(each) for each in part]
    return sql.Composed([each for each, _ in parts]), any(has_clause for _, has_clause in parts)
