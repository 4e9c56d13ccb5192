"""Models of the Hugging Face hub: found on this machine, otherwise downloaded once and pinned to a commit.

A model is loaded from its folder only, so nothing is requested from the hub after the download. The commit is recorded
in the cache folder: without that, another program that downloads a newer one would change the vectors.
"""

import contextlib
import json
import os
import socket
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from crdbvec_pipelines.encoding.cache_folder import cache_folder, write_atomically
from crdbvec_pipelines.encoding.errors import ModelError
from crdbvec_pipelines.encoding.model_folder import check_files

DEFAULT_REVISION = "main"

# The files that are read; a repository also contains the weights in other formats.
_FILES = ["*.json", "*.txt", "*.model", "*.jinja", "*.safetensors"]
_UNUSED_FILES = ["onnx/*", "openvino/*", "*/onnx/*", "*/openvino/*"]
_PROBE_SECONDS = 1.5
_REQUEST_SECONDS = 10.0
_HUB = "https://huggingface.co"


@dataclass(frozen=True, slots=True)
class HubModel:
    """A model on this machine.

    Attributes:
        directory: The folder.
        commit: The commit of the repository.
    """

    directory: Path
    commit: str


def is_folder(name: str) -> bool:
    """Return whether a model is given as a folder and not as the id of a repository."""
    return name.startswith(("/", "./", "../", "~", ".\\", "..\\")) or name.count("/") != 1 or Path(name).is_dir()


def find_model(name: str, revision: str | None = None) -> HubModel | None:
    """Return a model that is on this machine, at the commit to which it is pinned; None if it is not there.

    Args:
        name: The id of the repository, as `organization/model`.
        revision: A branch, a tag or a commit; None for the branch `main`.
    """
    wanted = revision or DEFAULT_REVISION
    commit = _pins(name).get(wanted, wanted)
    directory = _local_folder(name, commit)
    if directory is None:
        return None
    if commit != directory.name:
        # Another program has downloaded it. Without a pin, it is used as it is.
        with contextlib.suppress(OSError):
            _pin(name, wanted, directory.name)
    return HubModel(directory, directory.name)


def download_model(name: str, revision: str | None = None) -> HubModel:
    """Download a model, and pin its revision to the present commit.

    Raises:
        ModelError: The hub cannot be reached, does not have the model, or does not give it to this user; or the model
            has no safetensors.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    endpoint = _reachable_endpoint(name)
    was_disabled = are_progress_bars_disabled()
    if not sys.stderr.isatty():
        disable_progress_bars()
    try:
        with _translated(name, revision):
            information = HfApi(endpoint=endpoint).model_info(name, revision=revision, timeout=_REQUEST_SECONDS)
            check_files(name, (file.rfilename for file in information.siblings or ()))
            commit = str(information.sha)
            folder = snapshot_download(
                name,
                revision=commit,
                endpoint=endpoint,
                allow_patterns=_FILES,
                ignore_patterns=_UNUSED_FILES,
                etag_timeout=_REQUEST_SECONDS,
            )
    finally:
        if not was_disabled:
            enable_progress_bars()
    try:
        _pin(name, revision or DEFAULT_REVISION, commit)
    except OSError as error:
        raise ModelError(
            f"The cache folder {_pins_file(name).parent} cannot be written ({error.strerror}). Make it writable, or "
            "set CRDBVEC_CACHE_DIR to another folder."
        ) from error
    return HubModel(Path(folder), commit)


def _local_folder(name: str, revision: str) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        directory = Path(
            snapshot_download(
                name,
                revision=revision,
                local_files_only=True,
                allow_patterns=_FILES,
                ignore_patterns=_UNUSED_FILES,
            )
        )
    except HFValidationError:
        raise ModelError(
            f"{name!r} is neither the id of a model, as organization/model, nor a folder. Correct `model`."
        ) from None
    except LocalEntryNotFoundError:
        return None
    # An interrupted download leaves a folder without weights.
    return directory if any(directory.rglob("*.safetensors")) else None


def _reachable_endpoint(name: str) -> str:
    """Return the address of the hub, after a short attempt to connect: the hub's client would try for a minute."""
    from huggingface_hub import constants

    endpoint = (os.environ.get("HF_ENDPOINT") or _HUB).rstrip("/")
    not_here = f"The model {name} is not on this machine"
    remedy = (
        f"Run `crdbvec model add {name}` with access to the hub, with --reranker for a reranker, or write a folder in "
        "place of the name."
    )
    if constants.HF_HUB_OFFLINE:
        raise ModelError(f"{not_here}, and HF_HUB_OFFLINE forbids to download it. {remedy}")
    if not _can_connect(endpoint):
        raise ModelError(f"{not_here}, and the hub ({urlsplit(endpoint).hostname}) cannot be reached. {remedy}")
    return endpoint


def _can_connect(endpoint: str) -> bool:
    """Return whether the hub, or the proxy in front of it, accepts a connection within a short time."""
    url = urlsplit(endpoint)
    proxy = getproxies().get(url.scheme)
    if proxy and url.hostname and not proxy_bypass(url.hostname):
        url = urlsplit(proxy if "//" in proxy else f"//{proxy}", scheme="http")
    port = url.port or (443 if url.scheme == "https" else 80)
    reached = threading.Event()

    def connect() -> None:
        with contextlib.suppress(OSError), socket.create_connection((url.hostname or "", port), _PROBE_SECONDS):
            reached.set()

    # In a thread, because the time to resolve a name cannot be limited.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(_PROBE_SECONDS)
    return reached.is_set()


@contextlib.contextmanager
def _translated(name: str, revision: str | None) -> Iterator[None]:
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except HFValidationError:
        raise ModelError(
            f"{name!r} is neither the id of a model, as organization/model, nor a folder. Correct `model`."
        ) from None
    except GatedRepoError:
        raise ModelError(
            f"The model {name} is gated: its authors give access on request. Accept the conditions on its page, and "
            "set HF_TOKEN to a token of your account."
        ) from None
    except RevisionNotFoundError:
        raise ModelError(f"The model {name} has no revision {revision}. Correct its setting `revision`.") from None
    except RepositoryNotFoundError:
        raise ModelError(
            f"The hub has no model {name}, or it is private. Correct `model`, or set HF_TOKEN to a token of an account "
            "with access."
        ) from None
    except (ModelError, MemoryError):
        raise
    except Exception as error:
        # Errors of the connection, of the hub and of the disk, in classes of several libraries.
        raise ModelError(
            f"The model {name} could not be downloaded from the hub ({type(error).__name__}). Run the command again."
        ) from None


def _pins_file(name: str) -> Path:
    return cache_folder("hub", f"{name.replace('/', '--')}.json")


def _pins(name: str) -> dict[str, str]:
    """Return the commits to which the revisions of a model are pinned."""
    try:
        return {str(key): str(value) for key, value in json.loads(_pins_file(name).read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, AttributeError):
        return {}


def _pin(name: str, revision: str, commit: str) -> None:
    write_atomically(_pins_file(name), json.dumps({**_pins(name), revision: commit}, indent=2))
