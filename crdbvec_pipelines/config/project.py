"""The whole of crdbvec.yaml as a pydantic model. `load` reads the file, and `messages` formats the errors."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import Field, PrivateAttr, model_validator

from crdbvec_pipelines.config.database import DEFAULT_DATABASE, DatabaseSpec
from crdbvec_pipelines.config.sections import Spec, Word
from crdbvec_pipelines.config.vector_column import VectorColumn
from crdbvec_pipelines.errors import ConfigurationError
from crdbvec_pipelines.naming import TableName


class ModelsSpec(Spec):
    """The folders of model wrappers besides the built-in ones, and the settings of the models."""

    directories: tuple[Path, ...] = Field(default=(), description="Folders with your own model wrappers.")
    settings: Mapping[str, Mapping[str, Any]] = Field(
        default_factory=dict, description="The settings of each model, by its name."
    )


class ProjectConfig(Spec):
    """The whole of crdbvec.yaml."""

    database: DatabaseSpec = Field(default=DatabaseSpec(), description="The database that contains the tables.")
    databases: Mapping[Word, DatabaseSpec] = Field(
        default_factory=dict,
        description="Further databases by their names, each with the keys of `database`; an entry of `vectors` names "
        "the one of its table.",
    )
    models: ModelsSpec = Field(default=ModelsSpec(), description="Your own model wrappers, and the models' settings.")
    asset_prefix: tuple[Word, ...] = Field(
        default=(),
        description="The first parts of every asset key in Dagster, such as `[warehouse]`; letters, digits and `_`.",
    )
    name_prefix: Word | None = Field(
        default=None,
        description="The first part of the names of jobs, sensors and schedules in Dagster, for a project with several "
        "configurations that have outputs of the same name.",
    )
    resource_key: Word = Field(
        default="cockroach",
        description="The key of the database's resource in Dagster, for a project with several databases.",
    )
    vectors: tuple[VectorColumn, ...] = Field(
        min_length=1, description="A list with one entry per vector column; at least one."
    )
    _file: Path | None = PrivateAttr(default=None)
    _lines: Sequence[int] = PrivateAttr(default=())

    @property
    def file(self) -> Path | None:
        """The file that the configuration was read from; None if it comes from another source."""
        return self._file

    @property
    def lines(self) -> Sequence[int]:
        """The lines of the file, from 1, in which the entries of `vectors` begin; empty without a file."""
        return self._lines

    def read_from(self, file: Path, lines: Sequence[int]) -> Self:
        """Set the file that the configuration was read from and the lines of its entries; return the configuration."""
        self._file = file
        self._lines = lines
        return self

    def with_second_columns(self) -> Self:
        """Return the configuration in which the second column of each model migration is an entry after its own."""
        if any(vector.second_of is not None for vector in self.vectors):
            return self
        columns: list[VectorColumn] = []
        lines: list[int] = []
        for position, vector in enumerate(self.vectors):
            added = [vector, *filter(None, [vector.second_column()])]
            columns += added
            lines += len(added) * list(self._lines[position : position + 1])
        expanded = self.model_copy(update={"vectors": tuple(columns)})
        expanded._lines = lines
        return expanded

    def database_named(self, name: str | None) -> DatabaseSpec:
        """Return a database of `databases` by its name; without a name, `database`.

        Raises:
            ConfigurationError: There is no database of this name.
        """
        if name is None:
            return self.database
        if name not in self.databases:
            raise ConfigurationError(_unknown_database(name, self.databases))
        return self.databases[name]

    def resource_key_of(self, name: str | None) -> str:
        """Return the key of the resource in Dagster of a database, which is the name of one of `databases`."""
        return name or self.resource_key

    @model_validator(mode="after")
    def _check_databases(self) -> Self:
        for taken, what in ((self.resource_key, "resource_key"), (DEFAULT_DATABASE, "the database of `database`")):
            if taken in self.databases:
                raise ValueError(f"the database {taken} of databases has the name of {what}; choose another one")
        for vector in self.vectors:
            if vector.database is not None and vector.database not in self.databases:
                raise ValueError(f"{vector}: {_unknown_database(vector.database, self.databases)}".rstrip("."))
        return self

    @model_validator(mode="after")
    def _check_limits(self) -> Self:
        for limit in ("max_rows_per_second", "max_connections"):
            of_table: dict[tuple[str | None, TableName], int | None] = {}
            for vector in self.vectors:
                value = getattr(vector, limit)
                if of_table.setdefault((vector.database, vector.table), value) != value:
                    raise ValueError(
                        f"{limit} limits the table {vector.table}; write the same value in all of its entries"
                    )
        return self

    @model_validator(mode="after")
    def _check_unique(self) -> Self:
        seen: set[tuple[str | None, TableName, str]] = set()
        for vector in self.with_second_columns().vectors:
            for output in filter(None, (vector.output, vector.fingerprint_column)):
                if (vector.database, vector.table, output) in seen:
                    raise ValueError(
                        f"two entries of vectors write {vector.table}.{output}; change the output of one of them"
                    )
                seen.add((vector.database, vector.table, output))
        return self


def _unknown_database(name: str, databases: Mapping[str, DatabaseSpec]) -> str:
    known = f"the names there are {', '.join(databases)}" if databases else "there are none"
    return f"databases has no database {name}; {known}. Add it, or change the name."
