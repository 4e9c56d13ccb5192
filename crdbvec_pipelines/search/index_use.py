"""Whether the server uses the vector index for searches of the role that asks, according to its query plans.

Its definition does not tell: a policy, a predicate or the implicit prefix of a regional table can prevent its use.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from crdbvec_pipelines.database.chunks.table import vectors_of
from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.database.diagnosis.statements import has_row_security
from crdbvec_pipelines.database.search.nearest import NearestNeighbors, PlannedSearch
from crdbvec_pipelines.database.search.query import SearchQuery
from crdbvec_pipelines.search.recall import sample_queries


@dataclass(frozen=True)
class IndexUse:
    """How the server plans some searches.

    Attributes:
        plans: For each search, its forms.
        has_row_security: Whether row-level security applies to the role.
    """

    plans: Sequence[Sequence[PlannedSearch]]
    has_row_security: bool

    @property
    def planned(self) -> list[PlannedSearch]:
        """All planned searches."""
        return [each for forms in self.plans for each in forms]

    @property
    def without_index(self) -> list[PlannedSearch]:
        """The planned searches for which the server does not use the index."""
        return [each for each in self.planned if not each.uses_index]

    @property
    def is_used(self) -> bool:
        """Whether the server uses the index for all forms of all searches."""
        return bool(self.plans) and not self.without_index

    @property
    def searches(self) -> int:
        """The number of searches."""
        return len(self.plans)

    @property
    def searches_by_index(self) -> int:
        """The number of searches for which the server uses the index in all forms."""
        return sum(all(each.uses_index for each in forms) for forms in self.plans)

    @property
    def by_form(self) -> dict[str, bool]:
        """Whether the server uses the index, by the form of the search."""
        without = {each.form for each in self.without_index}
        return {each.form: each.form not in without for each in self.planned}

    @property
    def notes(self) -> list[str]:
        """Sentences about the cause, if it is known."""
        used = [form for form, is_used in self.by_form.items() if is_used]
        unused = [form for form, is_used in self.by_form.items() if not is_used]
        notes = []
        if used and unused:
            notes.append(f"The index is used for {', '.join(used)}, and not for {', '.join(unused)}.")
        if unused and self.has_row_security:
            notes.append(
                "Row-level security applies to this role, and the condition of a policy can take the index out of use."
            )
        return notes


def read_index_use(column: BoundColumn, searches: int) -> IndexUse:
    """Return how the server plans a number of searches for vectors between rows of the table; none is executed.

    Raises:
        DatabaseError: The server rejected a statement.
    """
    column = vectors_of(column)
    nearest = NearestNeighbors(column)
    plans = [
        nearest.plan_forms(vector, SearchQuery(filters=filters)) for vector, filters in sample_queries(column, searches)
    ]
    (applies,) = column.database.fetch_one(has_row_security(column.database.dialect), {"oid": column.table.oid})
    return IndexUse(plans, bool(applies))
