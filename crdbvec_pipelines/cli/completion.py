"""Shell completion of the values of options: tables, columns and models.

The names come from the configuration file, and from the database if it replies soon. An error is not shown, because the
shell would print it into the command line. Other modules are imported when they are needed: the shell starts a process
for each completion.
"""

from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

import click

from crdbvec_pipelines.cli.deadline import within
from crdbvec_pipelines.naming import DEFAULT_SCHEMA, TableName

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from crdbvec_pipelines.config import ProjectConfig
    from crdbvec_pipelines.database.connection import Database

T = TypeVar("T")

_SECONDS = 2.0


def complete_table(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the tables of the configuration and of the database."""
    from crdbvec_pipelines.database.table import read_table_names

    config = _config(context)
    tables = {column.table for column in (config.vectors if config else ())}
    tables.update(_read(context, config, read_table_names) or ())
    return _starting(incomplete, [name for table in sorted(tables) for name in _spellings(table)])


def complete_input(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the columns of the table that -t or the configuration names."""
    return _starting(incomplete, _columns(context))


def complete_output(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the vector columns of the configuration, otherwise the columns of the table."""
    config = _config(context)
    table = context.params.get("table")
    outputs = [
        column.output
        for column in (config.vectors if config else ())
        if table is None or column.table == TableName.parse(table)
    ]
    return _starting(incomplete, outputs or _columns(context))


def complete_model(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the models that the configuration can use."""
    from crdbvec_pipelines.encoding.registry import load_registry

    names: list[str] = []
    with suppress(Exception):
        names = load_registry(_config(context)).names()
    return _starting(incomplete, names)


def _config(context: click.Context) -> "ProjectConfig | None":
    from crdbvec_pipelines.cli.target import read_config

    # The file may be invalid, which the command itself reports.
    with suppress(Exception):
        return read_config(context.params.get("config_path"))
    return None


def _read(context: click.Context, config: "ProjectConfig | None", read: "Callable[[Database], T]") -> T | None:
    """Return what a function reads from the database; None if there is no URL, or no reply in time."""
    from crdbvec_pipelines.cli.databases import database_spec
    from crdbvec_pipelines.config import DEFAULT_DATABASE
    from crdbvec_pipelines.database.connection import Database

    def read_database() -> T:
        name = context.params.get("database")
        spec = database_spec(config, None if name == DEFAULT_DATABASE else name)
        url = context.params.get("url") or spec.read_url()
        with Database(url, max_connections=1, attempts=1) as database:
            return read(database)

    return within(_SECONDS, read_database)


def _columns(context: click.Context) -> list[str]:
    from crdbvec_pipelines.database.table import read_table

    config = _config(context)
    given = context.params.get("table")
    tables = {TableName.parse(given)} if given else {column.table for column in (config.vectors if config else ())}
    if len(tables) != 1:
        return []
    (table,) = tables
    return list(_read(context, config, lambda database: read_table(database, table).columns) or ())


def _spellings(table: TableName) -> list[str]:
    """Return the name of a table with its schema, and without it if it is the default one."""
    whole = str(table)
    return [whole.partition(".")[2], whole] if table.schema == DEFAULT_SCHEMA else [whole]


def _starting(incomplete: str, names: "Iterable[str]") -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
