"""A table's primary keys, as planning partitions needs them: how many, from where to where, every how many rows."""

from crdbvec_pipelines.database import row_statements as statements
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.estimate import estimate_rows
from crdbvec_pipelines.database.expressions import bound_parameters
from crdbvec_pipelines.database.introspect import Table
from crdbvec_pipelines.keyspace import Bound, KeyValue


class TableKeys:
    """The keys of one table on an open database."""

    def __init__(self, database: Database, table: Table) -> None:
        self.table = table
        self._database = database

    def estimate_rows(self) -> int:
        """About how many rows the table has: the server's estimate, else a count."""
        return estimate_rows(self._database, self.table)

    def first_and_last(self) -> tuple[KeyValue, ...]:
        """The smallest and the largest value of a key of one column; empty for an empty table."""
        return tuple(value for (value,) in self._database.fetch(statements.first_and_last_key(self.table)))

    def at_stride(self, start: Bound | None, stride: int) -> Bound | None:
        """The key `stride` rows behind the key `start` (or the first row); None where the table ends before."""
        statement = statements.key_at_stride(self.table, start=start is not None)
        found = self._database.fetch(statement, {**bound_parameters("lower", start), "stride": stride})
        return found[0] if found else None
