"""Answers a similarity search by the index where that is right, and exactly where it is not; says which it was.

What makes an index unfit: there is none for the metric, one of its prefix columns is not pinned, or a filter that it
does not know. A filter is then applied to more rows than are wanted, and if too few are left, the search is exact.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from psycopg import sql

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.connection import Database, Row
from crdbvec_pipelines.database.dialects.vectors import IndexDefinition, Settings
from crdbvec_pipelines.database.errors import TableError
from crdbvec_pipelines.database.expressions import bound_parameters
from crdbvec_pipelines.database.introspect import Column, Table
from crdbvec_pipelines.database.metrics import DISTANCES
from crdbvec_pipelines.database.similarity import Shape, explain, nearest_exact, nearest_indexed, vector_of_row
from crdbvec_pipelines.database.statement import Statement
from crdbvec_pipelines.database.vector_index import existing_indexes
from crdbvec_pipelines.encoding.contract import Metric
from crdbvec_pipelines.keyspace import Bound

_OVERFETCH = 10

Where = Mapping[str, Sequence[object]]
"""Columns and the values each may have."""


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
    complete: bool = True
    """Whether fewer rows than wanted can only mean that there are no more."""


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
            TableError: a column of the wish does not exist.
            DatabaseError: the server refused the search, for example a value that is not of its column's type.
        """
        route = self._route(wish)
        parameters = self._parameters(vector, wish, route.fetch)
        rows = self._database.fetch_with(route.settings, route.statement, parameters)
        if len(rows) < wish.limit and not route.complete:
            exact = self._exact(wish, f"exactly, since the index found only {len(rows)} rows that fulfil the filter")
            return Answer(self._database.fetch(exact.statement, parameters), exact.how, False)
        if route.index is None:
            return Answer(rows, route.how, False)
        if self._uses_index(route, parameters):
            return Answer(rows, route.how, True)
        return Answer(rows, "exactly, since the server found that cheaper than its index", False)

    def rows(self, vector: NDArray[np.float32], wish: Wish) -> list[Row]:
        """What the first try finds, by the index if it can be, without looking at how: for measuring."""
        route = self._route(wish)
        return self._database.fetch_with(route.settings, route.statement, self._parameters(vector, wish, route.fetch))

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
        text = route.statement.text
        # Longer names first, so that none is taken for the beginning of another.
        for name in sorted(parameters, key=len, reverse=True):
            text = text.replace(f"%({name})s", _literal(parameters[name]))
        settings = [f"SET {name} = {_literal(value)};" for name, value in route.settings.items()]
        return "\n".join([*settings, f"{text};"])

    def vector_of(self, key: Sequence[object]) -> NDArray[np.float32]:
        """The vector of the row with a key.

        Raises:
            TableError: there is no such row, or it has no vector yet.
        """
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
            f"where_{places[column.name]}_{number}": value
            for column, _ in self._where(wish)
            for number, value in enumerate((wish.where or {})[column.name])
        }
        within = {} if wish.within is None else {"within": wish.within}
        key = bound_parameters("key", wish.without)
        return {"vector": vector, "limit": wish.limit, "fetch": fetch, **values, **within, **key}

    def _where(self, wish: Wish) -> list[tuple[Column, int]]:
        for name in (*(wish.where or {}), *wish.columns):
            if name not in self._table.columns:
                raise TableError(
                    f"{self._spec.table} has no column {name}; its columns are {', '.join(self._table.columns)}."
                )
        return [(self._table.columns[name], len(values)) for name, values in (wish.where or {}).items()]

    def _route(self, wish: Wish) -> _Route:
        if wish.exact:
            return self._exact(wish, "exactly, as asked")
        opclass = DISTANCES[self._metric].operator_class
        fitting = {name: index for name, index in self._indexes.items() if index.operator_class == opclass}
        if not fitting:
            others = ", ".join(sorted(self._indexes))
            reason = f"the index {others} is for another metric" if others else "there is no vector index"
            return self._exact(wish, f"exactly, since {reason}")
        asked = {column.name for column, _ in self._where(wish)}
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
        inside = [entry for entry in where if support.searches_within_filters or entry[0].name in index.prefix]
        outside = [entry for entry in where if entry not in inside]
        rest = [entry for entry in inside if entry[0].name not in index.prefix]
        fetch = (wish.limit + (1 if wish.without else 0)) * (_OVERFETCH if outside else 1)
        effort = wish.effort or (self._spec.index.effort if self._spec.index else None)
        shape = replace(self._shape(wish), pinned=tuple(inside), filtered=tuple(outside), partial=index.partial)
        goes_on = bool(rest) or fetch > (effort or support.effort.default)
        how = f"by the index {name}, {support.effort.setting} {effort or support.effort.default}"
        return _Route(
            nearest_indexed(self._table, self._spec, self._metric, shape),
            support.settings(effort, filtered=goes_on),
            fetch,
            f"{how}, the filter applied to its nearest {fetch} rows" if outside else how,
            name,
            complete=(not outside and not rest) or wish.within is not None,
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
        rows = self._database.fetch_with(route.settings, explain(sql.SQL(route.statement.text)), parameters)
        return [str(row[0]) for row in rows]

    def _uses_index(self, route: _Route, parameters: Mapping[str, object]) -> bool:
        return route.index is not None and self._database.dialect.vectors.uses_index(
            self._plan(route, parameters), route.index
        )


def _literal(value: object) -> str:
    if isinstance(value, np.ndarray):
        return "'[" + ",".join(f"{number:.8g}" for number in value) + "]'"
    return sql.Literal(value).as_string()
