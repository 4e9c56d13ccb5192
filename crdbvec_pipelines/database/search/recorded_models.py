"""The recorded models of a vector column, by which a search sees that its column was exchanged in the meantime."""

from collections.abc import Mapping, Sequence

from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.database.connection import Row
from crdbvec_pipelines.database.dialects.vector_support import Settings
from crdbvec_pipelines.database.errors import ColumnExchanged, DatabaseError, MissingPrivilege, TableError
from crdbvec_pipelines.database.schema.column_metadata import VECTOR_COLUMNS_TABLE, select_models
from crdbvec_pipelines.database.search.filters import Condition
from crdbvec_pipelines.database.search.invalid_filters import translate_invalid_filters
from crdbvec_pipelines.database.statement import Statement
from crdbvec_pipelines.database.table import read_table_oid
from crdbvec_pipelines.naming import TableName


class RecordedModels:
    """The models of a column when this object was created.

    Args:
        column: The vector column.

    Attributes:
        ids: Their ids as JSON; None without a record, and for a role that may not read it.
    """

    def __init__(self, column: BoundColumn) -> None:
        self._column = column
        self.ids = self._read()

    def fetch(
        self,
        statement: Statement,
        parameters: Mapping[str, object],
        conditions: Sequence[Condition],
        settings: Settings | None = None,
    ) -> list[Row]:
        """Return the rows of a search, which reads the models as its first column if there are recorded ones.

        Args:
            statement: The search.
            parameters: Its parameters.
            conditions: The conditions of its filters, for errors about their values.
            settings: The settings for it.

        Raises:
            ColumnExchanged: The column has the vectors of another model now. Its rows are not returned, because the
                vector of the search was not made by that model.
            TableError: A value is not valid for the type of its column.
            DatabaseError: The server rejected the search.
        """
        try:
            with translate_invalid_filters(self._column, conditions):
                rows = self._column.database.fetch(statement, parameters, settings)
        except (DatabaseError, TableError):
            # The server rejects a vector of another dimension.
            self._check()
            raise
        if self.ids is None:
            return rows
        if not rows:
            self._check()
        elif rows[0][0] != self.ids:
            raise self._exchanged()
        return [row[1:] for row in rows]

    def _check(self) -> None:
        if self.ids is not None and self._read() != self.ids:
            raise self._exchanged()

    def _exchanged(self) -> ColumnExchanged:
        return ColumnExchanged(str(self._column.table.name), self._column.spec.output)

    def _read(self) -> str | None:
        name, database = self._column.table.name, self._column.database
        if read_table_oid(database, TableName(name.schema, VECTOR_COLUMNS_TABLE)) is None:
            return None
        try:
            found = database.fetch(
                select_models(name.schema), {"table_name": name.name, "output": self._column.spec.output}
            )
        except MissingPrivilege:
            return None
        return str(found[0][0]) if found else None
