"""Model migrations as the metadata table `crdbvec_migrations` records them, and what the entries of columns mean then.

During a migration, a table has two vector columns of one entry: that of the entry, which applications use, and the
second one. `present_columns` returns both, each with the model whose vectors it contains now. So whatever works on the
entries of a configuration (embedding, following, counting, indexing) works on both columns without a change of the
configuration.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from crdbvec_pipelines.config import ChunksSpec, VectorColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.errors import ColumnExchanged, MissingPrivilege, NotMigrated
from crdbvec_pipelines.database.schema.migration_statements import list_migrations_columns, select_migrations
from crdbvec_pipelines.naming import TableName

Phase = Literal["started", "switching", "switched", "rolling back", "finishing", "finished"]
"""How far a migration is.

The new vectors are in the second column while it is `started`, and in the column of the entry from `switched` on.
`switching` and `rolling back` exist only on a server that cannot rename columns and change records in one transaction.
"""


@dataclass(frozen=True)
class Migration:
    """A migration of a vector column from one model to another.

    Attributes:
        table: The table.
        output: The vector column that applications use.
        second: The other one: that with the new vectors before the switch, that with the old ones after it.
        first_model: The name of the old model.
        second_model: The name of the new model.
        first_models: The ids of the models of the old vectors, as JSON, the present one first.
        second_models: The ids of the models of the new vectors.
        first_column: The number of the column with the old vectors in the catalog.
        phase: How far it is.
        started_at: When it was started.
        first_chunks: How the texts of the old vectors are divided; None for one vector a row.
        second_chunks: How those of the new vectors are divided.
        first_chunk_table: What identifies the chunk table with the old vectors in the catalog; None without one.
    """

    table: TableName
    output: str
    second: str
    first_model: str
    second_model: str
    first_models: str
    second_models: str
    first_column: int
    phase: Phase
    started_at: datetime
    first_chunks: ChunksSpec | None = None
    second_chunks: ChunksSpec | None = None
    first_chunk_table: int | None = None

    @property
    def is_active(self) -> bool:
        """Whether the table has both columns."""
        return self.phase not in ("finishing", "finished")

    @property
    def is_switched(self) -> bool:
        """Whether the column of the entry contains the vectors of the new model."""
        return self.phase in ("switched", "finishing", "finished")

    @property
    def is_exchanging(self) -> bool:
        """Whether the columns are being exchanged, so that no statement may use either of them."""
        return self.phase in ("switching", "rolling back")

    @property
    def key(self) -> dict[str, object]:
        """The parameters of the statements about its record."""
        return {"table_name": self.table.name, "output": self.output}

    @property
    def entries(self) -> tuple[VectorColumn, VectorColumn]:
        """Both columns as entries that have no more than what the names of database objects depend on."""
        first, second = (
            VectorColumn.model_construct(
                table=self.table,
                output=output,
                model=self.second_model,
                long_inputs=None if self.first_chunks is None else "chunks",
            )
            for output in (self.output, self.second)
        )
        return first, second

    def columns_of(self, entry: VectorColumn) -> list[VectorColumn]:
        """Return the vector columns of an entry, or of one of the second column, that which applications use first."""
        models = [(self.first_model, self.first_chunks), (self.second_model, self.second_chunks)]
        own, other = (entry.with_model(*each) for each in (reversed(models) if self.is_switched else models))
        own = own.model_copy(update={"output": self.output})
        return [own, other.as_second(self.second, self.output)] if self.is_active else [own]

    def dropped_column(self, entry: VectorColumn, *, abandon: bool) -> VectorColumn:
        """Return the second column as its end drops it: with the old vectors, or with the new ones of an abandoned one.

        Args:
            entry: The entry.
            abandon: Whether the migration is given up.
        """
        return entry.with_model(*self.kept(abandon=not abandon)).as_second(self.second, self.output)

    def kept(self, *, abandon: bool) -> tuple[str, ChunksSpec | None]:
        """Return the model of the column that is left at the end, and how texts are divided for it.

        Args:
            abandon: Whether the migration is given up.
        """
        if abandon:
            return self.first_model, self.first_chunks
        return self.second_model, self.second_chunks


def read_migrations(database: Database, schema: str) -> list[Migration]:
    """Return the migrations of the tables of a schema; none for a role that may not read them."""
    columns = {name for (name,) in database.fetch(list_migrations_columns(), {"schema": schema})}
    if not columns:
        return []
    try:
        rows = database.fetch(select_migrations(schema, has_chunks="first_chunks" in columns))
    except MissingPrivilege:
        return []
    return [
        Migration(TableName(schema, table), *[*values, _chunks(first), _chunks(second), chunk_table])
        for table, *values, first, second, chunk_table in rows
    ]


def _chunks(recorded: str | None) -> ChunksSpec | None:
    return None if recorded is None else ChunksSpec.model_validate_json(recorded)


def find_migration(database: Database, table: TableName, output: str) -> Migration | None:
    """Return the migration of a vector column, by the name of either of its two columns."""
    for migration in read_migrations(database, table.schema):
        if migration.table == table and output in (migration.output, migration.second if migration.is_active else None):
            return migration
    return None


def present_columns(database: Database, entry: VectorColumn) -> list[VectorColumn]:
    """Return the vector columns that an entry stands for now, each with its model.

    It is the entry itself without a migration, and both columns during one. After it, an entry that still names the old
    model stands for the column with the new one.

    Args:
        database: The database of the entry.
        entry: An entry of a configuration, or one made from options, which may also be that of the second column.

    Raises:
        NotMigrated: The entry is the second column of a migration that has not been started, or is finished. It must
            not be prepared, which would create it.
    """
    migration = find_migration(database, entry.table, entry.output)
    if entry.second_of is not None and (migration is None or entry.output != migration.second):
        raise NotMigrated(str(entry.table), entry.second_of, entry.output)
    if migration is None:
        return [entry]
    if entry.output == migration.second:
        return [each for each in migration.columns_of(entry) if each.output == entry.output]
    if not migration.is_active and entry.model != migration.first_model:
        # The configuration names the new model, or a third one since.
        return [entry]
    return migration.columns_of(entry)


def present_column(database: Database, entry: VectorColumn) -> VectorColumn:
    """Return the column of an entry with the model whose vectors it contains now."""
    return next(each for each in present_columns(database, entry) if each.output == entry.output)


def check_present_model(database: Database, spec: VectorColumn) -> None:
    """Check that a column may be prepared for its model.

    Raises:
        ColumnExchanged: It is a column of a migration, and its vectors are those of the other model now.
    """
    migration = find_migration(database, spec.table, spec.output)
    if migration is None or migration.phase == "finished":
        return
    if migration.is_exchanging or present_column(database, spec).model != spec.model:
        raise ColumnExchanged(str(spec.table), spec.output)
