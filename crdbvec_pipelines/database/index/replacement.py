"""An index that takes the place of another one, which searches use until the new one is built.

The new index is built under a name of its own; CockroachDB hides it until then. Then the old one is dropped without
blocking searches, and the new one is renamed. Each step can be repeated, and the catalog shows which one comes next, so
an interrupted replacement is continued by the next one.
"""

from collections.abc import Callable
from typing import Literal

from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.database.index.build import IndexBuild
from crdbvec_pipelines.database.index.statements import (
    drop_index_online,
    existing_indexes,
    rename_index,
    show_index,
    vector_index_names,
)
from crdbvec_pipelines.database.schema.ddl import change_schema
from crdbvec_pipelines.database.schema.statements import table_indexes

ReplacementState = Literal["building", "unfinished", "built", "in use"]
"""How far a replacement is: until `built`, searches use the old index; from `in use` on, only the new one."""

_CONTINUE = "Run `crdbvec index build --replace` to continue."


class IndexReplacement:
    """The replacement of the vector index of a column.

    Attributes:
        index: The name of the new index until it is renamed.
        replaced: The name of the old index, which is that of the new one at the end.

    Args:
        column: The vector column.
        replaced: The name of the old index.
    """

    def __init__(self, column: BoundColumn, replaced: str) -> None:
        *_, self.index = vector_index_names(column.spec, column.table.oid)
        self.replaced = replaced
        self._column = column
        self._database = column.database

    @property
    def state(self) -> ReplacementState | None:
        """How far the replacement is; None if there is no new index."""
        complete, all_names = existing_indexes(self._column), self._names()
        if self.index in complete:
            return "built" if self.replaced in complete else "in use"
        if self.index not in all_names:
            return None
        return "building" if all_names[self.index] else "unfinished"

    def description(self, state: ReplacementState) -> str:
        """Return what a state means and what to do, in one or two sentences."""
        return {
            "building": f"The index {self.index}, which replaces {self.replaced}, is being built.",
            "unfinished": f"The build of {self.index}, which replaces {self.replaced}, was interrupted. {_CONTINUE}",
            "built": f"The index {self.index} is built and has not replaced {self.replaced} yet. {_CONTINUE}",
            "in use": f"The index {self.index} is in use and is not named {self.replaced} yet. {_CONTINUE}",
        }[state]

    def build(self, on_progress: Callable[[float], None]) -> None:
        """Build the new index, hidden if the server can hide it; what an interrupted build has left is dropped."""
        IndexBuild(self._column, self.index, is_visible=False).run(on_progress)

    def put_in_use(self) -> None:
        """Let searches use the new index, drop the old one, and give the new one its name."""
        if not existing_indexes(self._column)[self.index].is_visible:
            change_schema(self._database, show_index(self._database.dialect, self._column.table, self.index))
        self.finish()

    def finish(self) -> None:
        """Drop the old index, or what is left of it, and give the new one its name."""
        table, dialect = self._column.table, self._database.dialect
        if self.replaced in self._names():
            change_schema(self._database, drop_index_online(dialect, table, self.replaced))
        change_schema(self._database, rename_index(dialect, table, self.index, self.replaced))

    def drop(self) -> None:
        """Drop the new index."""
        change_schema(self._database, drop_index_online(self._database.dialect, self._column.table, self.index))

    def _names(self) -> dict[str, bool]:
        """Return the names of all indexes of the table, and whether each is valid or being built."""
        found = self._database.fetch(table_indexes(self._database.dialect), {"oid": self._column.table.oid})
        return {name: is_usable for name, is_usable, *_ in found}
