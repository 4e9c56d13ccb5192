"""Similarity searches over a vector column: statements for the decision of `strategy`, and their execution.

If an index scan returns too few rows and may have missed some, an exact scan replaces it. Every result states which
strategy gave its rows and why.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from psycopg import sql

from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.database.connection import Row
from crdbvec_pipelines.database.dialects.vector_support import IndexDefinition, SearchEffort, Settings
from crdbvec_pipelines.database.errors import TableError
from crdbvec_pipelines.database.expressions import bound_flags, bound_parameters, range_parameters
from crdbvec_pipelines.database.index.statements import existing_indexes
from crdbvec_pipelines.database.metrics import DISTANCES
from crdbvec_pipelines.database.search.filters import Condition, Filter, resolve_filters
from crdbvec_pipelines.database.search.invalid_filters import (
    check_columns,
    translate_invalid_filters,
    translate_invalid_values,
)
from crdbvec_pipelines.database.search.prefix_values import PrefixValues, Values
from crdbvec_pipelines.database.search.query import SearchQuery
from crdbvec_pipelines.database.search.recorded_models import RecordedModels
from crdbvec_pipelines.database.search.statements import (
    SearchClauses,
    application_search,
    explain,
    nearest_exact,
    nearest_indexed,
    value_of_row,
    vector_of_row,
)
from crdbvec_pipelines.database.search.strategy import (
    SearchDecision,
    Strategy,
    choose_strategy,
    review_index_scan,
    unfiltered_prefix,
)
from crdbvec_pipelines.database.statement import Statement
from crdbvec_pipelines.keyspace import KeyRange

# A query plan repeats the query's vector, which has hundreds of numbers. Vectors of over 60 characters are abbreviated.
_LONG_VECTOR = re.compile(r"'\[[^\]]{60,}\]'")


@dataclass(frozen=True)
class NearestResult:
    """The rows that a search found, nearest first.

    Attributes:
        rows: Distance, input, key and further columns of each row.
        strategy: Index scan or exact scan.
        reason: A sentence for users: which index with which effort, or why no index.
        index: The name of the index; None for an exact scan.
    """

    rows: list[Row]
    strategy: Strategy
    reason: str
    index: str | None


@dataclass(frozen=True)
class NearestKeys:
    """The keys of the rows that a search found, nearest first.

    Attributes:
        found: Distance and key of each row.
        strategy: Index scan or exact scan.
    """

    found: list[tuple[float, tuple[object, ...]]]
    strategy: Strategy


@dataclass(frozen=True)
class PlannedSearch:
    """A form of search, and whether the server uses the vector index for it.

    Attributes:
        form: What searches in this form, as a noun phrase.
        uses_index: Whether the query plan contains the index.
        plan: The lines of the query plan.
    """

    form: str
    uses_index: bool
    plan: list[str]


@dataclass(frozen=True)
class _Search:
    """A decision and what is sent to the server to execute it."""

    decision: SearchDecision
    statement: Statement
    settings: Settings
    parameters: Mapping[str, object]
    conditions: Sequence[Condition]


@dataclass(frozen=True)
class _Choice:
    """A decision, and the values of the prefix columns of which the scan reads all."""

    decision: SearchDecision
    values: Values


class NearestNeighbors:
    """Similarity searches over one vector column on an open database.

    The table and its indexes are read once, when the object is created.

    Args:
        column: The vector column, which exists in the table.
        only_index: The only index that the searches may use, to measure it, also if it is not visible; None for any.

    Attributes:
        models: The models of the column when this object was created.
    """

    def __init__(self, column: BoundColumn, only_index: str | None = None) -> None:
        self._only_index = only_index
        self._column = column
        self._vectors = self._column_with_vectors()
        self._database = column.database
        self._support = column.database.dialect.vectors
        self._table = column.table
        self._spec = column.spec
        self._indexes = self._read_indexes()
        self._prefix_values = PrefixValues(self._vectors)
        self.models = RecordedModels(column)

    def _column_with_vectors(self) -> BoundColumn:
        """Return the column whose vectors and indexes are searched."""
        return self._column

    @property
    def key_columns(self) -> int:
        """The number of columns of the key, which are the third value of a row and those after it."""
        return len(self._table.key)

    @property
    def has_index(self) -> bool:
        """Whether there is a vector index that some searches may use."""
        return bool(self._indexes)

    @property
    def effort(self) -> SearchEffort:
        """The search effort of the index that a search for all rows uses; the server's default kind without one."""
        index = self._indexes.get(self._choose(SearchQuery()).index or "")
        return self._support.effort if index is None else self._support.effort_of(index)

    def find(self, vector: NDArray[np.float32], query: SearchQuery) -> NearestResult:
        """Return the rows nearest to a vector.

        Raises:
            TableError: A column of the query does not exist, or a value is not valid for the type of its column.
            ConfigurationError: The effort exceeds the maximum of the server.
            DatabaseError: The server rejected the search.
        """
        # `max_distance` is checked here, not by the server: a returned row that is too far shows that all nearer rows
        # have been found.
        search = self._search(vector, replace(query, max_distance=None))
        decision = search.decision
        rows = self._fetch(search)
        near = within_distance(rows, query)
        if decision.strategy == "index_scan":
            used = self._used_index(search)
            review = review_index_scan(
                decision,
                query,
                self._support,
                returned=len(rows),
                within_distance=len(near),
                is_index_used=used is not None,
            )
            decision = _by_index(review.decision, used)
            if review.must_rerun:
                near = within_distance(self._fetch(self._build(vector, query, _Choice(decision, {}))), query)
        return NearestResult(near, decision.strategy, decision.reason, decision.index)

    def find_once(self, vector: NDArray[np.float32], query: SearchQuery) -> list[Row]:
        """Return the rows of the chosen strategy, for measurements: no query plan is read and no other scan follows."""
        return within_distance(self._fetch(self._search(vector, query)), query)

    def find_keys(self, vector: NDArray[np.float32], query: SearchQuery, scanned: KeyRange) -> NearestKeys:
        """Return distance and key of the rows nearest to a vector, at a cost that does not grow with the table.

        No input is read, no query plan either, and no other scan follows. Not for chunks.

        Args:
            vector: The vector.
            query: The search.
            scanned: The key range to which an exact scan is limited. An index scan finds rows of the whole table.
        """
        check_columns(self._table, query)
        search = self._build(vector, query, self._choice(query), scanned=scanned, returns_input=False)
        rows = within_distance(self._fetch(search), query)
        found = [(float(distance), tuple(rest[: self.key_columns])) for distance, _, *rest in rows]
        return NearestKeys(found, search.decision.strategy)

    def uses_index(self, vector: NDArray[np.float32], query: SearchQuery) -> bool:
        """Return whether the server's query plan for a search uses the vector index."""
        return self._used_index(self._search(vector, query)) is not None

    def plan_forms(self, vector: NDArray[np.float32], query: SearchQuery) -> list[PlannedSearch]:
        """Return how the server plans a search in each form: as this project and as an application sends it.

        Args:
            vector: The vector to search for.
            query: The search, with a single value for each prefix column of the configured index.
        """
        search = self._search(vector, query)
        forms = {"a search of this project": search}
        spec = self._spec.index
        prefix = tuple(spec.prefix) if spec is not None and self._support.has_prefixes else ()
        form = f"ORDER BY with = on {', '.join(prefix)}" if prefix else "ORDER BY without a condition"
        columns = [self._table.columns[column] for column in prefix]
        forms[form] = replace(search, statement=application_search(self._column, columns))
        planned = {form: self._query_plan(each) for form, each in forms.items()}
        return [
            PlannedSearch(form, self._index_in(plan, search.decision) is not None, plan)
            for form, plan in planned.items()
        ]

    def explain(self, vector: NDArray[np.float32], query: SearchQuery) -> list[str]:
        """Return the lines of the server's query plan for a search."""
        return self._query_plan(self._search(vector, query))

    def sql(self, vector: NDArray[np.float32], query: SearchQuery) -> str:
        """Return the search as SQL text with its settings and values, one statement per line."""
        check_columns(self._table, query)
        search = self._build(vector, query, self._choice(query), with_models=False)
        text = search.statement.with_values({name: literal(value) for name, value in search.parameters.items()})
        settings = [f"SET {name} = {literal(value)};" for name, value in search.settings.items()]
        return "\n".join([*settings, f"{text};"])

    def read_vector(self, key: Sequence[object]) -> NDArray[np.float32]:
        """Return the vector of the row with a key.

        Raises:
            TableError: The row does not exist or has no vector, or the key does not match the key of the table.
        """
        self._check_key(key)
        with translate_invalid_values():
            found = self._database.fetch(vector_of_row(self._column), bound_parameters("key", key))
        if not found or found[0][0] is None:
            raise TableError(self._without_vector(key, exists=bool(found)))
        return np.asarray(found[0][0], np.float32)

    def _check_key(self, key: Sequence[object]) -> None:
        if len(key) != len(self._table.key):
            names = ", ".join(column.name for column in self._table.key)
            raise TableError(f"The key of {self._spec.table} is ({names}); the number of values given is {len(key)}.")

    def _without_vector(self, key: Sequence[object], *, exists: bool) -> str:
        """Return why the vector of a row cannot be read."""
        shown = ", ".join(map(str, key))
        if not exists:
            return f"{self._spec.table} has no row with the key {shown}."
        return f"The row {shown} of {self._spec.table} has no vector yet. Run `crdbvec embed` first."

    def read_prefix(self, key: Sequence[object]) -> dict[str, object]:
        """Return the values of the configured prefix columns of the index in the row with a key."""
        prefix = self._spec.index.prefix if self._spec.index else ()
        parameters = bound_parameters("key", key)
        found = {
            name: self._database.fetch(value_of_row(self._table, self._table.columns[name]), parameters)
            for name in prefix
            if name in self._table.columns
        }
        return {name: rows[0][0] for name, rows in found.items() if rows}

    def _search(self, vector: NDArray[np.float32], query: SearchQuery) -> _Search:
        check_columns(self._table, query)
        return self._build(vector, query, self._choice(query))

    def _choice(self, query: SearchQuery) -> _Choice:
        decision = self._choose(query)
        missing = unfiltered_prefix(query, self._indexes, DISTANCES[self._column.metric].operator_class)
        if decision.strategy != "exact_scan" or not missing:
            return _Choice(decision, {})
        values = self._prefix_values.of(missing)
        if isinstance(values, str):
            return _Choice(replace(decision, reason=f"{decision.reason.removesuffix('.')}; {values}."), {})
        return _Choice(self._choose(query, {name: len(of) for name, of in values.items()}), values)

    def _choose(self, query: SearchQuery, known_values: Mapping[str, int] | None = None) -> SearchDecision:
        return choose_strategy(
            query,
            self._indexes,
            DISTANCES[self._column.metric].operator_class,
            self._support,
            self._spec.index.effort if self._spec.index else None,
            known_values,
        )

    def _build(
        self,
        vector: NDArray[np.float32],
        query: SearchQuery,
        choice: _Choice,
        *,
        with_models: bool = True,
        scanned: KeyRange | None = None,
        returns_input: bool = True,
    ) -> _Search:
        decision = choice.decision
        part = scanned if scanned is not None and decision.strategy == "exact_scan" else KeyRange()
        conditions = resolve_filters(self._table, query.filters)
        filters: dict[str, list[Filter]] = {}
        for condition in conditions:
            filters.setdefault(condition.subject, []).append(condition.filter)
        lists = {name: [Filter(self._table.columns[name], is_list=True)] for name in decision.all_values}
        clauses = SearchClauses(
            filters_inside=_of_subjects(decision.filters_inside, {**filters, **lists}),
            filters_outside=_of_subjects(decision.filters_outside, filters),
            columns=query.columns,
            has_max_distance=query.max_distance is not None,
            excludes_key=query.exclude_key is not None,
            follower_read=self._support.follower_read_clause if query.as_of == "follower_read" else None,
            requires_vector=decision.requires_vector,
            cast=decision.cast,
            reads_models=with_models and self.models.ids is not None,
            all_chunks=query.all_chunks,
            **bound_flags(part),
            returns_input=returns_input,
        )
        positions = {name: position for position, name in enumerate(self._table.columns)}
        parameters: dict[str, object] = {
            "vector": vector,
            "limit": query.limit,
            "fetch": decision.fetch,
            **({} if query.max_distance is None else {"max_distance": query.max_distance}),
            **bound_parameters("key", query.exclude_key),
            **range_parameters(part),
            **{f"filter_{positions[name]}": list(choice.values[name]) for name in decision.all_values},
        }
        for condition in conditions:
            parameters |= condition.parameters(self._table)
        statement, more = self._statement(decision, clauses)
        parameters |= more
        if decision.strategy == "exact_scan":
            return _Search(decision, statement, {}, parameters, conditions)
        settings = {
            **self._support.settings(decision.effort, filtered=decision.is_iterative, is_ivfflat=decision.is_ivfflat),
            **(self._support.hidden_index_settings if self._only_index else {}),
        }
        return _Search(decision, statement, settings, parameters, conditions)

    def _statement(self, decision: SearchDecision, clauses: SearchClauses) -> tuple[Statement, Mapping[str, object]]:
        """Return the statement of a search, and the values of parameters that only it has."""
        build = nearest_exact if decision.strategy == "exact_scan" else nearest_indexed
        return build(self._column, clauses), {}

    def _fetch(self, search: _Search) -> list[Row]:
        """Return the rows of a search.

        Raises:
            ColumnExchanged: The column has the vectors of another model now.
        """
        return self.models.fetch(search.statement, search.parameters, search.conditions, search.settings)

    def _query_plan(self, search: _Search) -> list[str]:
        with translate_invalid_filters(self._column, search.conditions):
            rows = self._database.fetch(explain(search.statement.composed), search.parameters, search.settings)
        return abbreviated(str(row[0]) for row in rows)

    def _read_indexes(self) -> dict[str, IndexDefinition]:
        existing = existing_indexes(self._vectors)
        if self._only_index is not None:
            return {name: index for name, index in existing.items() if name == self._only_index}
        return {name: index for name, index in existing.items() if index.is_visible}

    def _used_index(self, search: _Search) -> str | None:
        """Return the index that the server uses for a search; None if it uses none."""
        if search.decision.index is None:
            return None
        plan = self._query_plan(search)
        used = self._index_in(plan, search.decision)
        if used is None and self._only_index is None:
            # Another index may have taken the place of the one that existed when this object was created.
            self._indexes = self._read_indexes()
            used = self._index_in(plan, search.decision)
        return used

    def _index_in(self, plan: Sequence[str], decision: SearchDecision) -> str | None:
        """Return the index in a query plan. While an index is replaced, it may be either of the two."""
        if decision.index is None:
            return None
        names = [decision.index, *(name for name in self._indexes if name != decision.index)]
        return next((name for name in names if self._support.uses_index(plan, name)), None)


def _by_index(decision: SearchDecision, used: str | None) -> SearchDecision:
    """Return a decision with the index that the server has used, which may be another one than was expected."""
    if decision.index is None or used is None or used == decision.index:
        return decision
    return replace(decision, index=used, reason=decision.reason.replace(decision.index, used, 1))


def _of_subjects(subjects: Sequence[str], filters: Mapping[str, Sequence[Filter]]) -> tuple[Filter, ...]:
    return tuple(each for subject in subjects for each in filters[subject])


def within_distance(rows: Sequence[Row], query: SearchQuery) -> list[Row]:
    """Return the rows that have a distance of at most `max_distance`; a distance of NaN is excluded."""
    farthest = math.inf if query.max_distance is None else query.max_distance
    return [row for row in rows if row[0] <= farthest]


def abbreviated(plan: Iterable[str]) -> list[str]:
    """Return the lines of a query plan with long vectors abbreviated."""
    return [_LONG_VECTOR.sub("'[...]'", line) for line in plan]


def literal(value: object) -> str:
    """Return a value as an SQL literal."""
    if isinstance(value, np.ndarray):
        # Nine digits restore every float32 exactly.
        return "'[" + ",".join(f"{number:.9g}" for number in value) + "]'"
    return sql.Literal(value).as_string()
