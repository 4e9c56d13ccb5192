"""`crdbvec init`: write a commented crdbvec.yaml for a table, which is inspected and not changed."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import yaml

from crdbvec_pipelines.cli.output import print_info, print_text, reserved_stdout
from crdbvec_pipelines.cli.target import input_option, model_option, output_option, table_option, url_option
from crdbvec_pipelines.config import DEFAULT_FILE, URL_VARIABLE, DatabaseSpec, ProjectConfig, parse_config
from crdbvec_pipelines.config.yaml_file import read_yaml
from crdbvec_pipelines.database.column import open_column
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.metrics import VECTOR_TYPES
from crdbvec_pipelines.database.table import Column, Table, read_table, read_table_names
from crdbvec_pipelines.encoding.encoder import Encoder
from crdbvec_pipelines.encoding.registry import ModelRegistry, load_registry
from crdbvec_pipelines.errors import ConfigurationError
from crdbvec_pipelines.naming import TableName

_DEFAULT_MODEL = "hf_st_all_minilm_l6"
# As many as fit on a screen.
_MAX_SHOWN_CHOICES = 30
_MAX_OUTPUT_CHARACTERS = 50
_TIMESTAMPS = ("timestamp", "timestamptz")
_DOCUMENTATION = "https://github.com/crdbvec/crdbvec_pipelines/blob/main/docs/configuration.md"


@click.command(epilog="Example: crdbvec init -t article -i title -i body -o article_vector")
@url_option
@table_option
@input_option
@output_option
@model_option
@click.option(
    "-c",
    "--config",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    default=DEFAULT_FILE,
    show_default=True,
    help="The file to write.",
)
@click.option("--force", is_flag=True, help="Replace the file if it exists.")
def command(
    url: str | None,
    table: str | None,
    input_columns: tuple[str, ...],
    output: str | None,
    model: str | None,
    file: Path,
    force: bool,
) -> None:
    """Write a commented crdbvec.yaml for one of your tables.

    Inspects the table and changes nothing in the database. On a terminal, it asks for what the options leave open.
    """
    if file.exists() and not force:
        raise ConfigurationError(f"{file} exists. Replace it with --force, or write another file with --config.")
    with reserved_stdout(), Database(url or DatabaseSpec().read_url()) as database:
        found = _choose_table(database, table)
        columns = _choose_input(found, input_columns)
        written = output or _answer("Vector column", default=f"{columns[0].name}_vector"[:_MAX_OUTPUT_CHARACTERS])
        registry = load_registry(None)
        name = _choose_model(registry, columns, model)
        encoder = registry.load(name)
        text = _text(found, columns, written, name, encoder)
        config = parse_config(read_yaml(text).content, str(file), file.parent)
        open_column(database, config.vectors[0], encoder)
        _write(file, text, force=force)
        _print_next_steps(file, config)


def _choose_table(database: Database, given: str | None) -> Table:
    if given is not None:
        return read_table(database, TableName.parse(given))
    # Without the metadata tables of this project.
    names = [str(name) for name in read_table_names(database) if not name.name.startswith("crdbvec_")]
    if not names:
        raise ConfigurationError(f"The database {database.name} has no table. Create one, or change {URL_VARIABLE}.")
    return read_table(database, TableName.parse(_answer("Table", names, option="-t")))


def _choose_input(table: Table, given: Sequence[str]) -> list[Column]:
    """Return the input columns; by default the only text column, or the only one at all, that is not in the key."""
    names = list(given)
    if not names:
        others = [column for column in table.columns.values() if column not in table.key and _is_input(column)]
        candidates = [column.name for column in others if column.is_text] or [column.name for column in others]
        if not candidates:
            raise ConfigurationError(f"{table.name} has no column to embed besides its key. Give one with -i.")
        names = [name.strip() for name in _answer("Input column", candidates, option="-i", several=True).split(",")]
    missing = [name for name in names if name not in table.columns]
    if missing:
        raise ConfigurationError(
            f"{table.name} has no column {missing[0]} to embed; its columns are {', '.join(table.columns)}."
        )
    return [table.columns[name] for name in names]


def _is_input(column: Column) -> bool:
    return column.type_name not in VECTOR_TYPES and not column.name.endswith("_fingerprint")


def _choose_model(registry: ModelRegistry, columns: Sequence[Column], given: str | None) -> str:
    default = None if any(column.is_bytes for column in columns) else _DEFAULT_MODEL
    name = given or _answer("Model", registry.names(), option="-m", default=default)
    registry.find(name)
    return name


def _answer(
    question: str,
    choices: Sequence[str] = (),
    *,
    option: str = "",
    default: str | None = None,
    several: bool = False,
) -> str:
    """Return the answer of the user on a terminal, otherwise the default, which is the only choice if there is one.

    Raises:
        ConfigurationError: There is neither a terminal nor a default.
    """
    default = choices[0] if default is None and len(choices) == 1 else default
    shown = ", ".join([*choices[:_MAX_SHOWN_CHOICES], *(["..."] if len(choices) > _MAX_SHOWN_CHOICES else [])])
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        if default is None:
            raise ConfigurationError(f"{question}: there are several. Choose one with {option}: {shown}.")
        return default
    if choices:
        click.echo(f"{question}: {shown}", err=True)
    more = " (several: a, b)" if several else ""
    answer: str = click.prompt(
        f"{question}{more}", default=default, err=True, value_proc=_among(choices, several=several)
    )
    return answer


def _among(choices: Sequence[str], *, several: bool) -> Callable[[str], str]:
    """Return a function that checks an answer; after an error, click asks again."""

    def check(answer: str) -> str:
        for name in answer.split(",") if several else [answer]:
            if choices and name.strip() not in choices:
                raise click.UsageError(f"{name.strip()!r} is not one of them.")
        return answer.strip()

    return check


def _text(table: Table, columns: Sequence[Column], output: str, model: str, encoder: Encoder) -> str:
    """Return the content of the file; each line with a key that is a comment can be used by removing the `# `."""
    key = ", ".join(_shown(column) for column in table.key)
    others = ", ".join(_shown(column) for column in table.columns.values() if column not in table.key)
    index = f"index: {{metric: {encoder.metric}}}"
    entry = [
        (f"table: {_yaml(str(table.name))}", ""),
        (_input(columns), 'a column, a list of columns, or template: "{title}: {body}"'),
        (f"output: {_yaml(output)}", f"VECTOR({encoder.dim}), created if it is missing"),
        (f"model: {_yaml(model)}", "the others: crdbvec model list"),
        # A vector index cannot be built on a partitioned table.
        (f"# {index}" if table.is_partitioned else index, "built when all rows are embedded; without it, exact scans"),
        ("# batch_size: 1024", "rows that are read, encoded and written together"),
        ("# partitions: {target_rows: 50000}", "rows per partition in Dagster"),
        ("# follow: {interval_seconds: 30}", "how often Dagster's sensor looks for pending rows"),
        ('# schedule: "0 3 * * *"', "when maintenance runs, after it was switched on in Dagster"),
    ]
    times = [column for column in table.columns.values() if column.type_name in _TIMESTAMPS]
    if times:
        entry.append(
            (f"# updated_at: {_yaml(times[-1].name)}", "if every UPDATE sets it: finds edited rows without a scan")
        )
        if times[-1].type_name == "timestamp":
            entry.append(("# updated_at_timezone: UTC", "the time zone of its values"))
    width = max(len(line) for line, comment in entry if comment) + 2
    lines = [f"{line:{width}}# {comment}" if comment else line for line, comment in entry]
    return "\n".join(
        [
            "# The vector columns that Dagster and the command line keep fresh. Every key is described at",
            f"# {_DOCUMENTATION}",
            "",
            "# The variable with the URL of the database, so that this file contains no password.",
            f"database: {{url: {{env: {URL_VARIABLE}}}}}",
            "",
            "vectors:",
            f"  # Key: {key}",
            f"  # Other columns: {others or 'none'}",
            *(f"  {'- ' if number == 0 else '  '}{line}".rstrip() for number, line in enumerate(lines)),
            "",
        ]
    )


def _input(columns: Sequence[Column]) -> str:
    names = [column.name for column in columns]
    if len(columns) > 1:
        return f"input: {_yaml(names)}"
    if columns[0].is_text or columns[0].is_bytes:
        return f"input: {_yaml(names[0])}"
    # A model of texts rejects other types; a template makes a text of any type.
    escaped = names[0].replace("{", "{{").replace("}", "}}")
    return f"template: {_yaml('{' + escaped + '}')}"


def _yaml(value: str | list[str]) -> str:
    """Return a value as YAML on one line."""
    dumped: str = yaml.safe_dump([value], default_flow_style=True, allow_unicode=True, width=float("inf"))
    return dumped.strip()[1:-1]


def _shown(column: Column) -> str:
    name = column.name if column.name.isprintable() else ascii(column.name)
    return f"{name} ({column.cast})"


def _write(file: Path, text: str, *, force: bool) -> None:
    try:
        with file.open("w" if force else "x", encoding="utf-8") as opened:
            opened.write(text)
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be written ({type(error).__name__}).") from None


def _print_next_steps(file: Path, config: ProjectConfig) -> None:
    column = config.vectors[0]
    option = "" if file == Path(DEFAULT_FILE) else f" -c {file}"
    steps = {
        f"crdbvec plan{option}": "estimate rows, time and statements; changes nothing",
        f"crdbvec embed{option}": "embed the pending rows",
        f'crdbvec search "some words"{option}': "find the nearest rows",
        f"crdbvec ui{option}": "Dagster's UI: partitions, runs, sensor and schedule",
    }
    print_text(f"{file} written: {column}, from {', '.join(column.input_columns)}, by {column.model}. Next:")
    width = max(map(len, steps)) + 2
    for line, meaning in steps.items():
        print_text(f"  {line:{width}}{meaning}")
    if not os.environ.get(URL_VARIABLE):
        print_info(f"Set {URL_VARIABLE} to the URL of the database, which is not in the file.")
