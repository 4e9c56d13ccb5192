"""Locating the weights of a sentence-transformers model: a folder of the user's, an installed package, or the hub.

A package that carries weights is never imported (importing may print, or pull in torch): its archive is found beside
its `__init__` and unpacked once into the user's cache folder.
"""

import contextlib
import importlib.util
import zipfile
from dataclasses import dataclass
from pathlib import Path

from crdbvec_pipelines.encoding.cache import build_once, cache_folder
from crdbvec_pipelines.encoding.digest import combined_digest, file_digest, sha256_of
from crdbvec_pipelines.encoding.errors import ModelError
from crdbvec_pipelines.encoding.pipeline import weight_files

# What sentence-transformers reads to encode; a repository of the hub also holds the weights in other formats.
_HUB_FILES = ["*.json", "*.txt", "*.model", "*.safetensors"]
_WEIGHTS = "model.safetensors"


@dataclass(frozen=True, slots=True)
class WeightsPackage:
    """An installed package that carries a model's folder as a zip archive.

    Attributes:
        module: The package's import name; it is found, not imported.
        archive: The archive's name inside the package.
        sha256: The digest that its model.safetensors must have.
    """

    module: str
    archive: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Weights:
    """A model's folder on this machine.

    Attributes:
        directory: The folder, in the layout of sentence-transformers.
        sha256: The digest of its weights.
    """

    directory: Path
    sha256: str


def locate(hub_name: str, package: WeightsPackage | None = None, path: Path | None = None) -> Weights:
    """Find a model's weights: at `path` when given, else in `package` when installed, else on the hub.

    Args:
        hub_name: The model's name on the hub, as `organisation/model`.
        package: A package that may carry the weights.
        path: A folder that holds them.

    Returns:
        The folder and the digest of its weights.

    Raises:
        ModelError: They are nowhere to be found, or are not what the package is known to carry.
    """
    if path is not None:
        directory = path.expanduser()
        if not directory.is_dir():
            raise ModelError(
                f"The folder of weights {directory} does not exist: correct the model's setting `weights`."
            )
    else:
        archive = _archive(package) if package else None
        directory = _unpacked(hub_name, package, archive) if package and archive else _from_hub(hub_name)
    try:
        return Weights(directory, combined_digest(weight_files(directory)))
    except OSError as error:
        raise ModelError(f"The weights in {directory} cannot be read: {error.strerror}.") from error


def _archive(package: WeightsPackage) -> Path | None:
    spec = importlib.util.find_spec(package.module)
    if spec is None or spec.origin is None:
        return None
    archive = Path(spec.origin).with_name(package.archive)
    return archive if archive.is_file() else None


def _unpacked(hub_name: str, package: WeightsPackage, archive: Path) -> Path:
    def unpack(folder: Path) -> None:
        try:
            with zipfile.ZipFile(archive) as zipped:
                zipped.extractall(folder)
        except zipfile.BadZipFile as error:
            raise ModelError(
                f"The archive {archive} is damaged: install the package {package.module} again."
            ) from error
        if sha256_of(folder / _WEIGHTS) != package.sha256:
            raise ModelError(
                f"The weights in {archive} are not the published ones of {hub_name} (their SHA-256 differs): install "
                f"the package {package.module} again, or set the model's `weights` to a folder that you trust."
            )

    name = f"{hub_name.rpartition('/')[2]}-{package.sha256[:12]}"

    def is_whole(folder: Path) -> bool:
        weights = folder / _WEIGHTS
        return weights.is_file() and file_digest(weights) == package.sha256

    return build_once(cache_folder("models", name), unpack, is_whole)


def _from_hub(hub_name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    # A copy that is already here is taken as it is: no call at start, and no silent change of revision. One that an
    # interrupted download left without weights is completed.
    with contextlib.suppress(LocalEntryNotFoundError, ModelError):
        directory = Path(snapshot_download(hub_name, allow_patterns=_HUB_FILES, local_files_only=True))
        weight_files(directory)
        return directory
    try:
        return Path(snapshot_download(hub_name, allow_patterns=_HUB_FILES))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise ModelError(
            f"The weights of {hub_name} are not on this machine and could not be fetched from the hub "
            f"({type(error).__name__}). Set the model's `weights` to a folder with them, or connect to the hub once."
        ) from error
