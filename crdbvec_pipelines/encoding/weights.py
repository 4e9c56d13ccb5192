"""The weights of a sentence-transformers model: a folder of the user, an installed package, or the Hugging Face hub.

A package that contains weights is not imported, because the import may print or import torch. Its archive is next to
its `__init__` and is unpacked once into the cache folder.
"""

import contextlib
import importlib.util
import zipfile
from dataclasses import dataclass
from pathlib import Path

from crdbvec_pipelines.encoding.cache_folder import build_once, cache_folder
from crdbvec_pipelines.encoding.digest import combined_digest, file_digest, sha256_of
from crdbvec_pipelines.encoding.errors import ModelError
from crdbvec_pipelines.encoding.pipeline import weight_files

# The files that sentence-transformers reads; a repository of the hub also contains the weights in other formats.
_HUB_FILES = ["*.json", "*.txt", "*.model", "*.safetensors"]
_WEIGHTS_FILE = "model.safetensors"


@dataclass(frozen=True, slots=True)
class WeightsPackage:
    """An installed package that contains a model folder as a zip archive.

    Attributes:
        module: The import name of the package, which is located but not imported.
        archive: The file name of the archive in the package.
        sha256: The required SHA-256 of its model.safetensors.
    """

    module: str
    archive: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Weights:
    """A model folder on this machine.

    Attributes:
        directory: The folder, in the layout of sentence-transformers.
        sha256: The SHA-256 of its weights.
    """

    directory: Path
    sha256: str


def locate_weights(hub_name: str, package: WeightsPackage | None = None, path: Path | None = None) -> Weights:
    """Return the weights of a model: from `path` if given, otherwise from `package` if installed, otherwise the hub.

    Args:
        hub_name: The name of the model on the hub, as `organization/model`.
        package: A package that may contain the weights.
        path: A folder that contains the weights.

    Returns:
        The folder and the digest of its weights.

    Raises:
        ModelError: The weights are not found, or those of the package do not have the required digest.
    """
    if path is not None:
        directory = path.expanduser()
        if not directory.is_dir():
            raise ModelError(f"The weights folder {directory} does not exist. Correct the model's setting `weights`.")
    else:
        archive = _archive(package) if package else None
        directory = _unpacked(hub_name, package, archive) if package and archive else _from_hub(hub_name)
    try:
        return Weights(directory, combined_digest(weight_files(directory)))
    except OSError as error:
        raise ModelError(
            f"The weights in {directory} cannot be read ({error.strerror}). Check the permissions of the folder."
        ) from error


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
            raise ModelError(f"The archive {archive} is damaged. Reinstall the package {package.module}.") from error
        if sha256_of(folder / _WEIGHTS_FILE) != package.sha256:
            raise ModelError(
                f"The SHA-256 of the weights in {archive} differs from that of the published weights of {hub_name}. "
                f"Reinstall the package {package.module}, or set the model's `weights` to a folder that you trust."
            )

    name = f"{hub_name.rpartition('/')[2]}-{package.sha256[:12]}"

    def is_complete(folder: Path) -> bool:
        weights = folder / _WEIGHTS_FILE
        return weights.is_file() and file_digest(weights) == package.sha256

    return build_once(cache_folder("models", name), unpack, is_complete)


def _from_hub(hub_name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    # A local copy is used as it is, which avoids a request at each start and a silent change of the revision. A copy
    # without weights, left by an interrupted download, is completed.
    with contextlib.suppress(LocalEntryNotFoundError, ModelError):
        directory = Path(snapshot_download(hub_name, allow_patterns=_HUB_FILES, local_files_only=True))
        weight_files(directory)
        return directory
    try:
        return Path(snapshot_download(hub_name, allow_patterns=_HUB_FILES))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise ModelError(
            f"The weights of {hub_name} are not on this machine and could not be downloaded from the hub "
            f"({type(error).__name__}). Set the model's `weights` to a folder that contains them, or run once with "
            "access to the hub."
        ) from error
