"""The vector columns, database and models of a command: from options, from crdbvec.yaml, or from both."""

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from crdbvec_pipelines.cli.completion import complete_input, complete_model, complete_output, complete_table
from crdbvec_pipelines.cli.databases import Databases, database_spec, open_databases
from crdbvec_pipelines.cli.demo_database import demo_config, start_demo_database, works_on_demo
from crdbvec_pipelines.cli.output import print_info, reserved_stdout
from crdbvec_pipelines.config import (
    CONFIG_VARIABLE,
    DEFAULT_DATABASE,
    URL_VARIABLE,
    ProjectConfig,
    VectorColumn,
    find_config,
    load_config,
    vector_column,
)
from crdbvec_pipelines.database.column import open_column
from crdbvec_pipelines.encoding.registry import ModelRegistry, load_registry
from crdbvec_pipelines.errors import ConfigurationError, CrdbvecError
from crdbvec_pipelines.naming import TableName

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Target:
    """The vector columns and the database that a command works on.

    Attributes:
        columns: The vector columns.
        registry: The models.
        url: The URL of the database if it is not the configured one.
        config: The configuration file; None if there is none.
        output: The output that the options name; None if they name none.
    """

    columns: tuple[VectorColumn, ...]
    registry: ModelRegistry
    url: str | None
    config: ProjectConfig | None
    output: str | None = None

    @property
    def column(self) -> VectorColumn:
        """The only column.

        Raises:
            ConfigurationError: Several columns match the options.
        """
        if len(self.columns) > 1:
            raise ConfigurationError(
                f"This command works on one vector column, but several match: {', '.join(map(str, self.columns))}. "
                "Choose one with -t and -o, or with --database."
            )
        return self.columns[0]

    def open(self) -> AbstractContextManager[Databases]:
        """Open the databases of the columns, each when it is first used."""
        return open_databases(self.config, self.url)

    def present(self, databases: Databases, *, with_second: bool = False) -> "Target":
        """Return the target with the columns that its entries stand for now, each with the model of its vectors.

        They differ from the entries during and after a model migration (`crdbvec migrate`).

        Args:
            databases: The open databases.
            with_second: Whether the second column of a migration belongs to its entry, unless the options name one.

        Raises:
            ConfigurationError: No column has the output that the options name.
        """
        # Imported here, because some commands need no database, and others load a model while it is imported.
        from crdbvec_pipelines.database.schema.migrations import present_columns

        # By name, because the second column may have an entry of its own, for Dagster.
        found = {
            (present.database, str(present)): present
            for entry in self.columns
            for present in present_columns(databases.of(entry), entry)
            if present.output == (self.output or entry.output) or (with_second and self.output is None)
        }
        columns = list(found.values())
        if not columns:
            tables = ", ".join(str(entry.table) for entry in self.columns)
            raise ConfigurationError(f"{self.output} is not a vector column of {tables}. Choose another one with -o.")
        for column in columns:
            self.registry.find(column.model)
        return replace(self, columns=tuple(columns))

    def check(self, databases: Databases) -> None:
        """Check all columns, before work on the first one starts.

        Raises:
            TableError: A table cannot hold its column.
        """
        for column in self.columns:
            with self.naming(column):
                open_column(databases.of(column), column, self.registry.encoder_of(column))

    @contextmanager
    def naming(self, column: VectorColumn) -> Iterator[None]:
        """Name the column in an error that does not, such as that of a model, if the target has several columns."""
        try:
            yield
        except CrdbvecError as error:
            if len(self.columns) > 1 and str(column.table) not in str(error):
                error.add_note(f"The vector column is {column}.")
            raise


def column_names(column: VectorColumn) -> dict[str, str | None]:
    """Return what identifies a vector column in JSON output."""
    return {"database": column.database, "table": str(column.table), "output": column.output, "model": column.model}


config_option = click.option(
    "-c",
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    help="The configuration file.  [default: $CRDBVEC_CONFIG or crdbvec.yaml]",
)


# Other users can see the command line in `ps`, but not the environment.
url_option = click.option("-u", "--url", help="The database URL; prefer $CRDBVEC_URL.")
database_option = click.option("--database", help=f"The name in `databases`, or {DEFAULT_DATABASE}.")
table_option = click.option("-t", "--table", shell_complete=complete_table, help="The table: name or schema.name.")
input_option = click.option(
    "-i",
    "--input",
    "input_columns",
    multiple=True,
    shell_complete=complete_input,
    help="The column to embed; repeat to join columns.",
)
output_option = click.option("-o", "--output", shell_complete=complete_output, help="The vector column.")
model_option = click.option("-m", "--model", shell_complete=complete_model, help="The model; see `crdbvec model list`.")


def model_options(command: F) -> F:
    """Add the option --config to a command, which may import model wrappers: what they print goes to stderr."""

    @functools.wraps(command)
    def with_reserved_stdout(*args: Any, **options: Any) -> Any:
        with reserved_stdout():
            return command(*args, **options)

    return cast(F, config_option(with_reserved_stdout))


@dataclass(frozen=True)
class Selection:
    """The options that choose or describe vector columns, before the configuration file is read."""

    config_path: Path | None
    url: str | None = None
    database: str | None = None
    table: str | None = None
    input_columns: tuple[str, ...] = ()
    output: str | None = None
    model: str | None = None

    def resolve(self, *, also_second: bool = False, **overrides: object) -> Target:
        """Return the target that the options and the configuration file describe together.

        A column described by -t, -i, -o and -m needs no file. If the file has an entry for the same table and output,
        the options replace its values. Without a URL and a file of one's own, the target is the demo, if it has run in
        the working directory.

        Args:
            also_second: Whether -o may name the second column of a model migration, which is not in the file. The
                caller then uses `Target.present`.
            overrides: Values for all columns; None keeps the value of the file.

        Raises:
            ConfigurationError: No vector column is described, or a value is invalid.
        """
        config = read_config(self.config_path)
        url = self.url
        if url is None and works_on_demo(config) and (url := start_demo_database()):
            print_info("This is the database of the demo in .crdbvec. Set CRDBVEC_URL to work on another one.")
            config = config or demo_config()
        given = {key: value for key, value in overrides.items() if value is not None}
        if self.input_columns:
            given["input"] = self.input_columns[0] if len(self.input_columns) == 1 else self.input_columns
        if self.model:
            given["model"] = self.model
        entries = self._entries(config)
        is_described = bool(self.table and self.output and self.input_columns and self.model)
        if not entries and also_second and self.output is not None and not is_described:
            entries = replace(self, output=None)._entries(config)
        if entries:
            columns = tuple(_with(entry, given) for entry in entries)
        elif is_described:
            database = self._database_in(config)
            columns = (vector_column(table=self.table, output=self.output, database=database, **given),)
        else:
            raise ConfigurationError(
                "No vector column is selected. Give -t <table> -i <input> -o <output> -m <model>, or add an entry to "
                "crdbvec.yaml and, if it has several, choose one with -t and -o."
            )
        registry = load_registry(config)
        for column in columns:
            registry.find(column.model)
        databases = {column.database for column in columns}
        if url is not None and len(databases) > 1:
            raise ConfigurationError(
                f"The URL is that of one database, but these vector columns are in {len(databases)}: "
                f"{', '.join(map(str, columns))}. Choose one with -t and -o, or with --database."
            )
        # Before any work: that a variable is not set should not show when half of the columns are done.
        for name in () if url is not None else databases:
            database_spec(config, name).read_url()
        return Target(columns, registry, url, config, self.output)

    def _entries(self, config: ProjectConfig | None) -> list[VectorColumn]:
        name = TableName.parse(self.table) if self.table else None
        database = self._database_in(config)
        return [
            vector
            for vector in (config.vectors if config else ())
            if name in (None, vector.table)
            and self.output in (None, vector.output)
            and (self.database is None or vector.database == database)
        ]

    def _database_in(self, config: ProjectConfig | None) -> str | None:
        """Return the name in `databases` that the option gives; None for the database of `database`."""
        if self.database in (None, DEFAULT_DATABASE):
            return None
        if config is None:
            raise ConfigurationError(
                f"--database {self.database} is a name in `databases` of a configuration file, and there is no file "
                f"{find_config()}. Give the URL with {URL_VARIABLE} instead."
            )
        config.database_named(self.database)
        return self.database


def column_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that choose or describe vector columns; the command receives them as `selection`."""

    @functools.wraps(command)
    def with_selection(
        *args: Any,
        config_path: Path | None,
        url: str | None,
        database: str | None,
        table: str | None,
        input_columns: tuple[str, ...],
        output: str | None,
        model: str | None,
        **options: Any,
    ) -> Any:
        selection = Selection(config_path, url, database, table, input_columns, output, model)
        return command(*args, selection=selection, **options)

    decorated: Callable[..., Any] = with_selection
    for option in (model_option, output_option, input_option, table_option, database_option, url_option):
        decorated = option(decorated)
    return model_options(decorated)


def read_config(path: Path | None) -> ProjectConfig | None:
    """Read the configuration file if one is given, or if crdbvec.yaml is in the working directory."""
    file = find_config(path)
    return load_config(file) if path or os.environ.get(CONFIG_VARIABLE) or file.exists() else None


def _with(entry: VectorColumn, given: dict[str, object]) -> VectorColumn:
    if not given:
        return entry
    values: dict[str, object] = {**entry.model_dump(exclude_defaults=True), "origin": entry.origin, **given}
    if "input" in given:
        values.pop("template", None)
    return vector_column(**{**values, "table": str(entry.table)})
