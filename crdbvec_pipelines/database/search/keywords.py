"""Keyword search over the input of one vector column: the statement, its parameters, and its execution."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.database.connection import Row
from crdbvec_pipelines.database.expressions import bound_parameters
from crdbvec_pipelines.database.index.text_document import text_index_spec
from crdbvec_pipelines.database.index.text_index import TextIndex
from crdbvec_pipelines.database.search.filters import resolve_filters
from crdbvec_pipelines.database.search.invalid_filters import check_columns, translate_invalid_filters
from crdbvec_pipelines.database.search.keyword_statements import keyword_matches
from crdbvec_pipelines.database.search.nearest import abbreviated, literal
from crdbvec_pipelines.database.search.query import SearchQuery
from crdbvec_pipelines.database.search.recorded_models import RecordedModels
from crdbvec_pipelines.database.search.statements import SearchClauses, explain
from crdbvec_pipelines.database.statement import Statement

Vector = NDArray[np.float32]


@dataclass(frozen=True)
class TextQuery:
    """The words that a keyword search looks for, in the syntax of `to_tsquery`, which both servers have.

    Attributes:
        terms: The words, of which a row must contain at least one.
        phrases: What makes a row come first if it contains it.
    """

    terms: tuple[str, ...]
    phrases: tuple[str, ...] = ()

    @property
    def any_term(self) -> str:
        """What finds the rows that contain at least one of the words."""
        return " | ".join(self.terms)


class KeywordSearch:
    """Keyword searches over the input of one vector column on an open database.

    Args:
        column: The vector column, which exists in the table.
        models: Its models, of which one made the vectors of the searches.

    Raises:
        ConfigurationError: The entry has no text index.
        TableError: No column of the input can be part of a text index.
    """

    def __init__(self, column: BoundColumn, models: RecordedModels) -> None:
        text_index_spec(column)
        self._column = column
        self._models = models

    @cached_property
    def index(self) -> str | None:
        """The name of the text index; None if it is not built as configured."""
        return TextIndex(self._column).name

    @property
    def reason(self) -> str:
        """A sentence for users: which index, or why every row is compared."""
        if self.index is not None:
            return f"Keywords: index scan of {self.index}."
        return "Keywords: all rows are compared, because the text index is not built; run `crdbvec index build`."

    def find(self, text: TextQuery, query: SearchQuery, vector: Vector | None = None) -> list[Row]:
        """Return distance, rank, number of phrases, input, key and further columns of the rows, best first.

        Args:
            text: The words.
            query: Limit, filters and further columns.
            vector: What the distance is from; None returns no distance.

        Raises:
            TableError: A column of the query does not exist, or a value is not valid for the type of its column.
            ColumnExchanged: The column has the vectors of another model than that of `vector` now.
            DatabaseError: The server rejected the search.
        """
        conditions = resolve_filters(self._column.table, query.filters)
        statement, parameters = self._build(text, query, vector)
        if vector is not None:
            return self._models.fetch(statement, parameters, conditions)
        with translate_invalid_filters(self._column, conditions):
            return self._column.database.fetch(statement, parameters)

    def explain(self, text: TextQuery, query: SearchQuery, vector: Vector | None = None) -> list[str]:
        """Return the lines of the server's query plan."""
        statement, parameters = self._build(text, query, vector)
        rows = self._column.database.fetch(explain(statement.composed), parameters)
        return abbreviated(str(row[0]) for row in rows)

    def sql(self, text: TextQuery, query: SearchQuery, vector: Vector | None = None) -> str:
        """Return the search as SQL text with its values."""
        statement, parameters = self._build(text, query, vector, with_models=False)
        return f"{statement.with_values({name: literal(value) for name, value in parameters.items()})};"

    def _build(
        self, text: TextQuery, query: SearchQuery, vector: Vector | None, *, with_models: bool = True
    ) -> tuple[Statement, Mapping[str, object]]:
        table, support = self._column.table, self._column.database.dialect.vectors
        check_columns(table, query)
        conditions = resolve_filters(table, query.filters)
        clauses = SearchClauses(
            filters_inside=tuple(condition.filter for condition in conditions),
            columns=query.columns,
            has_max_distance=query.max_distance is not None and vector is not None,
            excludes_key=query.exclude_key is not None,
            follower_read=support.follower_read_clause if query.as_of == "follower_read" else None,
            reads_models=with_models and vector is not None and self._models.ids is not None,
        )
        parameters: dict[str, object] = {
            "terms": text.any_term,
            **{f"term_{number}": term for number, term in enumerate(text.terms)},
            **{f"phrase_{number}": phrase for number, phrase in enumerate(text.phrases)},
            "limit": query.limit,
            **({} if vector is None else {"vector": vector}),
            **({} if query.max_distance is None else {"max_distance": query.max_distance}),
            **bound_parameters("key", query.exclude_key),
        }
        for condition in conditions:
            parameters |= condition.parameters(table)
        statement = keyword_matches(
            self._column, clauses, len(text.terms), len(text.phrases), has_vector=vector is not None
        )
        return statement, parameters
