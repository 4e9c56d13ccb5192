"""The steps of a model migration as the command line and Dagster take them, with what each of them requires."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from crdbvec_pipelines.config import MigrationSpec, VectorColumn, changed_chunks
from crdbvec_pipelines.database.column import BoundColumn, bind_column, open_existing_column
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.schema.exchange import exchange_columns, finish_migration, start_migration
from crdbvec_pipelines.database.schema.migrations import Migration, find_migration, present_column
from crdbvec_pipelines.database.schema.prepare import is_prepared
from crdbvec_pipelines.encoding.registry import ModelRegistry
from crdbvec_pipelines.errors import ConfigurationError
from crdbvec_pipelines.search.comparison import DEFAULT_K, DEFAULT_SAMPLE, Comparison, compare_columns
from crdbvec_pipelines.search.judged import Judged, judge_columns
from crdbvec_pipelines.search.migration import Readiness, read_readiness, wait_until_ready
from crdbvec_pipelines.search.questions import Question

DEFAULT_WAIT_SECONDS = 30.0
"""How long an exchange waits for rows that have only one of the two vectors; a follow process embeds them sooner."""


@dataclass(frozen=True)
class Exchanged:
    """The result of a switch or a rollback.

    Attributes:
        migration: The migration after it.
        seconds: The duration of the transaction.
    """

    migration: Migration
    seconds: float


class ModelMigration:
    """The migration of one vector column.

    Args:
        database: The database of the column.
        entry: The entry of the column in the configuration, or one made from options.
        registry: The models.
        output: The name of either column, if it is not that of the entry.
    """

    def __init__(
        self, database: Database, entry: VectorColumn, registry: ModelRegistry, output: str | None = None
    ) -> None:
        self._database = database.with_quality_of_service(entry.quality_of_service)
        self._entry = entry
        self._registry = registry
        self._output = output or entry.output

    def wanted(
        self,
        model: str,
        second: str | None = None,
        *,
        chunk_size: int | None = None,
        chunk_overlap: int | None = None,
    ) -> VectorColumn:
        """Return the second column of a migration to another model.

        Args:
            model: The new model.
            second: The name of the second column; by default that of the first one and `_second`.
            chunk_size: The maximum number of tokens of a chunk for the new model; by default as now.
            chunk_overlap: The maximum number of tokens that a chunk repeats of the one before; by default as now.

        Raises:
            ConfigurationError: The column has that model already, or the model, the name or the size is not valid.
        """
        column = present_column(self._database, self._entry)
        self._registry.find(model)
        if column.model == model:
            raise ConfigurationError(f"The model of {column} is {column.model} already. Name another one with -m.")
        chunks = changed_chunks(column, size=chunk_size, overlap=chunk_overlap)
        return column.with_model(model, chunks).as_second(second or f"{column.output}_second", column.output)

    def written(self, wanted: VectorColumn) -> MigrationSpec:
        """Return the migration to a second column as the entry in crdbvec.yaml has it."""
        chunks = wanted.chunking if wanted.chunking != self._entry.chunking else None
        return MigrationSpec(model=wanted.model, second=wanted.output, chunks=chunks)

    def start(self, wanted: VectorColumn) -> Migration:
        """Record the migration and add the second column; continues one that was interrupted.

        Args:
            wanted: What `wanted` returned.

        Raises:
            TableError: The column is not prepared, is being migrated already, or the second column exists.
            ModelError: A chunk does not fit into the window of the new model.
        """
        column = present_column(self._database, self._entry)
        encoder = self._registry.encoder_of(wanted)
        encoder.check_settings()
        return start_migration(self._bound(column), wanted, encoder)

    def find(self) -> Migration:
        """Return the migration.

        Raises:
            ConfigurationError: There is none.
        """
        found = find_migration(self._database, self._entry.table, self._output)
        if found is None:
            raise ConfigurationError(
                f"{self._entry} is not being migrated. Run `crdbvec migrate start -m <new model>`."
            )
        return found

    def columns(self) -> tuple[BoundColumn, BoundColumn]:
        """Return both columns, that which applications use first.

        Raises:
            ConfigurationError: There are no two columns.
        """
        migration = self.find()
        if not migration.is_active or migration.is_exchanging:
            raise ConfigurationError(
                f"The migration of {self._entry} is {migration.phase}, so there are no two columns to compare. Run "
                "`crdbvec migrate status`."
            )
        own, other = migration.columns_of(self._entry)
        return self._bound(own), self._bound(other)

    def readiness(self) -> Readiness | None:
        """Return whether the columns can be exchanged; None if there are no two columns."""
        migration = self.find()
        if not migration.is_active or migration.is_exchanging:
            return None
        own, other = migration.columns_of(self._entry)
        if not is_prepared(bind_column(self._database, other, self._registry.encoder_of(other))):
            # `start` was interrupted before it had added the column with all that belongs to it.
            return None
        return read_readiness(self._bound(own), self._bound(other))

    def compare(self, *, questions: Sequence[str] = (), sample: int = DEFAULT_SAMPLE, k: int = DEFAULT_K) -> Comparison:
        """Compare searches of the two columns."""
        own, other = self.columns()
        encoders = self._registry.encoder_of(own.spec), self._registry.encoder_of(other.spec)
        return compare_columns((own, other), encoders, questions=questions, sample=sample, k=k)

    def judge(self, questions: Sequence[Question], k: int = DEFAULT_K) -> Judged:
        """Return how good searches of the two columns are for questions with known answers."""
        own, other = self.columns()
        encoders = self._registry.encoder_of(own.spec), self._registry.encoder_of(other.spec)
        return judge_columns((own, other), encoders, questions, k)

    def exchange(
        self,
        *,
        back: bool = False,
        wait_seconds: float = DEFAULT_WAIT_SECONDS,
        on_wait: Callable[[int], None] = lambda _: None,
    ) -> Exchanged:
        """Switch to the new vectors, or roll back to the old ones.

        Args:
            back: Whether to roll back.
            wait_seconds: How long to wait for rows that have only one of the two vectors.
            on_wait: Called with their number while waiting.

        Raises:
            ConfigurationError: The migration is in another phase.
            MigrationNotReady: Rows or an index are missing.
        """
        migration = self.find()
        before, after, interim = (
            ("switched", "started", "rolling back") if back else ("started", "switched", "switching")
        )
        if migration.phase not in (before, interim):
            raise ConfigurationError(
                f"The migration of {self._entry} is {migration.phase}; it must be {before}. Run `crdbvec migrate "
                "status`."
            )
        if migration.phase == before:
            own, other = self.columns()
            wait_until_ready(own, other, wait_seconds, on_wait)
        done = exchange_columns(self._database, migration, back=back)
        found = find_migration(self._database, migration.table, migration.output)
        if found is None or found.phase != after:
            raise ConfigurationError(
                f"Another process works on the migration of {self._entry}. Run `crdbvec migrate status`."
            )
        return Exchanged(found, done.seconds)

    def finish(self, *, abandon: bool = False) -> Migration:
        """Drop the column that is no longer used; of a migration that is finished, nothing is left to drop.

        Args:
            abandon: Whether to drop the new vectors, before a switch.

        Returns:
            The migration as it was.

        Raises:
            ConfigurationError: The migration is in a phase in which that column is in use.
        """
        migration = self.find()
        if abandon and migration.phase != "started":
            raise ConfigurationError(
                f"The migration of {self._entry} is {migration.phase}. Run `crdbvec migrate rollback` before --abandon."
            )
        if not abandon and migration.phase not in ("switched", "finishing", "finished"):
            raise ConfigurationError(
                f"The migration of {self._entry} is {migration.phase}, so the old vectors are in use. Run `crdbvec "
                "migrate switch` first, or give --abandon to drop the new vectors."
            )
        if migration.phase != "finished":
            second = migration.dropped_column(self._entry, abandon=abandon)
            column = bind_column(self._database, second, self._registry.encoder_of(second))
            finish_migration(column, migration, abandon=abandon)
        return migration

    def _bound(self, column: VectorColumn) -> BoundColumn:
        return open_existing_column(self._database, column, self._registry.encoder_of(column))
