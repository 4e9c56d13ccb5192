"""All values of the prefix columns of a vector index, for searches that do not filter by them.

CockroachDB uses the index only if every prefix column is fixed by = or a list of values. If a column has few values, a
search gives all of them, and reads the trees of the index instead of every row of the table. The values are read
through another index that starts with the column, one look-up for each; without such an index, reading them would take
as long as comparing all rows.
"""

import time
from collections.abc import Sequence

from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.database.metrics import VECTOR_TYPES
from crdbvec_pipelines.database.schema.statements import table_indexes
from crdbvec_pipelines.database.search.statements import has_null_value, next_value

MAX_PREFIX_VALUES = 32
"""The maximum number of trees that a search without a filter on the prefix reads; each costs about one search."""
# A search for an hour with the same object must find the rows of new values, and most searches must not read them.
_LIFETIME_SECONDS = 60.0

Values = dict[str, Sequence[object]]


class PrefixValues:
    """The values of prefix columns, read again when they are a minute old.

    Args:
        column: The vector column.
    """

    def __init__(self, column: BoundColumn) -> None:
        self._table = column.table
        self._database = column.database
        self._read: dict[tuple[str, ...], tuple[float, Values | str]] = {}

    def of(self, names: tuple[str, ...]) -> Values | str:
        """Return all values of some columns, or a clause that says why they are not used."""
        now = time.monotonic()
        read_at, found = self._read.get(names, (-_LIFETIME_SECONDS, ""))
        if now - read_at >= _LIFETIME_SECONDS:
            found = self._read_values(names)
            self._read[names] = (now, found)
        return found

    def _read_values(self, names: tuple[str, ...]) -> Values | str:
        indexed = self._leading_columns()
        values: Values = {}
        combinations = 1
        for name in names:
            if name not in indexed:
                return f"no other index starts with {name}, so its values are not read"
            part = self._table.columns[name]
            if part.is_nullable and self._database.fetch(has_null_value(self._table, part)):
                return f"{name} is NULL in some rows"
            values[name] = self._values_of(name, MAX_PREFIX_VALUES // combinations + 1)
            combinations *= max(1, len(values[name]))
            if combinations > MAX_PREFIX_VALUES:
                return f"{', '.join(names)} has more than {MAX_PREFIX_VALUES} values"
        return values

    def _leading_columns(self) -> set[str]:
        """Return the columns that an ordinary index over all rows starts with."""
        vectors = {name for name, column in self._table.columns.items() if column.type_name in VECTOR_TYPES}
        found = self._database.fetch(table_indexes(self._database.dialect), {"oid": self._table.oid})
        return {
            columns[0]
            for _, is_usable, columns, predicate in found
            if is_usable and columns and predicate is None and not vectors & set(columns)
        } & {name for name, column in self._table.columns.items() if column.operator_schema == "pg_catalog"}

    def _values_of(self, name: str, limit: int) -> list[object]:
        """Return the values of a column in order, at most a number of them."""
        part = self._table.columns[name]
        found: list[object] = []
        while len(found) < limit:
            query = next_value(self._table, part, has_after=bool(found))
            rows = self._database.fetch(query, {"after": found[-1]} if found else {})
            if not rows:
                break
            found.append(rows[0][0])
        return found
