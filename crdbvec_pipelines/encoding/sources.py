"""Where model wrappers lie: folders of the user's, the built-in ones, entry points of installed packages.

Nothing here imports a wrapper; a listing of names and places is all.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

from crdbvec_pipelines.encoding.errors import ModelError

ENTRY_POINT_GROUP = "crdbvec.models"


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where one model's wrapper is.

    Attributes:
        name: The model's name.
        path: The wrapper's file; None for an entry point.
        module: The dotted module of an entry point; empty for a file.
    """

    name: str
    path: Path | None = None
    module: str = ""

    @property
    def origin(self) -> str:
        """Return the place in words, for messages."""
        return str(self.path) if self.path else f"{self.module} (entry point of the group {ENTRY_POINT_GROUP})"


def discover(directories: Sequence[Path]) -> dict[str, ModelSource]:
    """List all wrappers by model name; where a name occurs twice, the user's folders win, then the built-in ones.

    Raises:
        ModelError: One of the folders does not exist.
    """
    found: dict[str, ModelSource] = {}
    for directory in directories:
        if not directory.is_dir():
            raise ModelError(
                f"The folder of models {directory} does not exist: create it, or remove it from models.directories."
            )
        for source in _in_directory(directory):
            found.setdefault(source.name, source)
    for source in _in_directory(builtin_directory()):
        found.setdefault(source.name, source)
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        found.setdefault(entry.name, ModelSource(entry.name, module=entry.module))
    return found


def builtin_directory() -> Path:
    """Return the folder of the wrappers that ship with the product: inside the package, or in a checkout beside it."""
    package = Path(__file__).resolve().parents[1]
    packaged = package / "_builtin_models"
    return packaged if packaged.is_dir() else package.parent / "models"


def _in_directory(directory: Path) -> Iterator[ModelSource]:
    for path in sorted(directory.glob("*.py")):
        if not path.name.startswith(("_", ".")):
            yield ModelSource(path.stem, path)
