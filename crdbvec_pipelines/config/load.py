"""Reading crdbvec.yaml, or values from another source, into the models of `project` and `vector_column`."""

import os
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from crdbvec_pipelines.config.database import DatabaseSpec
from crdbvec_pipelines.config.messages import validation_messages
from crdbvec_pipelines.config.migration import MigrationSpec
from crdbvec_pipelines.config.project import ModelsSpec, ProjectConfig
from crdbvec_pipelines.config.sections import (
    ChecksSpec,
    ChunksSpec,
    FollowSpec,
    FreshnessSpec,
    IndexSpec,
    PartitionsSpec,
    TextIndexSpec,
)
from crdbvec_pipelines.config.vector_column import VectorColumn
from crdbvec_pipelines.config.yaml_file import read_yaml
from crdbvec_pipelines.errors import ConfigurationError

CONFIG_VARIABLE = "CRDBVEC_CONFIG"
DEFAULT_FILE = "crdbvec.yaml"


def find_config(path: Path | None = None) -> Path:
    """Return the configuration file: `path`, otherwise the one that CRDBVEC_CONFIG names, otherwise ./crdbvec.yaml."""
    return path or Path(os.environ.get(CONFIG_VARIABLE) or DEFAULT_FILE)


def load_config(path: Path | None = None) -> ProjectConfig:
    """Read and validate a configuration file.

    Args:
        path: The file; if it is not given, the one that `find_config` returns.

    Raises:
        ConfigurationError: The file is missing, is not YAML, or is invalid. The message has one line per error, with
            the file, the entry and the remedy.
    """
    file = find_config(path)
    try:
        data, lines = read_yaml(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(
            f"There is no configuration file {file}; create it, or name one with --config or {CONFIG_VARIABLE}."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file} cannot be read ({type(error).__name__}); it must be a UTF-8 file.") from None
    except yaml.YAMLError as error:
        # Without the error's own text, which quotes the line and with it any secret in it.
        mark = getattr(error, "problem_mark", None)
        place = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or type(error).__name__
        raise ConfigurationError(f"{file} is not valid YAML{place}: {problem}.") from None
    except RecursionError:
        raise ConfigurationError(f"{file} is nested too deeply to be read. Remove the inner brackets.") from None
    if not isinstance(data, dict):
        raise ConfigurationError(f"{file} is empty or not a mapping; it needs at least the entry vectors.")
    return parse_config(data, str(file), file.parent).read_from(file, lines.get("vectors", ()))


def parse_config(data: dict[str, Any], source: str, folder: Path) -> ProjectConfig:
    """Validate the content of a configuration file.

    Args:
        data: The content.
        source: The name of the file in messages.
        folder: The folder to which paths in the file are relative.

    Raises:
        ConfigurationError: The content is invalid. The message has one line per error.
    """
    try:
        return ProjectConfig.model_validate(_with_origins(_with_folder(data, folder), source))
    except ValidationError as error:
        raise ConfigurationError(validation_messages(error, source, _SPECS)) from None


def vector_column(**values: object) -> VectorColumn:
    """Return a vector column from values of another source than the file, such as the command line's options.

    Raises:
        ConfigurationError: A value is invalid; the message names it.
    """
    origin = str(values.get("origin", "the command line"))
    try:
        return VectorColumn.model_validate(values)
    except ValidationError as error:
        raise ConfigurationError(validation_messages(error, origin, _SPECS)) from None


def changed_chunks(column: VectorColumn, *, size: int | None, overlap: int | None) -> ChunksSpec | None:
    """Return how the texts of a column are divided with another size or overlap; None for one vector a row.

    Args:
        column: The vector column.
        size: The maximum number of tokens of a chunk; None for that of the column.
        overlap: The maximum number of tokens that a chunk repeats of the one before; None for that of the column.

    Raises:
        ConfigurationError: A value is invalid, or the column has no chunks.
    """
    given = {name: value for name, value in (("size", size), ("overlap", overlap)) if value is not None}
    if column.chunking is None:
        if given:
            raise ConfigurationError(f"{column} has one vector a row, so there is no size of chunks to change.")
        return None
    try:
        return ChunksSpec.model_validate({**column.chunking.model_dump(), **given})
    except ValidationError as error:
        raise ConfigurationError(validation_messages(error, f"{column}.chunks", _SPECS)) from None


def _with_folder(data: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Make paths relative to the file instead of the working directory."""
    models, vectors = data.get("models"), data.get("vectors")
    if isinstance(models, dict) and isinstance(models.get("directories"), list):
        directories = [folder / str(entry) for entry in models["directories"]]
        data = {**data, "models": {**models, "directories": directories}}
    if isinstance(vectors, list):
        entries = [_with_questions(_with_model_folder(entry, folder), folder) for entry in vectors]
        data = {**data, "vectors": entries}
    return data


def _with_model_folder(entry: object, folder: Path) -> object:
    """Make the folder of a model relative to the file, in an entry of `vectors`."""
    if not isinstance(entry, dict):
        return entry
    model = entry.get("model")
    name = model.get("name") if isinstance(model, dict) else model
    if not isinstance(name, str) or not name.startswith(("./", "../")):
        return entry
    absolute = str((folder / name).absolute())
    return {**entry, "model": {**model, "name": absolute} if isinstance(model, dict) else absolute}


def _with_questions(entry: object, folder: Path) -> object:
    """Make the file of questions relative to the file, in an entry of `vectors`."""
    checks = entry.get("checks") if isinstance(entry, dict) else None
    if not isinstance(entry, dict) or not isinstance(checks, dict) or not isinstance(checks.get("questions"), str):
        return entry
    return {**entry, "checks": {**checks, "questions": folder / checks["questions"]}}


def _with_origins(data: dict[str, Any], source: str) -> dict[str, Any]:
    """Add its position in the file to each vector column, for messages."""
    vectors = data.get("vectors")
    if not isinstance(vectors, list):
        return data
    with_origin = [
        {**entry, "origin": f"{source}: vectors[{position}]"} if isinstance(entry, dict) else entry
        for position, entry in enumerate(vectors)
    ]
    return {**data, "vectors": with_origin}


# The spec of each nested entry by its key, and of the whole file by the empty string.
_SPECS: dict[str, type[BaseModel]] = {
    "": ProjectConfig,
    "database": DatabaseSpec,
    "databases": DatabaseSpec,
    "models": ModelsSpec,
    "vectors": VectorColumn,
    "partitions": PartitionsSpec,
    "follow": FollowSpec,
    "freshness": FreshnessSpec,
    "checks": ChecksSpec,
    "chunks": ChunksSpec,
    "index": IndexSpec,
    "text_index": TextIndexSpec,
    "migration": MigrationSpec,
}
