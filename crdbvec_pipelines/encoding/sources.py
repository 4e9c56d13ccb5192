"""The locations of model wrappers: folders of the user, the built-in folder, entry points of installed packages.

This module lists names and locations. It imports no wrapper.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

from crdbvec_pipelines.config.model_name import is_named_model
from crdbvec_pipelines.encoding.errors import ModelError

ENTRY_POINT_GROUP = "crdbvec.models"


@dataclass(frozen=True, slots=True)
class ModelSource:
    """The location of one model wrapper.

    Attributes:
        name: The name of the model.
        path: The file of the wrapper; None for an entry point.
        module: The dotted module of an entry point; empty for a file and for a model by name.
    """

    name: str
    path: Path | None = None
    module: str = ""

    @property
    def origin(self) -> str:
        """The location as text, for messages."""
        if is_named_model(self.name):
            return self.name
        return str(self.path) if self.path else f"{self.module} (entry point of the group {ENTRY_POINT_GROUP})"


def discover(directories: Sequence[Path]) -> dict[str, ModelSource]:
    """Return all wrappers by model name; the user's folders precede the built-in folder and the entry points.

    Raises:
        ModelError: A folder does not exist.
    """
    found: dict[str, ModelSource] = {}
    for directory in directories:
        if not directory.is_dir():
            raise ModelError(
                f"The model folder {directory} does not exist. Create it, or remove it from `models.directories`."
            )
        for source in _in_directory(directory):
            found.setdefault(source.name, source)
    for source in _in_directory(builtin_directory()):
        found.setdefault(source.name, source)
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        found.setdefault(entry.name, ModelSource(entry.name, module=entry.module))
    return found


def builtin_directory() -> Path:
    """Return the folder of the built-in wrappers: inside an installed package, or next to the package in a checkout."""
    package = Path(__file__).resolve().parents[1]
    packaged = package / "_builtin_models"
    return packaged if packaged.is_dir() else package.parent / "models"


def _in_directory(directory: Path) -> Iterator[ModelSource]:
    for path in sorted(directory.glob("*.py")):
        if not path.name.startswith(("_", ".")):
            yield ModelSource(path.stem, path)
