"""Answers a similarity search by the index where that is right, and exactly where it is not; says which it was.

What makes an index unfit: there is none for the metric, one of its prefix columns is not pinned, or a filter that it
does not know. A filter is then applied to more rows than are wanted. Where the index gives fewer rows than wanted, and
may have missed some, the search is exact.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import sql

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.connection import Database, Row
from crdbvec_pipelines.database.dialects.vectors import IndexDefinition, Settings
from crdbvec_pipelines.database.errors import DatabaseError, TableError
from crdbvec_pipelines.database.expressions import bound_parameters
from crdbvec_pipelines.database.introspect import Table
from crdbvec_pipelines.database.metrics import DISTANCES
from crdbvec_pipelines.database.similarity import (
    Filter,
    Shape,
    explain,
    nearest_exact,
    nearest_indexed,
    vector_of_row,
)
from crdbvec_pipelines.database.statement import Statement
from crdbvec_pipelines.database.vector_index import existing_indexes
from crdbvec_pipelines.encoding.contract import Metric
from crdbvec_pipelines.errors import ConfigurationError
from crdbvec_pipelines.keyspace import Bound

_OVERFETCH = 10
# What a plan quotes of the vector that is searched for; nobody reads hundreds of numbers.
_LONG_VECTOR = re.compile(r"'\[[^\]]{60,}\]'")
# Values that are not of their column's type: SQLSTATE class 22, data exceptions.
_DATA_EXCEPTION = "22"

Where = Mapping[str, object]
"""Columns and the value, or the list of values, that each may have; None is NULL."""


@dataclass(frozen=True)
class Wish:
    """What a search asks for, but for the vector.

    Attributes:
        limit: rows wanted.
        where: filters; a row must have one of the values in each column.
        exact: compare every row, index or not.
        effort: beam size or ef_search; the configuration's or the server's if None.
        within: leave out rows that are farther.
        columns: further columns to show.
        past: read a little in the past, from the nearest replica.
        without: the key of a row to leave out.
    """

    limit: int = 10
    where: Where | None = None
    exact: bool = False
    effort: int | None = None
    within: float | None = None
    columns: tuple[str, ...] = ()
    past: bool = False
    without: Bound | None = None


@dataclass(frozen=True)
class Answer:
    """Rows as (distance, input, key and further columns), and how they were found."""

    rows: list[Row]
    how: str
    by_index: bool


@dataclass(frozen=True)
class _Route:
    statement: Statement
    settings: Settings
    fetch: int
    how: str
    index: str | None = None
    effort: int | None = None
    filtered: bool = False
    """Whether the index does not serve all filters itself."""


class Nearest:
    """Similarity searches over one vector column on an open database.

    Args:
        database: an open connection.
        table: the table, with the vector column.
        spec: what the configuration says.
        metric: the column's metric.
    """

    def __init__(self, database: Database, table: Table, spec: VectorColumn, metric: Metric) -> None:
        self._database = database
        self._table = table
        self._spec = spec
        self._metric = metric
        self._indexes = existing_indexes(database, table, spec)

    def find(self, vector: NDArray[np.float32], wish: Wish) -> Answer:
        """The rows nearest to a vector.

        Raises:
            TableError: a column of the wish does not exist, or a value is not of its column's type.
            ConfigurationError: the effort is beyond what the server takes.
            DatabaseError: the server refused the search.
        """
        # The distance is looked at here, not by the server: whether any row was too far tells whether all near ones
        # have been seen.
        route = self._route(replace(wish, within=None))
        parameters = self._parameters(vector, wish, route.fetch)
        rows = self._ask(route, parameters)
        near = _within(rows, wish)
        if route.index is None:
            return Answer(near, route.how, False)
        by_index = self._uses_index(route, parameters)
        how = route.how if by_index else "exactly, since the server found that cheaper than its index"
        is_short = len(near) == len(rows) < wish.limit
        if is_short and not (by_index and self._has_seen_all(route, len(rows))):
            if by_index:
                of = "the filter leaves in the index" if route.filtered else "the index found"
                how = f"exactly, since {of} only {len(rows)} of the {wish.limit} rows wanted"
            rows = self._ask(self._exact(wish, how), parameters)
            return Answer(_within(rows, wish), how, False)
        return Answer(near, how, by_index)

    def rows(self, vector: NDArray[np.float32], wish: Wish) -> list[Row]:
        """What the first try finds, by the index if it can be, without looking at how: for measuring."""
        route = self._route(wish)
        return _within(self._ask(route, self._parameters(vector, wish, route.fetch)), wish)

    def would_use_index(self, vector: NDArray[np.float32], wish: Wish) -> bool:
        """Whether the server plans to answer a search by the vector index."""
        route = self._route(wish)
        return self._uses_index(route, self._parameters(vector, wish, route.fetch))

    def explain(self, vector: NDArray[np.float32], wish: Wish) -> list[str]:
        """The server's plan for a search, line by line."""
        route = self._route(wish)
        return self._plan(route, self._parameters(vector, wish, route.fetch))

    def sql(self, vector: NDArray[np.float32], wish: Wish) -> str:
        """The search as SQL that can be copied, with its values and settings in it."""
        route = self._route(wish)
        parameters = self._parameters(vector, wish, route.fetch)
        text = route.statement.with_values({name: _literal(value) for name, value in parameters.items()})
        settings = [f"SET {name} = {_literal(value)};" for name, value in route.settings.items()]
        return "\n".join([*settings, f"{text};"])

    def vector_of(self, key: Sequence[object]) -> NDArray[np.float32]:
        """The vector of the row with a key.

        Raises:
            TableError: there is no such row, it has no vector yet, or this is no key of the table.
        """
        if len(key) != len(self._table.key):
            names = ", ".join(column.name for column in self._table.key)
            raise TableError(f"The key of {self._spec.table} is ({names}), and {len(key)} values are given for it.")
        with _values_fit():
            found = self._database.fetch(vector_of_row(self._table, self._spec), bound_parameters("key", key))
        if not found or found[0][0] is None:
            shown = ", ".join(map(str, key))
            raise TableError(
                f"{self._spec.table} has no row with the key {shown}."
                if not found
                else f"The row {shown} of {self._spec.table} has no vector yet; run crdbvec embed first."
            )
        return np.asarray(found[0][0], np.float32)

    def _parameters(self, vector: NDArray[np.float32], wish: Wish, fetch: int) -> dict[str, object]:
        places = {name: place for place, name in enumerate(self._table.columns)}
        values = {
            f"where_{places[name]}_{number}": value
            for name, given in (wish.where or {}).items()
            for number, value in enumerate(value for value in _values(given) if value is not None)
        }
        within = {} if wish.within is None else {"within": wish.within}
        key = bound_parameters("key", wish.without)
        return {"vector": vector, "limit": wish.limit, "fetch": fetch, **values, **within, **key}

    def _where(self, wish: Wish) -> list[Filter]:
        for name in (*(wish.where or {}), *wish.columns):
            if name not in self._table.columns:
                raise TableError(
                    f"{self._spec.table} has no column {name}; its columns are {', '.join(self._table.columns)}."
                )
        given = {name: _values(values) for name, values in (wish.where or {}).items()}
        return [
            Filter(self._table.columns[name], sum(value is not None for value in values), None in values)
            for name, values in given.items()
        ]

    def _ask(self, route: _Route, parameters: Mapping[str, object]) -> list[Row]:
        with _values_fit():
            return self._database.fetch(route.statement, parameters, route.settings)

    def _has_seen_all(self, route: _Route, found: int) -> bool:
        support = self._database.dialect.vectors
        return not route.filtered and support.has_seen_all(found, route.effort)

    def _route(self, wish: Wish) -> _Route:
        if wish.exact:
            return self._exact(wish, "exactly, as asked")
        opclass = DISTANCES[self._metric].operator_class
        whole = {name: index for name, index in self._indexes.items() if index.holds_every_vector}
        fitting = {name: index for name, index in whole.items() if index.operator_class == opclass}
        if not fitting:
            reason = "there is no vector index"
            if self._indexes:
                others = ", ".join(sorted(whole or self._indexes))
                reason = f"the index {others} is for {'another metric' if whole else 'some of the rows only'}"
            return self._exact(wish, f"exactly, since {reason}")
        asked = {each.column.name for each in self._where(wish)}
        usable = {name: index for name, index in fitting.items() if asked.issuperset(index.prefix)}
        if not usable:
            name, index = next(iter(fitting.items()))
            prefix = ", ".join(index.prefix)
            return self._exact(wish, f"exactly, since the index {name} needs a value for each of its prefix ({prefix})")
        name, index = max(usable.items(), key=lambda item: len(item[1].prefix))
        return self._indexed(wish, name, index)

    def _indexed(self, wish: Wish, name: str, index: IndexDefinition) -> _Route:
        support = self._database.dialect.vectors
        where = self._where(wish)
        # Prefix columns first, in their order, as one would write it by hand.
        prefixed = sorted((e for e in where if e.column.name in index.prefix), key=lambda e: _place(e, index))
        others = [each for each in where if each.column.name not in index.prefix]
        inside = [*prefixed, *others] if support.searches_within_filters else prefixed
        outside = [] if support.searches_within_filters else others
        fetch = (wish.limit + (1 if wish.without else 0)) * (_OVERFETCH if outside else 1)
        effort = wish.effort or (self._spec.index.effort if self._spec.index else None)
        if effort is not None and effort > support.effort.largest:
            raise ConfigurationError(
                f"{support.effort.setting} goes up to {support.effort.largest:,}, and {effort:,} is asked for."
            )
        shape = replace(self._shape(wish), pinned=tuple(inside), filtered=tuple(outside), partial=index.is_partial)
        goes_on = (bool(others) and not outside) or fetch > (effort or support.effort.default)
        how = f"by the index {name}" + (f", {support.effort.setting} {effort}" if effort else "")
        return _Route(
            nearest_indexed(self._table, self._spec, self._metric, shape),
            support.settings(effort, filtered=goes_on),
            fetch,
            f"{how}, the filter applied to its nearest {fetch} rows" if outside else how,
            name,
            effort,
            filtered=bool(others),
        )

    def _exact(self, wish: Wish, how: str) -> _Route:
        shape = replace(self._shape(wish), pinned=tuple(self._where(wish)))
        return _Route(nearest_exact(self._table, self._spec, self._metric, shape), {}, wish.limit, how)

    def _shape(self, wish: Wish) -> Shape:
        past = self._database.dialect.vectors.slightly_past if wish.past else None
        return Shape(
            columns=wish.columns,
            within=wish.within is not None,
            without_self=wish.without is not None,
            past=past,
        )

    def _plan(self, route: _Route, parameters: Mapping[str, object]) -> list[str]:
        with _values_fit():
            rows = self._database.fetch(explain(route.statement.composed), parameters, route.settings)
        return [_LONG_VECTOR.sub("'[...]'", str(row[0])) for row in rows]

    def _uses_index(self, route: _Route, parameters: Mapping[str, object]) -> bool:
        return route.index is not None and self._database.dialect.vectors.uses_index(
            self._plan(route, parameters), route.index
        )


def _values(given: object) -> Sequence[object]:
    """The values of a filter, of which one may be given alone."""
    return tuple(given) if isinstance(given, (list, tuple, set, frozenset)) else (given,)


def _place(each: Filter, index: IndexDefinition) -> int:
    return index.prefix.index(each.column.name)


def _within(rows: Sequence[Row], wish: Wish) -> list[Row]:
    """The rows that have a distance, and are near enough."""
    farthest = math.inf if wish.within is None else wish.within
    return [row for row in rows if row[0] <= farthest]


@contextmanager
def _values_fit() -> Iterator[None]:
    """Tells a value that is not of its column's type from a search that failed."""
    try:
        yield
    except DatabaseError as error:
        cause = error.__cause__
        if not isinstance(cause, psycopg.Error) or not (error.sqlstate or "").startswith(_DATA_EXCEPTION):
            raise
        raise TableError(f"A value does not fit its column: {cause.diag.message_primary}.") from error


def _literal(value: object) -> str:
    if isinstance(value, np.ndarray):
        # Nine digits give back every float32 as it was.
        return "'[" + ",".join(f"{number:.9g}" for number in value) + "]'"
    return sql.Literal(value).as_string()
