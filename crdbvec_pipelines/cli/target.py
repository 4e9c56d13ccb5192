"""Which vector columns, on which database, by which models: from options, from crdbvec.yaml, or from both."""

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from crdbvec_pipelines.config import (
    CONFIG_VARIABLE,
    DatabaseSpec,
    ModelsSpec,
    ProjectConfig,
    VectorColumn,
    find_config,
    load_config,
    vector_column,
)
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.introspect import check_column, read_table
from crdbvec_pipelines.encoding.registry import ModelRegistry
from crdbvec_pipelines.errors import ConfigurationError
from crdbvec_pipelines.naming import TableName

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Target:
    """What a command works on."""

    columns: tuple[VectorColumn, ...]
    registry: ModelRegistry
    url: str
    config: ProjectConfig | None
    """The configuration file, where there is one."""

    @property
    def column(self) -> VectorColumn:
        """The only column.

        Raises:
            ConfigurationError: the options and crdbvec.yaml leave several.
        """
        if len(self.columns) > 1:
            raise ConfigurationError(
                f"This works on one vector column, and there are {', '.join(map(str, self.columns))}; "
                "choose one with -t and -o."
            )
        return self.columns[0]

    def open(self) -> Database:
        """Opens the database."""
        return Database(self.url)

    def check(self, database: Database) -> None:
        """Checks all columns before work on the first one starts.

        Raises:
            TableError: a table cannot carry its column.
        """
        for column in self.columns:
            check_column(read_table(database, column.table), column, self.registry.load(column.model).dim)


def model_options(command: F) -> F:
    """The option that says where models are configured."""
    return click.option(
        "-c",
        "--config",
        "config_path",
        type=click.Path(path_type=Path),
        help="The configuration file. [default: $CRDBVEC_CONFIG or crdbvec.yaml, if there is one]",
    )(command)


@dataclass(frozen=True)
class Selection:
    """What the command line says about the vector column, before the configuration file is read."""

    config_path: Path | None
    url: str | None
    table: str | None
    input_columns: tuple[str, ...]
    output: str | None
    model: str | None

    def resolve(self, **overrides: object) -> Target:
        """The target that options and configuration file describe together.

        A column described by -t, -i, -o and -m needs no file. Where the file has an entry for the same table and
        output, the options replace its values.

        Args:
            overrides: values for all columns; None leaves what the file says.

        Raises:
            ConfigurationError: nothing is described, or something impossible.
        """
        config = read_config(self.config_path)
        given = {key: value for key, value in overrides.items() if value is not None}
        if self.input_columns:
            given["input"] = self.input_columns[0] if len(self.input_columns) == 1 else self.input_columns
        if self.model:
            given["model"] = self.model
        entries = self._entries(config)
        if entries:
            columns = tuple(_with(entry, given) for entry in entries)
        elif self.table and self.output and self.input_columns and self.model:
            columns = (vector_column(table=self.table, output=self.output, **given),)
        else:
            raise ConfigurationError(
                "Say which vector column: -t <table> -i <input> -o <output> -m <model>, or an entry of crdbvec.yaml "
                "(chosen with -t and -o, if it has several)."
            )
        registry = build_registry(config)
        for column in columns:
            registry.find(column.model)
        return Target(columns, registry, self.url or (config.database if config else DatabaseSpec()).read_url(), config)

    def _entries(self, config: ProjectConfig | None) -> list[VectorColumn]:
        name = TableName.parse(self.table) if self.table else None
        return [
            vector
            for vector in (config.vectors if config else ())
            if name in (None, vector.table) and self.output in (None, vector.output)
        ]


def column_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that choose or describe a vector column; the command gets them as one `selection`."""

    @functools.wraps(command)
    def with_selection(
        *args: Any,
        config_path: Path | None,
        url: str | None,
        table: str | None,
        input_columns: tuple[str, ...],
        output: str | None,
        model: str | None,
        **others: Any,
    ) -> Any:
        return command(*args, selection=Selection(config_path, url, table, input_columns, output, model), **others)

    decorated: Callable[..., Any] = with_selection
    for option in reversed(
        [
            click.option(
                "-u", "--url", help="The database's URL; $CRDBVEC_URL is safer, as others see a command's options."
            ),
            click.option("-t", "--table", help="The table: name or schema.name."),
            click.option(
                "-i", "--input", "input_columns", multiple=True, help="The column to embed; several make a text."
            ),
            click.option("-o", "--output", help="The vector column."),
            click.option("-m", "--model", help="The model; `crdbvec model list` shows them."),
        ]
    ):
        decorated = option(decorated)
    return model_options(decorated)


def read_config(path: Path | None) -> ProjectConfig | None:
    """The configuration file, if one is named or lies in the working directory."""
    file = find_config(path)
    return load_config(file) if path or os.environ.get(CONFIG_VARIABLE) or file.exists() else None


def build_registry(config: ProjectConfig | None) -> ModelRegistry:
    """The models, with what the configuration says about them."""
    models = config.models if config else ModelsSpec()
    return ModelRegistry(models.directories, models.settings)


def _with(entry: VectorColumn, given: dict[str, object]) -> VectorColumn:
    if not given:
        return entry
    values: dict[str, object] = {**entry.model_dump(exclude_defaults=True), "origin": entry.origin, **given}
    if "input" in given:
        values.pop("template", None)
    return vector_column(**{**values, "table": str(entry.table)})
