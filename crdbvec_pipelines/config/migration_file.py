"""Writing the state of a model migration into crdbvec.yaml, from which Dagster's definitions are made."""

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from crdbvec_pipelines.config.entry_edit import EntryNotEditable, flow_text, remove_key, set_key
from crdbvec_pipelines.config.load import load_config, parse_config
from crdbvec_pipelines.config.migration import MigrationSpec
from crdbvec_pipelines.config.project import ProjectConfig
from crdbvec_pipelines.config.sections import ChunksSpec
from crdbvec_pipelines.config.vector_column import VectorColumn
from crdbvec_pipelines.config.yaml_file import read_yaml
from crdbvec_pipelines.errors import ConfigurationError

_KEY = "migration"


@dataclass(frozen=True)
class FileChange:
    """What became of the configuration file.

    Attributes:
        file: The file; None if the entry is in no file.
        is_written: Whether the file contains the change now.
        remedy: What to do with the file if it does not.
    """

    file: Path | None
    is_written: bool
    remedy: str

    def __str__(self) -> str:
        if not self.is_written or self.file is None:
            return self.remedy
        return f"{self.file} was updated. Reload the code location of Dagster, if you use it."


def write_migration(config: ProjectConfig | None, entry: VectorColumn, migration: MigrationSpec) -> FileChange:
    """Write a migration that was started into the entry of its column.

    Args:
        config: The configuration; None without a file.
        entry: The vector column.
        migration: The migration.
    """
    value = migration.model_dump(exclude_defaults=True)
    remedy = f"Write `migration: {flow_text(value)}` into the entry of {entry.output}, for Dagster."
    return _change(config, entry, remedy, lambda text, position: set_key(text, position, _KEY, value))


def write_model(
    config: ProjectConfig | None, entry: VectorColumn, model: str, chunks: ChunksSpec | None = None
) -> FileChange:
    """Write the model of the vectors into the entry of a column whose migration has ended, and remove the migration.

    Args:
        config: The configuration; None without a file.
        entry: The vector column.
        model: The model of its vectors.
        chunks: How texts are divided for it; None for as the entry says.
    """
    values: dict[str, object] = {"model": model}
    if chunks is not None and chunks != entry.chunking:
        values["chunks"] = chunks.model_dump(exclude_defaults=True)
    written = " and ".join(f"`{key}: {flow_text(value)}`" for key, value in values.items())
    remedy = f"Write {written} into the entry of {entry.output}, without `migration`."

    def edit(text: str, position: int) -> str:
        for key, value in values.items():
            text = set_key(text, position, key, value)
        return remove_key(text, position, _KEY)

    return _change(config, entry, remedy, edit)


def _change(
    config: ProjectConfig | None, entry: VectorColumn, remedy: str, edit: Callable[[str, int], str]
) -> FileChange:
    file = None if config is None else config.file
    if file is None:
        return FileChange(None, is_written=False, remedy=remedy)
    try:
        # The file may have changed since this process read it.
        names = [(each.database, str(each)) for each in load_config(file).vectors]
        with file.open(encoding="utf-8", newline="") as stream:
            text = stream.read()
        changed = edit(text, names.index((entry.database, str(entry))))
        if changed != text:
            # That the second column has an entry of its own would make the file invalid.
            parse_config(read_yaml(changed).content, str(file), file.parent)
            _replace(file.resolve(), changed)
    except (OSError, ValueError, yaml.YAMLError, ConfigurationError, EntryNotEditable):
        # It cannot be written, has no such entry, or has a form in which the key cannot be changed alone.
        return FileChange(file, is_written=False, remedy=remedy)
    return FileChange(file, is_written=True, remedy=remedy)


def _replace(file: Path, text: str) -> None:
    """Write a file so that a process that reads it at the same time sees either its old or its new content."""
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as stream:
            stream.write(text)
        Path(name).chmod(file.stat().st_mode)
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
